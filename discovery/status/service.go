package status

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"fairway.dev/routing/gatewayapi"
)

// kindService is that of Services, whose status is others' but for one condition
// of ours: where policy for it is enforced, if it is enrolled.
const kindService = "Service"

// concerns reports whether a status is to be looked at. There may be thousands of
// Services that have nothing of ours, and are to have nothing: nobody asks the
// API server for them.
func (w *Writer) concerns(o *object, r *gatewayapi.Report) bool {
	if shapeOf(o.key.Kind) != serviceShape || len(r.Conditions) > 0 || o.known.loaded || w.o.Object == nil {
		return true
	}
	service, ok := w.o.Object(o.key).(*corev1.Service)
	if !ok {
		return false
	}
	for _, c := range service.Status.Conditions {
		if strings.HasPrefix(c.Type, domain) {
			return true
		}
	}
	return false
}
