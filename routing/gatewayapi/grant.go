package gatewayapi

import (
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing/v1alpha1"
)

// grant puts a ReferenceGrant among those of its namespace.
func (t *Translator) grant(r *reading) outcome {
	g := object[gatewayv1.ReferenceGrant](r, "ReferenceGrant", r.ID.NS, r.ID.Name)
	if g == nil {
		return outcome{Gone: true}
	}
	return outcome{
		Value: &g.Spec,
		Gifts: []gift{{To: cellID{Kind: grantsIn, NS: r.ID.NS}, Item: r.ID.Name}},
	}
}

// permitted reports whether an object of a Gateway API kind, or of ours, in one
// namespace may name a core object. It may name all in its own namespace.
func (r *reading) permitted(fromKind, fromNS, toKind, toNS, toName string) bool {
	if fromNS == toNS {
		return true
	}
	id := cellID{Kind: permitCell, NS: toNS, Name: toName, Part: fromKind + "/" + fromNS + "/" + toKind}
	return r.Value(id).(bool)
}

// permit looks for a ReferenceGrant that allows what its cell stands for, so
// that an edited grant costs only those whose answer it changes.
func (t *Translator) permit(r *reading) outcome {
	what := strings.Split(r.ID.Part, "/")
	fromKind, fromNS, toKind := what[0], what[1], what[2]
	found := false
	for name := range r.Bag(cellID{Kind: grantsIn, NS: r.ID.NS}) {
		g, _ := r.Value(cellID{Kind: grantCell, NS: r.ID.NS, Name: name.(string)}).(*gatewayv1.ReferenceGrantSpec)
		found = found || g != nil && grants(g, fromKind, fromNS, toKind, r.ID.Name)
	}
	return outcome{Value: found}
}

func grants(g *gatewayv1.ReferenceGrantSpec, fromKind, fromNS, toKind, toName string) bool {
	group, from := gatewayv1.Group(gatewayv1.GroupName), false
	if fromKind == kindRateLimit {
		group = gatewayv1.Group(v1alpha1.GroupVersion.Group)
	}
	for _, f := range g.From {
		from = from || f.Group == group && string(f.Kind) == fromKind && string(f.Namespace) == fromNS
	}
	to := false
	for _, o := range g.To {
		to = to || o.Group == "" && string(o.Kind) == toKind && (o.Name == nil || *o.Name == "" || string(*o.Name) == toName)
	}
	return from && to
}
