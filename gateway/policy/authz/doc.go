// Package authz decides by Istio's AuthorizationPolicies ([routing.Authorization])
// who may pass: requests, and connections of which no requests are seen.
//
// The one law: nobody passes by mistake. A policy that is not there, or that
// cannot be had as it was written, refuses all that it is on, and says so. A rule
// holds where all that it names does; what is not known about a request is no
// value, which holds for nothing, and so for every "not".
//
// # What decides
//
// The policies of a listener, in no order of theirs (istio.io, AuthorizationPolicy):
//
//  1. Those of action CUSTOM whose rules hold are asked about ([Set.Custom]), and
//     who asks refuses where one of the answers does. With nobody to ask, what
//     their rules hold for is refused.
//  2. A DENY policy one of whose rules holds refuses.
//  3. Without any ALLOW policy all else passes, and with some what one rule of one
//     of them holds for. One without rules holds for nothing: with it alone nobody
//     passes. A rule without anything in it holds for everybody.
//
// AUDIT policies, and those that only try (DryRun), refuse nobody, even broken:
// they are told of in the [Decision].
//
// # What is compared
//
// Texts are compared byte by byte with what a pattern says: all of it, a prefix
// "a*", a suffix "*a", or "*" for one that is not empty (of a header, that is
// there). A star elsewhere is a star. Besides:
//
//   - Principals are identities without "spiffe://" in front. Of a principal
//     with five segments whose trust domain is one of the mesh's, or
//     "cluster.local", each of the mesh's domains stands for the others.
//   - Namespaces and service accounts are looked for in the identity's path as
//     Istio does, "/ns/NAMESPACE/" and "/sa/NAME"; stars of a namespace are any
//     text, and a service account without a namespace is in the policy's own.
//   - Hosts and the name of a ClientHello are compared in any case. A pattern
//     without a port holds for the host whatever its port is, and a dot at the
//     host's end does not count: neither is a way round a DENY policy.
//   - In paths "{*}" is a segment that is not empty and "{**}" any text, the last
//     operator of its template. Envoy has them match characters of RFC 3986 only;
//     here they match all, so that no odd one is a way round.
//   - request.auth.principal is the issuer and the subject, split at the last
//     slash of the pattern.
//   - Of a claim that is a list one element is enough. Numbers and truths are
//     compared as text; Envoy has them match nothing.
//   - request.headers[x] is what all fields of that name say together, joined by
//     ", ". "host" and ":authority" are the authority, ":path" has the query.
//   - source.ip is the peer of the connection, remote.ip the client by
//     X-Forwarded-For as far as that is believed.
//
// On a connection without requests a rule of an ALLOW policy that names something
// of HTTP never holds, and one of another policy as if it did not name it: DENY
// gets wider.
//
// # What it costs
//
// A listener without policies asks nobody. [Set.Check] goes through the policies
// one by one and allocates nothing, unless a header is there several times, or
// there is something to tell of audits and tries.
package authz
