package gatewayapi

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"fairway.dev/routing"
)

var errMalformed = errors.New("malformed")

func TestSpeechOf(t *testing.T) {
	tests := []struct {
		name, appProtocol string
		want              routing.Upstream // empty: refused
		tls, stated       bool
	}{
		{"", "", routing.UpstreamHTTP1, false, false},
		{"web", "", routing.UpstreamHTTP1, false, false},
		{"http", "", routing.UpstreamHTTP1, false, true},
		{"http-web", "", routing.UpstreamHTTP1, false, true},
		{"httpweb", "", routing.UpstreamHTTP1, false, false}, // no dash, no hint
		{"http2", "", routing.UpstreamHTTP2, false, true},
		{"h2c-api", "", routing.UpstreamHTTP2, false, true},
		{"grpc", "", routing.UpstreamHTTP2, false, true},
		{"grpc-web", "", routing.UpstreamHTTP1, false, true}, // Istio's exception to the dash
		{"https-admin", "", routing.UpstreamAuto, true, true},
		{"tcp", "", routing.UpstreamHTTP1, false, false},     // HTTP is carried by TCP too
		{"grpc", "http", routing.UpstreamHTTP1, false, true}, // appProtocol goes before names
		{"", "kubernetes.io/h2c", routing.UpstreamHTTP2, false, true},
		{"", "kubernetes.io/ws", routing.UpstreamHTTP1, false, true},
		{"", "kubernetes.io/wss", routing.UpstreamHTTP1, true, true},
		{"", "HTTPS", routing.UpstreamAuto, true, true},
		{"", "mysql", "", false, false},
		{"", "x.example/y", "", false, false},
	}
	for _, tt := range tests {
		p := &corev1.ServicePort{Name: tt.name, Port: 80}
		if tt.appProtocol != "" {
			p.AppProtocol = &tt.appProtocol
		}
		got, err := speechOf(p)
		if got.protocol != tt.want || got.tls != tt.tls || got.stated != tt.stated || (err == nil) != (tt.want != "") {
			t.Errorf("speechOf(name %q, appProtocol %q) = %+v, %v, want %s, tls %t, stated %t",
				tt.name, tt.appProtocol, got, err, tt.want, tt.tls, tt.stated)
		}
	}
}

func FuzzEjection(f *testing.F) {
	for _, seed := range []string{"off", "consecutive=5,base=1s,max=50%", "max=100", "base=0s", "consecutive=-1", ",", "max=%%"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, v string) {
		var e routing.Ejection
		if err := parseEjection(&e, v); err != nil {
			if e != (routing.Ejection{}) {
				t.Errorf("parseEjection(%q) refuses with %v, and changes %+v", v, err, e)
			}
			return
		}
		if e == (routing.Ejection{}) || e.Consecutive < 0 || e.Base < 0 || e.MaxPercent < 0 || e.MaxPercent > 100 {
			t.Errorf("parseEjection(%q) = %+v, out of bounds", v, e)
		}
	})
}

func TestSharedPath(t *testing.T) {
	prefix := func(v string) routing.Match { return routing.Match{Path: routing.PathMatch{Value: v}} }
	tests := []struct {
		matches []routing.Match
		want    string
	}{
		{nil, "/"},
		{[]routing.Match{prefix("/shop/cart")}, "/shop/cart"},
		{[]routing.Match{prefix("/shop/cart"), prefix("/shop/search/")}, "/shop"},
		{[]routing.Match{prefix("/shop"), prefix("/shopping")}, "/"}, // whole segments
		{[]routing.Match{prefix("/"), prefix("/shop")}, "/"},
		{[]routing.Match{prefix("/shop"), {Path: routing.PathMatch{Kind: routing.PathRegex, Value: "/shop/.*"}}}, "/"}, // who knows
	}
	for _, tt := range tests {
		if got := sharedPath(tt.matches); got != tt.want {
			t.Errorf("sharedPath(%v) = %s, want %s", tt.matches, got, tt.want)
		}
	}
}
