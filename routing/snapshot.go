package routing

import (
	"io"
	"iter"
)

// A Snapshot is what is in force: a Spec, checked and compiled. Nothing that
// is reachable from it ever changes, but [Target.Prepared] before it is put in
// force.
type Snapshot struct{}

// Compile freezes spec. It never fails as a whole: a part that cannot work is
// left out with a Problem, the rest is in force. It is pure: the same Spec
// gives the same Snapshot and the same Problems in the same order. The parts
// of spec must not change afterwards.
func Compile(spec *Spec) (*Snapshot, []*Problem) { return &Snapshot{}, nil }

// Update returns the Snapshot of the Spec that d makes of s's, and all its
// Problems. It is what Compile of that Spec would be, but shares with s all
// that d does not touch. A name that d both removes and puts in is put in.
func (s *Snapshot) Update(d *Delta) (*Snapshot, []*Problem) { return s, nil }

// Spec returns what was asked for, with the parts that are not in force. It
// costs a walk over all parts; the maps are the caller's, the parts are shared.
func (s *Snapshot) Spec() *Spec { return &Spec{} }

// Problems returns why parts are not in force: listeners first, then clusters,
// then routes, by name. A Problem whose cause an Update did not touch stays
// the same pointer.
func (s *Snapshot) Problems() []*Problem { return nil }

// Fresh returns the targets that the Snapshot before this one did not have,
// so that the data plane can prepare them before it swaps; all of them after
// Compile.
func (s *Snapshot) Fresh() []*Target { return nil }

// Ports returns what there is to bind, in the order of address and port.
func (s *Snapshot) Ports() []*Port { return nil }

// Port returns one of Ports, or nil.
func (s *Snapshot) Port(k PortKey) *Port { return nil }

// Cluster returns a cluster in force, or nil.
func (s *Snapshot) Cluster(name ClusterName) *Cluster { return nil }

// Clusters yields the clusters in force, in no order.
func (s *Snapshot) Clusters() iter.Seq[*Cluster] { return func(func(*Cluster) bool) {} }

// Endpoints returns the endpoints of a cluster, or nil.
func (s *Snapshot) Endpoints(name ClusterName) *Endpoints { return nil }

// Certificate returns a certificate by its name, or nil.
func (s *Snapshot) Certificate(name CertificateName) *Certificate { return nil }

// Certificates yields all certificates, in no order.
func (s *Snapshot) Certificates() iter.Seq[*Certificate] { return func(func(*Certificate) bool) {} }

// Dump writes all that is in force as text for people: sorted, the same bytes
// for the same Spec, no keys.
func (s *Snapshot) Dump(w io.Writer) error { return nil }
