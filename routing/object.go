package routing

import "cmp"

// An ObjectKey names one object of a dialect: "HTTPRoute shop/cart". The kind
// alone tells API groups apart: where two groups share one, that of the kind
// which is not Gateway API's has its group behind it ("Gateway.networking.istio.io").
type ObjectKey struct{ Kind, Namespace, Name string }

// String returns the form used in logs and by people: "HTTPRoute shop/cart".
func (k ObjectKey) String() string { return k.Origin().String() }

// Origin returns the origin of the whole object.
func (k ObjectKey) Origin() Origin {
	return Origin{Kind: k.Kind, Namespace: k.Namespace, Name: k.Name}
}

// Compare orders keys by kind, namespace and name.
func (k ObjectKey) Compare(l ObjectKey) int {
	return cmp.Or(cmp.Compare(k.Kind, l.Kind), cmp.Compare(k.Namespace, l.Namespace), cmp.Compare(k.Name, l.Name))
}
