package feed

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"fairway.dev/routing"
)

// The resource types of the feed.
const (
	PartType     = "type.fairway.dev/v1.Part"
	PodStateType = "type.fairway.dev/v1.PodState"
)

// The kinds of parts, with which names of resources begin.
const (
	listenerKind    = "listener/"
	routeKind       = "route/"
	clusterKind     = "cluster/"
	endpointsKind   = "endpoints/"
	certificateKind = "certificate/"
	policyKind      = "policy/"
	workloadKind    = "workload/"
	captureKind     = "capture/"
)

// generationName is the resource that closes a run.
const generationName = "generation"

// maxPart bounds a resource, and what a client takes in one message.
const (
	maxPart    = 16 << 20 // bytes
	maxMessage = maxPart + 1<<20
)

// A resource is a part in the form that it is sent in. It never changes and
// goes to any number of pods.
type resource struct {
	message *discoveryv3.Resource
	digest  digest // its share of the view's
}

func (r *resource) version() string { return r.message.Version }
func (r *resource) size() int       { return len(r.message.Resource.Value) + len(r.message.Name) + 64 }

// newResource encodes body, a pointer to a struct.
func newResource(typeURL, name string, body any) *resource {
	text := marshal(body)
	return makeResource(typeURL, name, hashOf(text), text)
}

func makeResource(typeURL, name, version string, text []byte) *resource {
	return &resource{
		message: &discoveryv3.Resource{Name: name, Version: version, Resource: &anypb.Any{TypeUrl: typeURL, Value: text}},
		digest:  digestOf(name, version),
	}
}

// hashOf is 64 bits of a hash, as text. It tells apart what one resource was
// and is; nobody gains from a collision that they make for themselves.
func hashOf(text []byte) string {
	sum := sha256.Sum256(text)
	return base64.RawURLEncoding.EncodeToString(sum[:8])
}

// A digest is a hash over a set of resources, by names and versions. Resources
// are put in and taken out in any order: it is the sum of their hashes.
type digest [2]uint64

func digestOf(name, version string) digest {
	sum := sha256.Sum256([]byte(name + "\x00" + version))
	return digest{binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:16])}
}

func (d digest) plus(e digest) digest  { return digest{d[0] + e[0], d[1] + e[1]} }
func (d digest) minus(e digest) digest { return digest{d[0] - e[0], d[1] - e[1]} }

// String returns the version of a view: the same for the same parts.
func (d digest) String() string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], d[0])
	binary.BigEndian.PutUint64(b[8:], d[1])
	return base64.RawURLEncoding.EncodeToString(b[:12])
}

// generation is the body of the resource that closes a run. Fields may be
// added: those that a client does not know mean nothing to it.
type generation struct {
	Version string // of the view: the digest of all its parts
	Number  uint64 // of the view's changes in this replica, for people
	// Where the pod is: Place.
	Region, Zone, SubZone string
	Labels                map[string]string
}

func (g *generation) place() Place { return Place{g.Region, g.Zone, g.SubZone, g.Labels} }

// certificate is routing.Certificate with its key, which has no JSON there.
type certificate struct {
	Name   routing.CertificateName
	Origin routing.Origin
	Chain  []byte
	Key    []byte
}

// partNames of the Spec's parts.
func listenerName(n routing.ListenerName) string       { return listenerKind + string(n) }
func routeName(n routing.RouteName) string             { return routeKind + string(n) }
func clusterName(n routing.ClusterName) string         { return clusterKind + string(n) }
func endpointsName(n routing.ClusterName) string       { return endpointsKind + string(n) }
func certificateName(n routing.CertificateName) string { return certificateKind + string(n) }
func policyName(n routing.PolicyName) string           { return policyKind + string(n) }
func workloadName(n routing.WorkloadName) string       { return workloadKind + string(n) }
func captureName(n routing.CaptureName) string         { return captureKind + string(n) }

func newCertificate(c *routing.Certificate) *resource {
	return newResource(PartType, certificateName(c.Name), certificateOf(c))
}

func certificateOf(c *routing.Certificate) *certificate {
	return &certificate{Name: c.Name, Origin: c.Origin, Chain: c.Chain, Key: c.Key}
}

// decodePart returns the part that a resource is: *routing.Listener, Route,
// Cluster, Endpoints, Certificate, Policy, Workload or Capture.
func decodePart(name string, text []byte) (any, error) {
	kind, rest := splitName(name)
	var part any
	var says func() string
	switch kind {
	case listenerKind:
		p := &routing.Listener{}
		part, says = p, func() string { return string(p.Name) }
	case routeKind:
		p := &routing.Route{}
		part, says = p, func() string { return string(p.Name) }
	case clusterKind:
		p := &routing.Cluster{}
		part, says = p, func() string { return string(p.Name) }
	case endpointsKind:
		p := &routing.Endpoints{}
		part, says = p, func() string { return string(p.Cluster) }
	case certificateKind:
		p := &certificate{}
		part, says = p, func() string { return string(p.Name) }
	case policyKind:
		p := &routing.Policy{}
		part, says = p, func() string { return string(p.Name) }
	case workloadKind:
		p := &routing.Workload{}
		part, says = p, func() string { return string(p.Name) }
	case captureKind:
		p := &routing.Capture{}
		part, says = p, func() string { return string(p.Name) }
	default:
		return nil, fmt.Errorf("resource %.100q: not of a kind that is known", name)
	}
	if err := unmarshal(text, part); err != nil {
		return nil, err
	}
	if got := says(); got != rest {
		return nil, fmt.Errorf("it says that its name is %.100q, want %.100q", got, rest)
	}
	if c, ok := part.(*certificate); ok {
		return &routing.Certificate{Name: c.Name, Origin: c.Origin, Chain: c.Chain, Key: c.Key}, nil
	}
	return part, nil
}

// splitName returns the kind, with its slash, and the part's own name.
func splitName(name string) (kind, rest string) {
	i := strings.IndexByte(name, '/') + 1
	return name[:i], name[i:]
}
