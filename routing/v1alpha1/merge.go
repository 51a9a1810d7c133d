package v1alpha1

import (
	"bytes"
	"encoding/json"
	"slices"
)

// Merge returns what holds for a Gateway: its own parameters, field by field,
// and where it says nothing those of its class. Maps are merged by key; lists
// and disruption are taken as a whole; overlays of the class come before the
// Gateway's, and what is delegated is the class's to say. Either may be nil. The
// result shares nothing with them, is never nil, and has no metadata.
func Merge(class, gateway *GatewayParameters) *GatewayParameters {
	out := &GatewayParameters{}
	switch {
	case class == nil && gateway == nil:
	case class == nil:
		gateway.Spec.DeepCopyInto(&out.Spec)
		out.Spec.Delegated = nil
	case gateway == nil:
		class.Spec.DeepCopyInto(&out.Spec)
	default:
		out.Spec = merge(class.Spec.DeepCopy(), gateway.Spec.DeepCopy())
	}
	return out
}

// merge takes the way over JSON: what is not set is not there, so that no field
// needs a line here. It may change both.
func merge(class, gateway *GatewayParametersSpec) (out GatewayParametersSpec) {
	overlays := slices.Concat(class.Overlays, gateway.Overlays)
	class.Overlays, gateway.Overlays = nil, nil
	gateway.Delegated = nil
	if gateway.Disruption != nil {
		class.Disruption = nil // one of its two fields excludes the other
	}
	both := fields(class)
	put(both, fields(gateway))
	data, err := json.Marshal(both)
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	if err != nil { // the types went into JSON a moment ago
		panic("bug: merged GatewayParameters: " + err.Error())
	}
	out.Overlays = overlays
	return out
}

// fields is s as JSON has it.
func fields(s *GatewayParametersSpec) (out map[string]any) {
	data, err := json.Marshal(s)
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(data))
		d.UseNumber() // an int64 is not a float64
		err = d.Decode(&out)
	}
	if err != nil { // Overlays, which alone could hold something else, are not there
		panic("bug: GatewayParameters: " + err.Error())
	}
	return out
}

// put sets what over has in base, object by object.
func put(base, over map[string]any) {
	for name, value := range over {
		if value, ok := value.(map[string]any); ok {
			if old, ok := base[name].(map[string]any); ok {
				put(old, value)
				continue
			}
		}
		base[name] = value
	}
}

// On returns the mode of a port. Nothing said is Off.
func (p *ProxyProtocol) On(port int32) ProxyProtocolMode {
	if p == nil {
		return ProxyProtocolOff
	}
	for _, own := range p.Ports {
		if own.Port == port {
			return own.Mode
		}
	}
	if p.Mode != nil {
		return *p.Mode
	}
	return ProxyProtocolOff
}
