// Package identity is who is who in the mesh: SPIFFE identities, the CA that
// vouches for them, and TLS between those that have one.
//
// An [ID] is proved by a certificate with that one URI (X509-SVID) that leads
// to a root of the [Bundle]; nothing else proves it. [CA] signs such
// certificates, [Server] offers that to the network as
// istio.v1.auth.IstioCertificateService, and a [Keeper] holds a process's own:
// it makes the key, has it signed, and renews it at half of its life.
//
// Istio's clients may have theirs of a Server, and a Keeper its own of istiod, by a
// [Client] that [Istiod] returns: they say the same to each other.
//
// Each certificate is got by a token, the first one and those after it. So one
// that was stolen is good for 24 hours and no longer, and a CA that takes the
// place of another locks nobody out.
//
// All of it fails closed. A peer without a certificate, with one that is not
// of the bundle, or with another ID than is wanted, is refused; so is everybody
// while there is no bundle. TLS is 1.3. Who has proved nothing yet gets little
// room: see [Gate].
//
// The package knows nothing of Kubernetes: who a token belongs to is said by
// [Server.Authenticate], and where the CA is kept is the caller's matter.
package identity
