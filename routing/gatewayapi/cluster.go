package gatewayapi

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"fairway.dev/routing"
)

// A use is who sends to a port, where it makes a difference to the cluster. It
// ends the cluster's name.
type use string

const (
	httpUse use = ""
	grpcUse use = "#grpc" // HTTP/2, only because a GRPCRoute sends to a port whose author did not say so
	tcpUse  use = "#tcp"  // bytes, whatever the port's author says that they mean
	udpUse  use = "#udp"  // datagrams, to the port of that protocol
	tlsUse  use = "#tls"  // bytes of TLS that a listener passes through: no policy adds another TLS
	// HTTP of the version that the client speaks, as the port's author did not say it.
	clientUse use = "#client"
)

// isStream reports whether what is sent is not looked at.
func (u use) isStream() bool { return u == tcpUse || u == udpUse || u == tlsUse }

// uses are those of the kinds of routes, but for listeners that pass TLS through.
var uses = map[string]use{
	"HTTPRoute": httpUse,
	"GRPCRoute": grpcUse,
	"TLSRoute":  tcpUse,
	"TCPRoute":  tcpUse,
	"UDPRoute":  udpUse,
}

// A target is a port of a Service, and who sends to it.
type target struct {
	port   uint16
	use    use
	mark   string                  // Backend.Mark
	client routing.CertificateName // that the Gateway shows; empty: none
}

// part and parseTarget are the two ways between a target and the part of a
// cell's id: "8080", "8080#grpc", "8080|v1", "8443@infra/client".
func (t target) part() string {
	s := strconv.Itoa(int(t.port)) + string(t.use) + t.mark
	if t.client != "" {
		s += clientMark + string(t.client)
	}
	return s
}

func parseTarget(part string) target {
	part, client, _ := strings.Cut(part, clientMark)
	mark := ""
	if i := strings.IndexAny(part, "|~"); i >= 0 {
		part, mark = part[:i], part[i:]
	}
	number, _, _ := strings.Cut(part, "#")
	port, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		panic("bug: a target without a port")
	}
	return target{uint16(port), use(part[len(number):]), mark, routing.CertificateName(client)}
}

// protocol is the one that a Service's port has to have for t.
func (t target) protocol() corev1.Protocol {
	if t.use == udpUse {
		return corev1.ProtocolUDP
	}
	return corev1.ProtocolTCP
}

// clusterName is "shop/cart:8080", with the marks of a target's part.
func clusterName(id cellID) routing.ClusterName {
	return routing.ClusterName(id.NS + "/" + id.Name + ":" + id.Part)
}

// servicePort returns the port of a Service that t names by its number, or nil.
// A number may stand for two protocols: then the one that t sends is meant.
func servicePort(svc *corev1.Service, t target) *corev1.ServicePort {
	var found *corev1.ServicePort
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		if p.Port == int32(t.port) && (found == nil || portProtocol(p) == t.protocol()) {
			found = p
		}
	}
	return found
}

func portProtocol(p *corev1.ServicePort) corev1.Protocol {
	if p.Protocol == "" {
		return corev1.ProtocolTCP
	}
	return p.Protocol
}

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

// speech says how a port speaks to t. Connections and datagrams are passed on
// as they are: what their bytes mean is not looked at.
func (t target) speech(p *corev1.ServicePort) (speech, error) {
	if portProtocol(p) != t.protocol() {
		return speech{}, fmt.Errorf("port %d is %s: want %s", p.Port, portProtocol(p), t.protocol())
	}
	switch t.use {
	case tcpUse, tlsUse:
		return speech{protocol: routing.UpstreamTCP, stated: true}, nil
	case udpUse:
		return speech{protocol: routing.UpstreamUDP, stated: true}, nil
	}
	says, err := speechOf(p)
	if t.use == clientUse && !says.stated {
		says.protocol = routing.UpstreamClient
	}
	if err == nil && t.use == grpcUse && says.noGRPC {
		err = fmt.Errorf("port %d has appProtocol %s: want one that carries gRPC", p.Port, *p.AppProtocol)
	}
	return says, err
}

// speechOf says how a port speaks HTTP: as its appProtocol says, else as its
// name says up to a dash, as Istio reads it ("grpc-api"), else HTTP/1.1. A name
// is only a hint, so one that says nothing known is none.
func speechOf(p *corev1.ServicePort) (speech, error) {
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
	target := parseTarget(r.ID.Part)
	svc := object[corev1.Service](r, "Service", r.ID.NS, r.ID.Name)
	if svc == nil {
		return outcome{}
	}
	port := servicePort(svc, target)
	if port == nil {
		return outcome{}
	}
	says, err := target.speech(port)
	if err != nil {
		return outcome{}
	}
	r.Value(cellID{Kind: endpointsCell, NS: r.ID.NS, Name: r.ID.Name, Part: r.ID.Part})
	s := r.settings(r.ID.NS, r.ID.Name)
	c := &routing.Cluster{
		Name:           clusterName(r.ID),
		Origin:         routing.Origin{Kind: "Service", Namespace: r.ID.NS, Name: r.ID.Name},
		Protocol:       says.protocol,
		Balance:        s.balance,
		Limits:         s.limits,
		Ejection:       s.ejection,
		ConnectTimeout: s.connectTimeout,
		IdleTimeout:    s.idleTimeout,
		SlowStart:      s.slowStart,
		Service:        r.ID.Name,
		Namespace:      r.ID.NS,
		Port:           target.port,
	}
	if says.tls {
		c.TLS = &routing.UpstreamTLS{Insecure: true}
	}
	policy := r.policyFor(target, port)
	if policy != nil {
		if policy.upstream == nil {
			return outcome{} // never in plain text where TLS was asked for
		}
		c.TLS = policy.upstream
		if !says.stated {
			c.Protocol = routing.UpstreamAuto
		}
	}
	if !target.use.isStream() {
		c.Retries = s.traffic.retries
	}
	if target.use != udpUse {
		c.ProxyProtocol, c.Health = s.proxyProtocol, s.health
	}
	if shape := t.shaper.Shape; shape != nil && !shape(r.Reading, r.shaping(target, svc, port, policy), c) {
		return outcome{}
	}
	if c.TLS != nil && c.TLS.Certificate == "" && target.client != "" {
		tls := *c.TLS
		tls.Certificate = target.client
		c.TLS = &tls
	}
	if target.use == grpcUse {
		c.Protocol = routing.UpstreamHTTP2
	}
	if target.use != udpUse {
		c.Hop = r.hop(r.bindingOf(r.ID.NS, r.ID.Name), clusterIPs(svc), target.port)
	}
	return outcome{Parts: []any{c}}
}
