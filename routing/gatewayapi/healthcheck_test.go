package gatewayapi

import (
	"reflect"
	"testing"
	"time"

	"fairway.dev/routing"
)

func TestHealthCheckAnnotation(t *testing.T) {
	empty, service := "", "shop.Cart"
	for text, want := range map[string]*routing.HealthCheck{
		"tcp":            {},
		"grpc":           {GRPC: &empty},
		"grpc=shop.Cart": {GRPC: &service},
		"http=/healthz":  {HTTP: &routing.HTTPCheck{Path: "/healthz"}},
		"http=/, host=a.test, status=204, port=8081, interval=5s, timeout=500ms, unhealthy=2, healthy=4": {
			HTTP: &routing.HTTPCheck{Path: "/", Host: "a.test", Statuses: []routing.StatusRange{{First: 204, Last: 204}}},
			Port: 8081, Interval: 5 * time.Second, Timeout: 500 * time.Millisecond, Unhealthy: 2, Healthy: 4,
		},
		"http=/,status=200-399": {HTTP: &routing.HTTPCheck{Path: "/", Statuses: []routing.StatusRange{{First: 200, Last: 399}}}},

		"": nil, "http": nil, "http=healthz": nil, "tcp=1": nil, "udp": nil, "interval=5s": nil, "tcp,interval=0s": nil, "tcp,interval=x": nil,
		"tcp,unhealthy=0": nil, "tcp,port=70000": nil, "tcp,host=a.test": nil, "grpc,status=200": nil, "http=/,status=300-200": nil,
		"http=/,status=600": nil, "http=/,host=": nil, "tcp,what=1": nil,
	} {
		var got *routing.HealthCheck
		err := parseHealthCheck(&got, text)
		if !reflect.DeepEqual(got, want) || (err == nil) != (want != nil) {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
}

func FuzzHealthCheckAnnotation(f *testing.F) {
	f.Add("http=/healthz,host=a,status=200-299,port=1,interval=5s,timeout=1s,unhealthy=1,healthy=1")
	f.Fuzz(func(t *testing.T, text string) {
		var h *routing.HealthCheck
		if err := parseHealthCheck(&h, text); (err == nil) != (h != nil) {
			t.Fatalf("%+v, %v", h, err)
		}
	})
}
