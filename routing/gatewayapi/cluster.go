package gatewayapi

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"fairway.dev/routing"
)

// grpcMark ends the name of a cluster that speaks HTTP/2 only because a
// GRPCRoute sends to a port whose author did not say so.
const grpcMark = "#grpc"

// A target is a port of a Service, and who sends to it.
type target struct {
	port uint16
	grpc bool
}

// part and parseTarget are the two ways between a target and the part of a
// cell's id: "8080", "8080#grpc".
func (t target) part() string {
	s := strconv.Itoa(int(t.port))
	if t.grpc {
		s += grpcMark
	}
	return s
}

func parseTarget(part string) target {
	number, grpc := strings.CutSuffix(part, grpcMark)
	port, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		panic("bug: a target without a port")
	}
	return target{uint16(port), grpc}
}

// clusterName is "shop/cart:8080", or "shop/cart:8080#grpc".
func clusterName(id cellID) routing.ClusterName {
	return routing.ClusterName(id.ns + "/" + id.name + ":" + id.part)
}

// servicePort returns a Service's port by its number, or nil. Where a number
// stands for two protocols, the TCP one is meant.
func servicePort(svc *corev1.Service, number uint16) *corev1.ServicePort {
	var found *corev1.ServicePort
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		if p.Port == int32(number) && (found == nil || isTCP(p)) {
			found = p
		}
	}
	return found
}

func isTCP(p *corev1.ServicePort) bool { return p.Protocol == "" || p.Protocol == corev1.ProtocolTCP }

// A speech is how the endpoints of a port speak.
type speech struct {
	protocol routing.Upstream
	tls      bool
	stated   bool // the Service's author said so
	noGRPC   bool // and what was said leaves no room for gRPC
}

// speeches are the protocols that a port's author may state: KEP-3726's, and
// the names that Istio knows.
var speeches = map[string]speech{
	"http":              {protocol: routing.UpstreamHTTP1, stated: true},
	"https":             {protocol: routing.UpstreamAuto, stated: true, tls: true},
	"tls":               {protocol: routing.UpstreamAuto, stated: true, tls: true},
	"h2c":               {protocol: routing.UpstreamHTTP2, stated: true},
	"http2":             {protocol: routing.UpstreamHTTP2, stated: true},
	"grpc":              {protocol: routing.UpstreamHTTP2, stated: true},
	"grpc-web":          {protocol: routing.UpstreamHTTP1, stated: true},
	"tcp":               {protocol: routing.UpstreamHTTP1},
	"kubernetes.io/h2c": {protocol: routing.UpstreamHTTP2, stated: true},
	"kubernetes.io/ws":  {protocol: routing.UpstreamHTTP1, stated: true, noGRPC: true},
	"kubernetes.io/wss": {protocol: routing.UpstreamHTTP1, stated: true, noGRPC: true, tls: true},
}

// speechOf says how a port speaks: as its appProtocol says, else as its name
// says up to a dash, as Istio reads it ("grpc-api"), else HTTP/1.1. A name is
// only a hint, so one that says nothing known is none.
func speechOf(p *corev1.ServicePort) (speech, error) {
	if !isTCP(p) {
		return speech{}, fmt.Errorf("port %d is %s: want TCP", p.Port, p.Protocol)
	}
	if p.AppProtocol != nil && *p.AppProtocol != "" {
		s, ok := speeches[strings.ToLower(*p.AppProtocol)]
		if !ok {
			return speech{}, fmt.Errorf("port %d has appProtocol %s: want kubernetes.io/h2c, kubernetes.io/ws, "+
				"kubernetes.io/wss, http, http2, h2c, grpc, https, or none", p.Port, *p.AppProtocol)
		}
		return s, nil
	}
	hint, _, _ := strings.Cut(p.Name, "-")
	if strings.HasPrefix(p.Name, "grpc-web") {
		hint = "grpc-web"
	}
	if s, ok := speeches[hint]; ok {
		return s, nil
	}
	return speech{protocol: routing.UpstreamHTTP1}, nil
}

// cluster makes the cluster of a port. It has no value: those that read it do
// so to have it there, and to keep it there while they send to it.
func (t *Translator) cluster(r *reading) outcome {
	target := parseTarget(r.id.part)
	svc := object[corev1.Service](r, "Service", r.id.ns, r.id.name)
	if svc == nil {
		return outcome{}
	}
	port := servicePort(svc, target.port)
	if port == nil {
		return outcome{}
	}
	says, err := speechOf(port)
	if err != nil {
		return outcome{}
	}
	r.value(cellID{endpointsCell, r.id.ns, r.id.name, r.id.part})
	s, _ := r.value(cellID{kind: serviceCell, ns: r.id.ns, name: r.id.name}).(settings)
	c := &routing.Cluster{
		Name:           clusterName(r.id),
		Origin:         routing.Origin{Kind: "Service", Namespace: r.id.ns, Name: r.id.name},
		Protocol:       says.protocol,
		Balance:        s.balance,
		Limits:         s.limits,
		Ejection:       s.ejection,
		ConnectTimeout: s.connectTimeout,
		IdleTimeout:    s.idleTimeout,
		SlowStart:      s.slowStart,
		Service:        r.id.name,
		Namespace:      r.id.ns,
		Port:           target.port,
	}
	if says.tls {
		c.TLS = &routing.UpstreamTLS{Insecure: true}
	}
	if policy := r.policyFor(r.id.ns, r.id.name, port.Name); policy != nil {
		if policy.upstream == nil {
			return outcome{} // never in plain text where TLS was asked for
		}
		c.TLS = policy.upstream
		if !says.stated {
			c.Protocol = routing.UpstreamAuto
		}
	}
	if target.grpc {
		c.Protocol = routing.UpstreamHTTP2
	}
	return outcome{parts: []any{c}}
}
