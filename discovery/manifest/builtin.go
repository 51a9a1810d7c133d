package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"
)

// The API server's defaults and validation of kinds that are built into it,
// as far as a gateway reads their objects.

// strict reads t into o, and refuses fields that o does not have.
func strict(t tree, o object) []fault {
	data, err := json.Marshal(t)
	if err != nil {
		return []fault{{reason: InvalidObject, err: err}}
	}
	unknown, err := kjson.UnmarshalStrict(data, o)
	if err != nil {
		return []fault{typeFault("", err)}
	}
	fields := make([]string, 0, len(unknown))
	for _, err := range unknown {
		var in kjson.FieldError
		if errors.As(err, &in) {
			fields = append(fields, in.FieldPath())
		}
	}
	return unknownFaults(fields)
}

// typeFault says which field, below at, is of a wrong type.
func typeFault(at string, err error) fault {
	f := fault{field: at, reason: InvalidObject, err: err}
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		f.field, f.err = joinField(at, wrong.Field), fmt.Errorf("%s: want %s", wrong.Value, wrong.Type)
	}
	return f
}

func defaultNamespace(o object) {
	labels := o.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[corev1.LabelMetadataName] = o.GetName()
	o.SetLabels(labels)
}

const maxData = 1 << 20 // bytes that a Secret or a ConfigMap may hold

func validateConfigMap(o object) (errs field.ErrorList) {
	m := o.(*corev1.ConfigMap)
	size := 0
	for key, value := range m.Data {
		size += len(value)
		errs = append(errs, invalid(field.NewPath("data").Key(key), key, validation.IsConfigMapKey(key))...)
	}
	for key, value := range m.BinaryData {
		size += len(value)
		path := field.NewPath("binaryData").Key(key)
		errs = append(errs, invalid(path, key, validation.IsConfigMapKey(key))...)
		if _, ok := m.Data[key]; ok {
			errs = append(errs, field.Invalid(path, key, "is in data too"))
		}
	}
	if size > maxData {
		errs = append(errs, field.TooLong(nil, "", maxData))
	}
	return errs
}

func defaultSecret(o object) {
	s := o.(*corev1.Secret)
	if s.Type == "" {
		s.Type = corev1.SecretTypeOpaque
	}
	for key, value := range s.StringData {
		if s.Data == nil {
			s.Data = map[string][]byte{}
		}
		s.Data[key] = []byte(value)
	}
	s.StringData = nil
}

func validateSecret(o object) (errs field.ErrorList) {
	s, data := o.(*corev1.Secret), field.NewPath("data")
	size := 0
	for key, value := range s.Data {
		size += len(value)
		errs = append(errs, invalid(data.Key(key), "", validation.IsConfigMapKey(key))...)
	}
	if size > maxData {
		errs = append(errs, field.TooLong(data, "", maxData))
	}
	require := func(keys ...string) {
		for _, key := range keys {
			if _, ok := s.Data[key]; !ok {
				errs = append(errs, field.Required(data.Key(key), "for type "+string(s.Type)))
			}
		}
	}
	switch s.Type {
	case corev1.SecretTypeTLS:
		require(corev1.TLSCertKey, corev1.TLSPrivateKeyKey)
	case corev1.SecretTypeSSHAuth:
		require(corev1.SSHAuthPrivateKey)
	case corev1.SecretTypeDockercfg:
		require(corev1.DockerConfigKey)
	case corev1.SecretTypeDockerConfigJson:
		require(corev1.DockerConfigJsonKey)
	}
	return errs
}

func defaultService(o object) {
	spec := &o.(*corev1.Service).Spec
	if spec.Type == "" {
		spec.Type = corev1.ServiceTypeClusterIP
	}
	if spec.SessionAffinity == "" {
		spec.SessionAffinity = corev1.ServiceAffinityNone
	}
	for i := range spec.Ports {
		p := &spec.Ports[i]
		if p.Protocol == "" {
			p.Protocol = corev1.ProtocolTCP
		}
		if p.TargetPort == intstr.FromInt32(0) || p.TargetPort == intstr.FromString("") {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
	switch {
	case spec.ClusterIP == "" && len(spec.ClusterIPs) > 0:
		spec.ClusterIP = spec.ClusterIPs[0]
	case spec.ClusterIP != "" && len(spec.ClusterIPs) == 0:
		spec.ClusterIPs = []string{spec.ClusterIP}
	}
}

func validateService(o object) (errs field.ErrorList) {
	spec, at := &o.(*corev1.Service).Spec, field.NewPath("spec")
	switch spec.Type {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer:
		if len(spec.Ports) == 0 && spec.ClusterIP != corev1.ClusterIPNone {
			errs = append(errs, field.Required(at.Child("ports"), ""))
		}
	case corev1.ServiceTypeExternalName:
		if spec.ExternalName == "" {
			errs = append(errs, field.Required(at.Child("externalName"), ""))
		} else {
			errs = append(errs, invalid(at.Child("externalName"), spec.ExternalName, validation.IsDNS1123Subdomain(spec.ExternalName))...)
		}
	default:
		errs = append(errs, field.NotSupported(at.Child("type"), spec.Type, []corev1.ServiceType{
			corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort,
		}))
	}
	errs = append(errs, validateClusterIPs(spec, at)...)
	names, numbers := map[string]bool{}, map[string]bool{}
	for i := range spec.Ports {
		p, at := &spec.Ports[i], at.Child("ports").Index(i)
		errs = append(errs, validateServicePort(p, at)...)
		if p.Name == "" && len(spec.Ports) > 1 {
			errs = append(errs, field.Required(at.Child("name"), ""))
		}
		errs = append(errs, once(names, at.Child("name"), p.Name)...)
		errs = append(errs, once(numbers, at, fmt.Sprintf("%d/%s", p.Port, p.Protocol))...)
	}
	return errs
}

func validateClusterIPs(spec *corev1.ServiceSpec, at *field.Path) (errs field.ErrorList) {
	ips := spec.ClusterIPs
	switch {
	case len(ips) == 0:
		return nil
	case ips[0] != spec.ClusterIP:
		return field.ErrorList{field.Invalid(at.Child("clusterIPs"), ips, "first value must match clusterIP")}
	case len(ips) == 1 && ips[0] == corev1.ClusterIPNone:
		return nil
	case len(ips) == 1:
		return validation.IsValidIP(at.Child("clusterIP"), ips[0])
	}
	for i, ip := range ips {
		errs = append(errs, validation.IsValidIP(at.Child("clusterIPs").Index(i), ip)...)
	}
	if len(errs) == 0 && (len(ips) > 2 || len(ips) == 2 && isIPv4(ips[0]) == isIPv4(ips[1])) {
		errs = append(errs, field.Invalid(at.Child("clusterIPs"), ips, "must be one of each family at most"))
	}
	return errs
}

func isIPv4(ip string) bool {
	addr, err := netip.ParseAddr(ip)
	return err == nil && addr.Is4()
}

func validateServicePort(p *corev1.ServicePort, at *field.Path) (errs field.ErrorList) {
	if p.Name != "" {
		errs = append(errs, invalid(at.Child("name"), p.Name, validation.IsDNS1123Label(p.Name))...)
	}
	errs = append(errs, invalid(at.Child("port"), p.Port, validation.IsValidPortNum(int(p.Port)))...)
	errs = append(errs, validateProtocol(p.Protocol, at)...)
	if target := p.TargetPort; target.Type == intstr.String {
		errs = append(errs, invalid(at.Child("targetPort"), target.StrVal, validation.IsValidPortName(target.StrVal))...)
	} else {
		errs = append(errs, invalid(at.Child("targetPort"), target.IntVal, validation.IsValidPortNum(int(target.IntVal)))...)
	}
	return append(errs, validateAppProtocol(p.AppProtocol, at)...)
}

func defaultEndpointSlice(o object) {
	ports := o.(*discoveryv1.EndpointSlice).Ports
	for i := range ports {
		if ports[i].Name == nil {
			ports[i].Name = new(string)
		}
		if ports[i].Protocol == nil {
			ports[i].Protocol = new(corev1.ProtocolTCP)
		}
	}
}

// Bounds of an EndpointSlice.
const (
	maxEndpoints = 1000
	maxAddresses = 100 // of one endpoint
)

func validateEndpointSlice(o object) (errs field.ErrorList) {
	s := o.(*discoveryv1.EndpointSlice)
	switch s.AddressType {
	case discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6, discoveryv1.AddressTypeFQDN:
	case "":
		return field.ErrorList{field.Required(field.NewPath("addressType"), "")}
	default:
		return field.ErrorList{field.NotSupported(field.NewPath("addressType"), s.AddressType, []discoveryv1.AddressType{
			discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6, discoveryv1.AddressTypeFQDN,
		})}
	}
	if n := len(s.Endpoints); n > maxEndpoints {
		return field.ErrorList{field.TooMany(field.NewPath("endpoints"), n, maxEndpoints)}
	}
	for i, ep := range s.Endpoints {
		at := field.NewPath("endpoints").Index(i).Child("addresses")
		switch n := len(ep.Addresses); {
		case n == 0:
			errs = append(errs, field.Required(at, "must contain at least 1 address"))
		case n > maxAddresses:
			errs = append(errs, field.TooMany(at, n, maxAddresses))
		}
		for j, a := range ep.Addresses {
			errs = append(errs, validateAddress(s.AddressType, at.Index(j), a)...)
		}
	}
	names := map[string]bool{}
	for i, p := range s.Ports {
		at := field.NewPath("ports").Index(i)
		if *p.Name != "" {
			errs = append(errs, invalid(at.Child("name"), *p.Name, validation.IsDNS1123Label(*p.Name))...)
		}
		if names[*p.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), *p.Name))
		}
		names[*p.Name] = true
		if p.Port != nil {
			errs = append(errs, invalid(at.Child("port"), *p.Port, validation.IsValidPortNum(int(*p.Port)))...)
		}
		errs = append(errs, validateProtocol(*p.Protocol, at)...)
		errs = append(errs, validateAppProtocol(p.AppProtocol, at)...)
	}
	return errs
}

// validateAddress is stricter than netip and, about loopback addresses, less
// strict than the API server: without a cluster, a backend may well be on the
// same machine.
func validateAddress(kind discoveryv1.AddressType, at *field.Path, address string) field.ErrorList {
	if kind == discoveryv1.AddressTypeFQDN {
		return invalid(at, address, validation.IsDNS1123Subdomain(address))
	}
	ip, err := netip.ParseAddr(address)
	switch {
	case err != nil || ip.Zone() != "":
		return field.ErrorList{field.Invalid(at, address, "must be an IP address")}
	case ip.Is4() != (kind == discoveryv1.AddressTypeIPv4):
		return field.ErrorList{field.Invalid(at, address, "must be an "+string(kind)+" address")}
	case ip.IsUnspecified() || ip.IsLinkLocalUnicast() || ip.IsMulticast():
		return field.ErrorList{field.Invalid(at, address, "must be an address that one endpoint has")}
	}
	return nil
}

func validateProtocol(p corev1.Protocol, at *field.Path) field.ErrorList {
	switch p {
	case corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP:
		return nil
	}
	return field.ErrorList{field.NotSupported(at.Child("protocol"), p, []corev1.Protocol{
		corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP,
	})}
}

func validateAppProtocol(p *string, at *field.Path) field.ErrorList {
	if p == nil {
		return nil
	}
	return invalid(at.Child("appProtocol"), *p, content.IsLabelKey(*p))
}

// once refuses a value that seen has already; none is none.
func once(seen map[string]bool, at *field.Path, value string) field.ErrorList {
	if value == "" {
		return nil
	}
	if seen[value] {
		return field.ErrorList{field.Duplicate(at, value)}
	}
	seen[value] = true
	return nil
}

// invalid turns the messages of a check into errors.
func invalid(at *field.Path, value any, messages []string) (errs field.ErrorList) {
	for _, m := range messages {
		errs = append(errs, field.Invalid(at, value, m))
	}
	return errs
}
