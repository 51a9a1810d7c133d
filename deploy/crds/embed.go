// Package crds holds the CustomResourceDefinitions that Fairway serves, as
// "kubectl apply -f deploy/crds" installs them: Gateway API's own, unchanged,
// of the experimental channel, which has the fields for retries, session
// persistence and CORS; and our own of fairway.dev. Istio's, in the folder
// istio, are for clusters without Istio: "kubectl apply -f deploy/crds/istio".
// "make crds" writes them, of the module whose types the program reads.
//
// The program carries them so that a folder of manifests is defaulted and
// validated exactly as the API server would.
package crds

import "embed"

// Files are the definitions, one a file, named "<group>_<plural>.yaml", Istio's
// "istio/<group>_<plural>.yaml".
//
//go:embed *.yaml istio/*.yaml
var Files embed.FS
