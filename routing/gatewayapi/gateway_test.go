package gatewayapi

import (
	"encoding/base64"
	"fmt"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/util/sets"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/pkg/features"

	"fairway.dev/routing"
	"fairway.dev/routing/dialecttest"
	"fairway.dev/routing/v1alpha1"
)

// tlsSecret is a Secret shop/c1 with a key pair, and shop/roots with its
// certificate as a CA.
func tlsSecret() string {
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("\nkind: Secret\nmetadata: {namespace: shop, name: c1}\ntype: kubernetes.io/tls\ndata: {tls.crt: %s, tls.key: %s, ca.crt: %s}\n---"+
		"\nkind: ConfigMap\nmetadata: {namespace: shop, name: roots}\nbinaryData: {ca.crt: %s}\n---",
		encode(pairs()[0].chain), encode(pairs()[0].key), encode(pairs()[0].chain), encode(pairs()[0].chain))
}

const secure = "{name: s, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: c1}]}}"

// validating is a Gateway that checks its clients.
func validating(frontend, list string) string {
	return tlsSecret() + gatewayDoc + "  tls: {frontend: " + frontend + "}\n  listeners: [" + list + "]\n---"
}

// presenting is a Gateway that shows backends a certificate.
func presenting(ref string) string {
	return tlsSecret() + gatewayDoc + "  tls: {backend: {clientCertificateRef: {" + ref + "}}}\n  listeners: [{name: http, port: 80, protocol: HTTP}]\n---"
}

// ofClass is a GatewayClass and what else there is.
func ofClass(spec string) string {
	return "kind: GatewayClass\nmetadata: {name: fairway, generation: 2}\nspec: {controllerName: fairway.dev/gateway-controller" + spec + "}\n---"
}

func crdDoc(name, version string) string {
	return "\nkind: CustomResourceDefinition\nmetadata: {name: " + name + ".gateway.networking.k8s.io, annotations: {" + version + "}}\n---"
}

func TestGatewayAndListenerConditions(t *testing.T) {
	const (
		roots    = "caCertificateRefs: [{group: '', kind: ConfigMap, name: roots}]"
		gone     = "caCertificateRefs: [{group: '', kind: ConfigMap, name: gone}]"
		both     = "caCertificateRefs: [{group: '', kind: ConfigMap, name: gone}, {group: '', kind: ConfigMap, name: roots}]"
		insecure = "mode: AllowInsecureFallback"
		plain    = "{name: p, port: 80, protocol: HTTP}"
		version  = "gateway.networking.k8s.io/bundle-version: "
		own      = "  infrastructure: {parametersRef: {group: fairway.dev, kind: GatewayParameters, name: p}}\n  listeners: [" + plain + "]\n---"
	)
	gw := func(list string) string { return tlsSecret() + listeners(list) }
	tests := []conditionTest{
		// Listener.protocol, tls.mode
		{"TLS, passthrough", gw("{name: a, port: 443, protocol: TLS, tls: {mode: Passthrough}}"), "Gateway shop/edge", "listener a", "Programmed=True Programmed", ""},
		{"TLS, passthrough with certificates that are ignored", gw("{name: a, port: 443, protocol: TLS, tls: {mode: Passthrough, certificateRefs: [{name: gone}]}}"), "Gateway shop/edge", "listener a", "ResolvedRefs=True ResolvedRefs", ""},
		{"TLS, terminate", gw("{name: a, port: 443, protocol: TLS, tls: {mode: Terminate, certificateRefs: [{name: c1}]}}"), "Gateway shop/edge", "listener a", "Programmed=True Programmed", ""},
		{"TLS, terminate without a certificate", gw("{name: a, port: 443, protocol: TLS, tls: {mode: Terminate}}"), "Gateway shop/edge", "listener a", "ResolvedRefs=False InvalidCertificateRef", "certificateRefs"},
		{"TLS, terminate without a certificate, programmed", gw("{name: a, port: 443, protocol: TLS, tls: {mode: Terminate}}"), "Gateway shop/edge", "listener a", "Programmed=False Invalid", ""},
		{"TLS in a strange mode", gw("{name: a, port: 443, protocol: TLS, tls: {mode: Sniff}}"), "Gateway shop/edge", "listener a", "Accepted=False UnsupportedValue", "Passthrough"},
		{"HTTPS, passthrough", gw("{name: a, port: 443, protocol: HTTPS, tls: {mode: Passthrough}}"), "Gateway shop/edge", "listener a", "Accepted=False UnsupportedValue", "want Terminate"},
		{"TLS with tls.mode of both kinds on one port", gw("{name: a, port: 443, protocol: TLS, hostname: a.b, tls: {mode: Passthrough}}, {name: b, port: 443, protocol: TLS, hostname: b.b, tls: {certificateRefs: [{name: c1}]}}"), "Gateway shop/edge", "", "Accepted=True Accepted", ""},
		{"HTTPS and TLS on one port", gw("{name: a, port: 443, protocol: TLS, hostname: a.b, tls: {mode: Passthrough}}, " + secure), "Gateway shop/edge", "", "Accepted=True Accepted", ""},
		{"HTTPS and TLS of one hostname", gw("{name: a, port: 443, protocol: TLS, tls: {mode: Passthrough}}, " + secure), "Gateway shop/edge", "listener a", "Conflicted=True ProtocolConflict", "listener s"},
		{"TCP", gw("{name: a, port: 5432, protocol: TCP}"), "Gateway shop/edge", "listener a", "Programmed=True Programmed", ""},
		{"TCP with tls", gw("{name: a, port: 5432, protocol: TCP, tls: {certificateRefs: [{name: c1}]}}"), "Gateway shop/edge", "listener a", "Accepted=False UnsupportedValue", "want HTTPS or TLS"},
		{"TCP beside HTTP", gw("{name: a, port: 80, protocol: TCP}, " + plain), "Gateway shop/edge", "listener a", "Conflicted=True ProtocolConflict", "HTTP"},
		{"TCP twice, whatever the hostname", gw("{name: a, port: 80, protocol: TCP, hostname: a.b}, {name: b, port: 80, protocol: TCP}"), "Gateway shop/edge", "listener a", "Conflicted=True ProtocolConflict", "listener b"},
		{"TCP and UDP of one number", gw("{name: a, port: 53, protocol: TCP}, {name: b, port: 53, protocol: UDP}"), "Gateway shop/edge", "", "Accepted=True Accepted", ""},
		{"kinds of a TLS listener", gw("{name: a, port: 443, protocol: TLS, allowedRoutes: {kinds: [{kind: TCPRoute}, {kind: TLSRoute}]}, tls: {mode: Passthrough}}"), "Gateway shop/edge", "listener a", "ResolvedRefs=False InvalidRouteKinds", "TCPRoute"},
		{"kinds of a TLS listener, programmed", gw("{name: a, port: 443, protocol: TLS, allowedRoutes: {kinds: [{kind: TCPRoute}, {kind: TLSRoute}]}, tls: {mode: Passthrough}}"), "Gateway shop/edge", "listener a", "Programmed=True Programmed", ""},
		{"reserved port", gw("{name: a, port: 15021, protocol: HTTP}, " + plain), "Gateway shop/edge", "listener a", "Accepted=False PortUnavailable", "health"},
		{"reserved port, the others", gw("{name: a, port: 15021, protocol: HTTP}, " + plain), "Gateway shop/edge", "", "Programmed=True Programmed", ""},
		{"reserved port of connections", gw("{name: a, port: 15021, protocol: UDP}"), "Gateway shop/edge", "listener a", "Accepted=True Accepted", ""},

		// Gateway.spec.tls.frontend (GEP-91)
		{"clients are checked", validating("{default: {validation: {"+roots+"}}}", secure), "Gateway shop/edge", "listener s", "Programmed=True Programmed", ""},
		{"clients are checked by a Secret", validating("{default: {validation: {caCertificateRefs: [{group: '', kind: Secret, name: c1}]}}}", secure), "Gateway shop/edge", "listener s", "Programmed=True Programmed", ""},
		{"clients, by a Secret that is not there", validating("{default: {validation: {caCertificateRefs: [{group: '', kind: Secret, name: gone}]}}}", secure), "Gateway shop/edge", "listener s", "ResolvedRefs=False InvalidCACertificateRef", "Secret shop/gone: not found"},
		{"clients, securely", validating("{default: {validation: {"+roots+"}}}", secure), "Gateway shop/edge", "", "no InsecureFrontendValidationMode", ""},
		{"clients, insecurely", validating("{default: {validation: {"+roots+", "+insecure+"}}}", secure), "Gateway shop/edge", "", "InsecureFrontendValidationMode=True ConfigurationChanged", "default"},
		{"clients, insecurely on a port", validating("{default: {validation: {"+roots+"}}, perPort: [{port: 443, tls: {validation: {"+roots+", "+insecure+"}}}]}", secure), "Gateway shop/edge", "", "InsecureFrontendValidationMode=True ConfigurationChanged", "443"},
		{"clients, in a strange mode", validating("{default: {validation: {"+roots+", mode: Sometimes}}}", secure), "Gateway shop/edge", "listener s", "Accepted=False UnsupportedValue", "Sometimes"},
		{"clients, by nothing", validating("{default: {validation: {caCertificateRefs: []}}}", secure), "Gateway shop/edge", "listener s", "Accepted=False NoValidCACertificate", "no caCertificateRefs"},
		{"clients, by what is gone", validating("{default: {validation: {"+gone+"}}}", secure), "Gateway shop/edge", "listener s", "ResolvedRefs=False InvalidCACertificateRef", "ConfigMap shop/gone: not found"},
		{"clients, by what is gone, accepted", validating("{default: {validation: {"+gone+"}}}", secure), "Gateway shop/edge", "listener s", "Accepted=False NoValidCACertificate", ""},
		{"clients, by what is gone, programmed", validating("{default: {validation: {"+gone+"}}}", secure), "Gateway shop/edge", "listener s", "Programmed=False Invalid", ""},
		{"clients, by what is gone, without TLS", validating("{default: {validation: {"+gone+"}}}", secure+","+plain), "Gateway shop/edge", "listener p", "Programmed=True Programmed", ""},
		{"clients, by what is gone, without HTTP", validating("{default: {validation: {"+gone+"}}}", "{name: t, port: 443, protocol: TLS, tls: {certificateRefs: [{name: c1}]}}"), "Gateway shop/edge", "listener t", "Programmed=True Programmed", ""},
		{"clients, by what is gone, elsewhere", validating("{default: {validation: {"+gone+"}}, perPort: [{port: 443, tls: {validation: {"+roots+"}}}]}", secure), "Gateway shop/edge", "listener s", "Programmed=True Programmed", ""},
		{"clients, by what is gone, here", validating("{default: {validation: {"+roots+"}}, perPort: [{port: 443, tls: {validation: {"+gone+"}}}]}", secure), "Gateway shop/edge", "listener s", "Accepted=False NoValidCACertificate", ""},
		{"clients, by one of two", validating("{default: {validation: {"+both+"}}}", secure), "Gateway shop/edge", "listener s", "ResolvedRefs=False InvalidCACertificateRef", "gone"},
		{"clients, by one of two, programmed", validating("{default: {validation: {"+both+"}}}", secure), "Gateway shop/edge", "listener s", "Programmed=True Programmed", ""},
		{"clients, by a strange kind", validating("{default: {validation: {caCertificateRefs: [{group: '', kind: Service, name: x}]}}}", secure), "Gateway shop/edge", "listener s", "ResolvedRefs=False InvalidCACertificateKind", "Service"},
		{"clients, by what is not granted", validating("{default: {validation: {caCertificateRefs: [{group: '', kind: ConfigMap, namespace: vault, name: x}]}}}", secure), "Gateway shop/edge", "listener s", "ResolvedRefs=False RefNotPermitted", "vault/x"},
		{"clients, of the Gateway", validating("{default: {validation: {"+gone+"}}}", secure+","+plain), "Gateway shop/edge", "", "Accepted=True ListenersNotValid", "s"},
		{"clients of a ListenerSet", tlsSecret() + gatewayDoc + "  allowedListeners: {namespaces: {from: All}}\n  tls: {frontend: {default: {validation: {" + gone + "}}}}\n  listeners: [" + plain + "]\n---" + setDoc("shop", "s", 1, secure), "ListenerSet shop/s", "listener s", "Accepted=False NoValidCACertificate", ""},

		// Gateway.spec.tls.backend (GEP-3155)
		{"shown to backends", presenting("name: c1"), "Gateway shop/edge", "", "ResolvedRefs=True ResolvedRefs", ""},
		{"gone, for backends", presenting("name: gone"), "Gateway shop/edge", "", "ResolvedRefs=False InvalidClientCertificateRef", "Secret shop/gone: not found"},
		{"gone, for backends, accepted", presenting("name: gone"), "Gateway shop/edge", "", "Accepted=True Accepted", ""},
		{"gone, for backends, programmed", presenting("name: gone"), "Gateway shop/edge", "", "Programmed=True Programmed", ""},
		{"of a strange group, for backends", presenting("group: x.example, kind: Secret, name: c1"), "Gateway shop/edge", "", "ResolvedRefs=False InvalidClientCertificateRef", "x.example"},
		{"of a strange kind, for backends", presenting("kind: WrongKind, name: c1"), "Gateway shop/edge", "", "ResolvedRefs=False InvalidClientCertificateRef", "WrongKind"},
		{"not granted, for backends", presenting("namespace: vault, name: c1"), "Gateway shop/edge", "", "ResolvedRefs=False RefNotPermitted", "vault/c1"},

		// GatewayClass
		{"class of no cluster", ofClass(""), "GatewayClass fairway", "", "no SupportedVersion", ""},
		{"class", ofClass("") + crdDoc("gatewayclasses", version+"v1.6.3"), "GatewayClass fairway", "", "SupportedVersion=True SupportedVersion", ""},
		{"class of another patch", ofClass("") + crdDoc("gatewayclasses", version+"v1.6.0"), "GatewayClass fairway", "", "SupportedVersion=True SupportedVersion", ""},
		{"class of another release", ofClass("") + crdDoc("gatewayclasses", version+"v1.60.0"), "GatewayClass fairway", "", "SupportedVersion=False UnsupportedVersion", "v1.60.0: want v1.6"},
		{"class of another release, accepted", ofClass("") + crdDoc("gatewayclasses", version+"v1.60.0"), "GatewayClass fairway", "", "Accepted=True Accepted", ""},
		{"class of mixed releases", ofClass("") + crdDoc("gatewayclasses", version+"v1.6.3") + crdDoc("httproutes", version+"v1.0.0"), "GatewayClass fairway", "", "SupportedVersion=False UnsupportedVersion", "v1.0.0"},
		{"class of no release", ofClass("") + crdDoc("gatewayclasses", ""), "GatewayClass fairway", "", "SupportedVersion=False UnsupportedVersion", "of no version"},

		// parametersRef
		{"class with parameters that are there", ofClass(", parametersRef: {group: fairway.dev, kind: GatewayParameters, namespace: shop, name: p}") + parametersDoc("p", "{}"), "GatewayClass fairway", "", "Accepted=True Accepted", ""},
		{"class with parameters that are not there", ofClass(", parametersRef: {group: fairway.dev, kind: GatewayParameters, namespace: shop, name: p}"), "GatewayClass fairway", "", "Accepted=False InvalidParameters", "shop/p: not found"},
		{"class with parameters of no namespace", ofClass(", parametersRef: {group: fairway.dev, kind: GatewayParameters, name: p}"), "GatewayClass fairway", "", "Accepted=False InvalidParameters", "want a namespace"},
		{"gateway with parameters that are there", gatewayDoc + own + parametersDoc("p", "{}"), "Gateway shop/edge", "", "Accepted=True Accepted", ""},
		{"gateway with parameters that are not for it", gatewayDoc + own + parametersDoc("p", "{pods: {image: x}}"), "Gateway shop/edge", "", "Accepted=False InvalidParameters", "spec.delegated"},
		{"gateway with parameters that its class delegates", ofClass(", parametersRef: {group: fairway.dev, kind: GatewayParameters, namespace: shop, name: class}") +
			parametersDoc("class", "{delegated: [Image]}") + gatewayDoc + own + parametersDoc("p", "{pods: {image: x}}"), "Gateway shop/edge", "", "Accepted=True Accepted", ""},
		{"gateway with parameters that are not there", gatewayDoc + own, "Gateway shop/edge", "", "Accepted=False InvalidParameters", "shop/p: not found"},
		{"gateway with parameters that are not there, programmed", gatewayDoc + own, "Gateway shop/edge", "", "Programmed=False Invalid", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.check(t, Options{DefaultClass: "fairway", Reserved: PodPorts})
			tt.check(t, Options{DefaultClass: "fairway", Isolated: true})
		})
	}
}

func parametersDoc(name, spec string) string {
	return "\nkind: GatewayParameters\nmetadata: {namespace: shop, name: " + name + "}\nspec: " + spec + "\n---"
}

// In a cluster the addresses of a Gateway are its Service's: pods bind all of
// theirs, and who provisions says whether an address could be had.
func TestAddressesOfIsolatedGateways(t *testing.T) {
	const list = "\n  listeners: [{name: http, port: 80, protocol: HTTP}]\n---"
	const mixed = gatewayDoc + "  addresses: [{value: 10.0.0.1}, {type: IPAddress}]" + list
	tests := []conditionTest{
		{"addresses", mixed, "Gateway shop/edge", "", "Programmed=True Programmed", ""},
		{"a name", gatewayDoc + "  addresses: [{type: Hostname, value: lb.example.com}, {type: Hostname}]" + list, "Gateway shop/edge", "", "Programmed=True Programmed", ""},
		{"a strange type", gatewayDoc + "  addresses: [{type: example.com/x, value: y}]" + list, "Gateway shop/edge", "", "Accepted=False UnsupportedAddress", "example.com/x"},
		{"an address that is none", gatewayDoc + "  addresses: [{value: x}]" + list, "Gateway shop/edge", "", "Programmed=False AddressNotUsable", `"x"`},
	}
	opts := Options{DefaultClass: "fairway", Isolated: true}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.check(t, opts) })
	}
	w := world{}
	w.load(t, mixed)
	if l := w.translate(opts).Spec.Listeners["shop/edge/http"]; l == nil || l.Addresses != nil {
		t.Errorf("got %+v, want a listener on all addresses", l)
	}
}

// What holds for a Gateway is its own parameters over those of its class, and
// an edit of either is a Report of the Gateway.
func TestParametersAreMerged(t *testing.T) {
	w := world{}
	keys := w.load(t, ofClass(", parametersRef: {group: fairway.dev, kind: GatewayParameters, namespace: shop, name: class}")+
		gatewayDoc+"  infrastructure: {parametersRef: {group: fairway.dev, kind: GatewayParameters, name: own}}\n"+
		"  listeners: [{name: a, port: 80, protocol: HTTP}, {name: b, port: 81, protocol: TCP}, {name: c, port: 80, protocol: UDP}]\n---"+
		parametersDoc("class", "{logLevel: debug, drainSeconds: 5, proxyProtocol: {mode: Required}}")+
		parametersDoc("own", "{logLevel: warn, proxyProtocol: {ports: [{port: 81, mode: Optional}]}}"))
	tr := New(w, Options{})
	r := dialecttest.NewResult().Apply(tr.Update(keys))
	edge := routing.ObjectKey{Kind: "Gateway", Namespace: "shop", Name: "edge"}
	p := r.Reports[edge].Parameters
	if p == nil || *p.Spec.LogLevel != "warn" || *p.Spec.DrainSeconds != 5 {
		t.Fatalf("got parameters %+v, want those of both", p)
	}
	for name, want := range map[routing.ListenerName]routing.ProxyProtocol{
		"shop/edge/a": routing.ProxyProtocolRequired, "shop/edge/b": routing.ProxyProtocolOptional, "shop/edge/c": routing.ProxyProtocolOff,
	} {
		if got := r.Spec.Listeners[name].ProxyProtocol; got != want {
			t.Errorf("PROXY protocol of %s: got %q, want %q", name, got, want)
		}
	}
	level := "error"
	own := &v1alpha1.GatewayParameters{Spec: v1alpha1.GatewayParametersSpec{LogLevel: &level}}
	own.Namespace, own.Name = "shop", "own"
	r.Apply(tr.Update([]routing.ObjectKey{w.put("GatewayParameters", own)}))
	if got := *r.Reports[edge].Parameters.Spec.LogLevel; got != "error" {
		t.Errorf("after an edit the level is %s, want error", got)
	}
	if got := r.Spec.Listeners["shop/edge/b"].ProxyProtocol; got != routing.ProxyProtocolRequired {
		t.Errorf("after an edit PROXY protocol is %q, want the class's", got)
	}
}

// Of Secrets and ConfigMaps only those are read that something names and may
// name.
func TestReadsWhatIsNamedAndGranted(t *testing.T) {
	w := world{}
	keys := w.load(t, listeners("{name: a, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: here}, {namespace: vault, name: there}]}}"))
	tr := New(w, Options{DefaultClass: "fairway"})
	tr.Update(keys)
	reads := func(ns, name string, want bool) {
		t.Helper()
		if got := tr.Reads(routing.ObjectKey{Kind: "Secret", Namespace: ns, Name: name}); got != want {
			t.Errorf("Secret %s/%s is read: %t, want %t", ns, name, got, want)
		}
	}
	reads("shop", "here", true)
	reads("shop", "there", false)
	reads("vault", "there", false) // not granted
	tr.Update(w.load(t, grantDoc("Gateway", "shop")))
	reads("vault", "there", true)
	gone := routing.ObjectKey{Kind: "ReferenceGrant", Namespace: "vault", Name: "g"}
	delete(w, gone)
	tr.Update([]routing.ObjectKey{gone})
	reads("vault", "there", false)
}

// The claims are names that the conformance suite knows, all that its profiles
// for gateways have, and in order (GatewayClassStatus.supportedFeatures).
func TestSupportedFeatures(t *testing.T) {
	w := world{}
	w.load(t, ofClass(""))
	report := w.translate(Options{}).Reports[routing.ObjectKey{Kind: "GatewayClass", Name: "fairway"}]
	var got []string
	for _, f := range report.SupportedFeatures {
		got = append(got, string(f.Name))
	}
	if !slices.IsSorted(got) {
		t.Errorf("the features are not in order: %v", got)
	}
	want := sets.New[string]()
	for name := range features.SetsToNamesSet(
		features.GatewayCoreFeatures, features.GatewayExtendedFeatures, features.ReferenceGrantCoreFeatures,
		features.HTTPRouteCoreFeatures, features.HTTPRouteExtendedFeatures,
		features.GRPCRouteCoreFeatures, features.GRPCRouteExtendedFeatures,
		features.TLSRouteCoreFeatures, features.TLSRouteExtendedFeatures,
		features.TCPRouteExtendedFeatures, features.UDPRouteFeatures,
		features.BackendTLSPolicyCoreFeatures, features.BackendTLSPolicyExtendedFeatures,
	) {
		want.Insert(string(name))
	}
	if missing := want.Difference(sets.New(got...)); len(missing) > 0 {
		t.Errorf("features are missing: %v", sets.List(missing))
	}
	later := sets.New("GRPCRouteRequestHeaderModifier", "GatewayRouteHostnameIntersectionPrecedence", "HTTPRouteBackendURLRewrite", "HTTPRouteRetryCodes")
	if extra := sets.New(got...).Difference(want); !extra.Equal(later) {
		t.Errorf("features that v1.6 does not know: %v, want %v", sets.List(extra), sets.List(later))
	}
	if len(got) > 64 {
		t.Errorf("%d features: the API takes 64", len(got))
	}
}

// supportedKinds are those of the protocol that are allowed too; empty, and not
// null, where the protocol is not known.
func TestSupportedKinds(t *testing.T) {
	tests := []struct{ listener, want string }{
		{"protocol: HTTP", "[HTTPRoute GRPCRoute]"},
		{"protocol: HTTPS", "[HTTPRoute GRPCRoute]"},
		{"protocol: TLS", "[TLSRoute]"},
		{"protocol: TCP", "[TCPRoute]"},
		{"protocol: UDP", "[UDPRoute]"},
		{"protocol: SCTP", "[]"},
		{"protocol: HTTP, allowedRoutes: {kinds: [{kind: GRPCRoute}, {kind: TCPRoute}]}", "[GRPCRoute]"},
		{"protocol: HTTP, allowedRoutes: {kinds: [{kind: TCPRoute}]}", "[]"},
		{"protocol: HTTP, allowedRoutes: {kinds: [{group: x.example, kind: HTTPRoute}]}", "[]"},
	}
	for _, tt := range tests {
		w := world{}
		w.load(t, listeners("{name: a, port: 80, "+tt.listener+"}"))
		report := w.translate(Options{DefaultClass: "fairway"}).Reports[routing.ObjectKey{Kind: "Gateway", Namespace: "shop", Name: "edge"}]
		list := report.Listeners[0].SupportedKinds
		got := []gatewayv1.Kind{}
		for _, k := range list {
			got = append(got, k.Kind)
		}
		if fmt.Sprint(got) != tt.want || list == nil {
			t.Errorf("%s: supported kinds %v, want %s", tt.listener, list, tt.want)
		}
	}
}
