package routing

// An ObjectKey names one object of a dialect: "HTTPRoute shop/cart". The kind
// alone tells API groups apart, as no two kinds that Fairway reads share one.
type ObjectKey struct{ Kind, Namespace, Name string }

// String returns the form used in logs and by people: "HTTPRoute shop/cart".
func (k ObjectKey) String() string { return k.Origin().String() }

// Origin returns the origin of the whole object.
func (k ObjectKey) Origin() Origin {
	return Origin{Kind: k.Kind, Namespace: k.Namespace, Name: k.Name}
}
