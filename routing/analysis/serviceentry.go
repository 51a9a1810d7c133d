package analysis

import (
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

func (f *findings) serviceEntry(s *networking.ServiceEntry) {
	f.excludes("spec", choice{"endpoints", len(s.Endpoints) > 0}, choice{"workloadSelector", s.WorkloadSelector != nil})
	if len(s.Hosts) == 0 {
		f.refuse("spec.hosts", MissingField, "add a host", "no hosts")
	}
	for i, h := range s.Hosts {
		if h == "*" {
			f.refuse(at("spec.hosts", i), InvalidHost, "name a host, or a wildcard of a domain", `"*" is no host of a ServiceEntry`)
		} else {
			f.host(at("spec.hosts", i), h)
		}
	}
	for i, a := range s.Addresses {
		f.subnet(at("spec.addresses", i), a)
		if strings.Contains(a, "/") && s.Resolution != networking.ServiceEntry_NONE && s.Resolution != networking.ServiceEntry_STATIC {
			f.refuse(at("spec.addresses", i), ConflictingFields, "write an address, or resolution STATIC", "a prefix with resolution %v", s.Resolution)
		}
	}
	if w := s.WorkloadSelector; w != nil {
		if len(w.Labels) == 0 {
			f.warn("spec.workloadSelector", IneffectiveField, "add labels", "no labels: it selects every workload of the namespace")
		}
		f.labels("spec.workloadSelector.labels", w.Labels)
	}
	ports := f.servicePorts(s)
	f.resolution(s)
	for i, e := range s.Endpoints {
		f.workloadEntry(at("spec.endpoints", i), e, ports, s.Resolution != networking.ServiceEntry_STATIC)
	}
	f.exportTo(s.ExportTo, true)
}

// serviceProtocols are those of Services, and whether a connection of them
// tells which of several hosts it is for.
var serviceProtocols = map[string]bool{
	"HTTP": true, "HTTP2": true, "GRPC": true, "GRPC-WEB": true, "HTTPS": true, "TLS": true, "HTTP_PROXY": true,
	"": false, "TCP": false, "UDP": false, "MONGO": false, "REDIS": false, "MYSQL": false,
}

func (f *findings) servicePorts(s *networking.ServiceEntry) (names map[string]bool) {
	if len(s.Ports) == 0 {
		f.warn("spec.ports", MissingField, "add the ports that clients use", "no ports: nothing can be sent to it")
	}
	names = map[string]bool{}
	numbers := map[uint32]bool{}
	for i, p := range s.Ports {
		field := at("spec.ports", i)
		if names[p.GetName()] || numbers[p.GetNumber()] {
			f.refuse(field, DuplicateName, "keep one of them", "port %d, %q is there twice", p.GetNumber(), p.GetName())
		}
		names[p.GetName()], numbers[p.GetNumber()] = true, true
		f.label(field+".name", p.GetName())
		f.port(field+".number", p.GetNumber())
		if p.GetTargetPort() != 0 {
			f.port(field+".targetPort", p.TargetPort)
		}
		tells, known := serviceProtocols[strings.ToUpper(p.GetProtocol())]
		switch {
		case !known:
			f.refuse(field+".protocol", InvalidProtocol, "write HTTP, HTTPS, HTTP2, GRPC, TLS or TCP", "%q: not a protocol", p.GetProtocol())
		case !tells && len(s.Hosts) > 1 && s.Resolution != networking.ServiceEntry_NONE:
			f.refuse(field+".protocol", ConflictingFields, "write a ServiceEntry for each host", "several hosts on a port of plain TCP, where nothing tells them apart")
		}
	}
	return names
}

// resolution checks hosts and endpoints against the way of resolving them.
func (f *findings) resolution(s *networking.ServiceEntry) {
	switch s.Resolution {
	case networking.ServiceEntry_NONE:
		if len(s.Endpoints) > 0 {
			f.refuse("spec.endpoints", ConflictingFields, "write resolution STATIC", "endpoints with resolution NONE")
		}
	case networking.ServiceEntry_DNS, networking.ServiceEntry_DNS_ROUND_ROBIN:
		if len(s.Endpoints) == 0 && s.WorkloadSelector == nil {
			for i, h := range s.Hosts {
				if strings.HasPrefix(h, "*") {
					f.refuse(at("spec.hosts", i), InvalidHost, "add endpoints with names, or write resolution DYNAMIC_DNS", "%q cannot be looked up in DNS", h)
				}
			}
		}
		if s.Resolution == networking.ServiceEntry_DNS_ROUND_ROBIN && len(s.Endpoints) > 1 {
			f.refuse("spec.endpoints", ConflictingFields, "keep one endpoint, or write resolution DNS", "%d endpoints with DNS_ROUND_ROBIN: want one at most", len(s.Endpoints))
		}
	case networking.ServiceEntry_DYNAMIC_DNS:
		for i, h := range s.Hosts {
			if !strings.HasPrefix(h, "*") {
				f.refuse(at("spec.hosts", i), InvalidHost, "write resolution DNS", "%q is no wildcard, which DYNAMIC_DNS is for", h)
			}
		}
		if len(s.Addresses)+len(s.Endpoints) > 0 {
			f.refuse("spec", ConflictingFields, "take addresses and endpoints away", "addresses or endpoints with DYNAMIC_DNS")
		}
	}
}

// workloadEntry checks a workload. ports are those that it may name; nil: any.
func (f *findings) workloadEntry(field string, w *networking.WorkloadEntry, ports map[string]bool, names bool) {
	address := w.GetAddress()
	path, unix := strings.CutPrefix(address, "unix://")
	switch {
	case address == "" && w.GetNetwork() == "":
		f.refuse(field+".address", MissingField, "add an address", "no address")
	case address == "", isIP(address):
	case unix:
		if !strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "@") || strings.HasSuffix(path, "/") {
			f.refuse(field+".address", InvalidAddress, "write unix:///path", "%q: want an absolute path of a socket", address)
		}
		if len(w.Ports) > 0 {
			f.refuse(field+".ports", ConflictingFields, "take the ports away", "a socket has no ports")
		}
	case !names:
		f.refuse(field+".address", InvalidAddress, "write an IP address, or resolution DNS", "%q: want an IP address", address)
	case strings.HasPrefix(address, "*") || checkHost(address) != "":
		f.refuse(field+".address", InvalidAddress, "write an IP address or a DNS name", "%q: neither an IP address nor a DNS name", address)
	}
	for name, port := range sorted(w.GetPorts()) {
		if ports != nil && !ports[name] {
			f.refuse(key(field+".ports", name), InvalidPort, "use a port's name of spec.ports", "%q is no port of the ServiceEntry", name)
		}
		f.port(key(field+".ports", name), port)
	}
	f.labels(field+".labels", w.GetLabels())
}
