package istio

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"fairway.dev/routing"
)

// A portClass says which servers can share a port: those that their hosts tell
// apart at the same moment, in a request or in a ClientHello.
type portClass string

const (
	classHTTP portClass = "http"
	classTLS  portClass = "tls"
	classTCP  portClass = "tcp"
)

// classOf is the class of a listener.
func classOf(p routing.Protocol) portClass {
	switch p {
	case routing.HTTP:
		return classHTTP
	case routing.HTTPS, routing.TLS:
		return classTLS
	}
	return classTCP
}

// A server is what a server of a Gateway says by itself.
type server struct {
	field    string // "spec.servers[0]"
	port     uint16
	bind     netip.Addr // invalid: none
	class    portClass
	protocol routing.Protocol // of its listeners
	hosts    []serverHost
	redirect bool
	tls      *networking.ServerTLSSettings // of classTLS
	broken   bool                          // nothing of it is in force
	found    complaints
}

// A serverHost is a host that a server lets in, and the namespace whose
// VirtualServices it is for.
type serverHost struct {
	namespace string // "*" for any
	pattern   string // "*", "shop.example.com", "*.example.com"
}

// serverProtocols are what listeners of a Port.protocol, in upper case, speak.
var serverProtocols = map[string]routing.Protocol{
	"HTTP": routing.HTTP, "HTTP2": routing.HTTP, "GRPC": routing.HTTP, "GRPC-WEB": routing.HTTP,
	"HTTPS": routing.HTTPS, "TLS": routing.TLS, "TCP": routing.TCP, "MONGO": routing.TCP,
}

// parseServer parses the server of a Gateway of a namespace that has a place in
// the list.
func parseServer(in *networking.Server, i int, ns string, reserved func(uint16) string) *server {
	s := &server{field: fmt.Sprintf("spec.servers[%d]", i), redirect: in.GetTls().GetHttpsRedirect()}
	found := &s.found
	s.parsePort(in, reserved, found)
	s.parseBind(in.GetBind(), found)
	_, s.broken = found.worst()
	if s.parseHosts(in.GetHosts(), ns, found); len(s.hosts) == 0 {
		s.broken = true
	}
	if in.GetDefaultEndpoint() != "" {
		found.warn(s.field+".defaultEndpoint", reasonUnsupportedField, "send to it by a VirtualService",
			"defaultEndpoint is not implemented, nor is it by Istio")
	}
	return s
}

func (s *server) parsePort(in *networking.Server, reserved func(uint16) string, found *complaints) {
	port := in.GetPort()
	if port == nil {
		found.wrong(s.field+".port", reasonMissingField, "", "no port: want one")
		return
	}
	protocol := strings.ToUpper(port.GetProtocol())
	s.port, s.protocol = uint16(port.GetNumber()), serverProtocols[protocol]
	if port.Number < 1 || port.Number > 65535 {
		found.wrong(s.field+".port.number", reasonInvalidPort, "", "port %d: want 1-65535", port.Number)
	} else if what := reserved(s.port); what != "" {
		found.wrong(s.field+".port.number", reasonPortUnavailable, "take another", "port %d: the gateway needs it for %s", s.port, what)
	}
	if s.protocol == "" {
		found.wrong(s.field+".port.protocol", reasonInvalidProtocol, "",
			"protocol %q: want HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, TCP or TLS", port.Protocol)
		return
	}
	switch protocol {
	case "GRPC-WEB":
		found.note(s.field+".port.protocol", reasonUnsupportedField, "", "gRPC-Web is passed on as it is, and not made gRPC")
	case "MONGO":
		found.note(s.field+".port.protocol", reasonUnsupportedField, "", "MongoDB is passed on as TCP, without metrics of its own")
	}
	if port.GetTargetPort() != 0 {
		found.warn(s.field+".port.targetPort", reasonDeprecatedField, "take it out", "targetPort has no effect in a Gateway")
	}
	s.classify(in.GetTls(), found)
	s.checkName(port.GetName(), found)
}

// classify says what the server's listeners speak. Settings of TLS make TLS of
// TCP; of plain HTTP they may say httpsRedirect, and nothing else.
func (s *server) classify(tls *networking.ServerTLSSettings, found *complaints) {
	switch {
	case s.protocol == routing.HTTP:
		s.class = classHTTP
		for _, f := range setFields(tls) {
			if f != "httpsRedirect" {
				found.wrong(s.field+".tls."+f, reasonConflictingFields, "say HTTPS, or keep httpsRedirect alone",
					"TLS on plain HTTP: want httpsRedirect and nothing else")
			}
		}
		return
	case s.protocol == routing.TCP && tls == nil:
		s.class = classTCP
		return
	case tls == nil:
		found.wrong(s.field+".tls", reasonMissingField, "add tls with a mode", "%s without tls", s.protocol)
		return
	}
	s.class, s.tls = classTLS, tls
	if s.protocol == routing.TCP || passesThrough(tls) {
		s.protocol = routing.TLS
	}
	if s.redirect {
		found.warn(s.field+".tls.httpsRedirect", reasonIneffectiveField, "move it to the server of plain HTTP",
			"httpsRedirect is for plain HTTP: it has no effect here")
		s.redirect = false
	}
}

// passesThrough reports whether TLS is not ended here.
func passesThrough(tls *networking.ServerTLSSettings) bool {
	return tls.GetMode() == networking.ServerTLSSettings_PASSTHROUGH || automatic(tls)
}

// automatic reports whether the name in the ClientHello says which Service to
// send to, whatever VirtualServices say.
func automatic(tls *networking.ServerTLSSettings) bool {
	return tls.GetMode() == networking.ServerTLSSettings_AUTO_PASSTHROUGH
}

// checkName compares what a port's name says with its protocol: "https-shop"
// is not what a reader expects of plain HTTP.
func (s *server) checkName(name string, found *complaints) {
	if name == "" {
		found.note(s.field+".port.name", reasonMissingField, "name it by its protocol", "the port has no name, which Istio wants")
		return
	}
	said, known := namedProtocol(name)
	if c := classOf(said); known && s.class != "" && c != s.class && !(c == classTCP && s.class == classTLS) {
		found.warn(s.field+".port.name", reasonPortName, "rename it, or correct the protocol",
			"port %q is named like %s and speaks %s", name, said, s.protocol)
	}
}

// namedProtocol is what the name of a port says in front of its first '-'.
func namedProtocol(name string) (routing.Protocol, bool) {
	first, _, _ := strings.Cut(strings.ToUpper(name), "-")
	p, ok := serverProtocols[first]
	return p, ok
}

// parseBind parses the address that a server is bound to.
func (s *server) parseBind(bind string, found *complaints) {
	if bind == "" {
		return
	}
	addr, err := netip.ParseAddr(bind)
	if err != nil {
		found.wrong(s.field+".bind", reasonInvalidAddress, "leave it out", "bind %q: want an IP address", bind)
		return
	}
	if addr = addr.Unmap(); !addr.IsUnspecified() {
		s.bind = addr
	}
}

// parseHosts parses "dnsName", "namespace/dnsName", "./dnsName" and "*/dnsName".
func (s *server) parseHosts(hosts []string, ns string, found *complaints) {
	if len(hosts) == 0 {
		found.wrong(s.field+".hosts", reasonMissingField, `say "*" for all`, "no hosts")
	}
	for i, text := range hosts {
		h := serverHost{"*", strings.ToLower(text)}
		if of, name, ok := strings.Cut(text, "/"); ok {
			h = serverHost{of, strings.ToLower(name)}
		}
		if h.namespace == "." {
			h.namespace = ns
		}
		field := fmt.Sprintf("%s.hosts[%d]", s.field, i)
		if err := checkServerHost(h.pattern); err != nil {
			found.wrong(field, reasonInvalidHost, "", "%v", err)
		} else if h.namespace == "" || h.namespace == "~" {
			found.wrong(field, reasonInvalidHost, "", "namespace %q of host %q: want a name, '.' or '*'", h.namespace, text)
		} else {
			s.hosts = append(s.hosts, h)
		}
	}
}

// pattern is what a host of the server is to listeners: a protocol without
// names has one for all.
func (s *server) pattern(h serverHost) string {
	if s.class == classTCP {
		return everyHost
	}
	return h.pattern
}

// patterns are those of the server's hosts, each once.
func (s *server) patterns() []string {
	var list []string
	seen := map[string]bool{}
	for _, h := range s.hosts {
		if p := s.pattern(h); !seen[p] {
			seen[p] = true
			list = append(list, p)
		}
	}
	return list
}

// socket is a TCP port of a fleet, with the address to bind where there is one:
// "443", "443@10.0.0.1".
func (s *server) socket() string { return socketOf(s.port, s.bind) }

func socketOf(port uint16, bind netip.Addr) string {
	text := strconv.Itoa(int(port))
	if bind.IsValid() {
		text += "@" + bind.String()
	}
	return text
}
