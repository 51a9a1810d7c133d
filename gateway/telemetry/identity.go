package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// WatchIdentity has the page say when the certificate that the gateway shows in
// the mesh expires; zero where it has none that is valid. It is called at most
// once.
func (m *Metrics) WatchIdentity(expiry func() time.Time) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fairway_mesh_certificate_expiry_timestamp_seconds",
		Help: "When the certificate that the gateway shows in the mesh expires; 0 while it has none that is valid.",
	}, func() float64 {
		if at := expiry(); !at.IsZero() {
			return float64(at.Unix())
		}
		return 0
	}))
}
