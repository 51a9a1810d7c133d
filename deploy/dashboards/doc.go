// Package dashboards holds Grafana dashboards, to be imported or mounted as
// they are: of the gateways and of the control plane.
package dashboards

import "embed"

// Files are the dashboards.
//
//go:embed *.json
var Files embed.FS
