// Package proxy is one exchange: the life of a request.
//
// It joins a client's stream to a backend's. The codecs know bytes, routing
// knows rules, upstream knows endpoints; what is done with a request, in which
// order, and what its client is told, is decided here and nowhere else.
//
// The one law: an exchange ends once. Whatever happens in whatever order, the
// client's stream gets one last call, each begun try one Done, the cluster one
// End, and metrics and access log one record.
//
// # The life of a request
//
//  1. A codec calls [message.Handler.Exchange] at the end of the head. Over
//     MaxExchanges the request is answered at once.
//  2. Identity: fields that only a proxy may write are taken out, and ours are
//     put in, so that a rule may match them.
//  3. The path's dot segments are resolved, the host is put in lower case and
//     without its port, and the Snapshot that is loaded now says which rule
//     takes the request. A listener with RedirectHTTPS answers here, whatever
//     its rules. On one with rules for tokens (JWT) the fields that only those
//     may write are taken out, the token is proved, and the request is matched
//     once more, now with what the token claims and what it is in fields for the
//     backend. A request without a token goes on, and so does a preflight.
//  4. A share of the rule is drawn by weight, unless the request's session
//     names one.
//  5. Who may pass is found out, but for preflights of CORS: rate limits count
//     the request, then those are asked whom the rule asks. Then the rule's
//     fault is drawn: its delay is waited for, or it answers.
//  6. A preflight of CORS, a redirect, a status: answered here.
//  7. Filters: header changes of the rule, then of the backend, each first Set,
//     then Add, then Remove; rewrite, where the backend's counts more; mirrors,
//     which get the result.
//  8. Tries: an endpoint is picked, a connection is had, the request is sent,
//     and its body after it as it comes. Nothing is buffered but what a retry
//     might need (64 KiB), and what waits for a connection.
//  9. The response's head decides: another try, or this response. Header
//     changes of the backend, then of the rule; CORS; the session's cookie.
//  10. Body and trailers pass. A side that does not take what it is sent holds
//     the other one back.
//  11. The end: a record, and all is given back. A response that breaks off
//     behind its head breaks off for the client too, it never ends clean.
//
// After a 101 bytes pass both ways until both directions have ended.
//
// # Who the client is
//
// With TrustedHops 0 the gateway is the edge. X-Forwarded-*, X-Real-IP,
// X-Request-ID, X-Envoy-*, X-Fairway-*, X-Forwarded-Client-Cert, Forwarded and
// Baggage of the client are dropped, also where they are trailers, and those
// that begin with X also with '_' for '-'. X-Forwarded-For becomes the connection's
// address, X-Forwarded-Proto its scheme, X-Request-ID a random UUID, and
// X-Forwarded-Host the client's host where a rule rewrites it.
//
// With TrustedHops n the last n entries of X-Forwarded-For are kept before
// ours, and X-Forwarded-Proto, -Host, -Port and X-Request-ID are believed. The
// rest is dropped all the same. Via is not added.
//
// What a gateway of the fleet says in a request by a hop (message.Peer.Gateway)
// is believed as a whole, and X-Forwarded-For stays as it is: the hop is none of
// the client's. What comes through a gateway's tunnel is its client's: nobody has
// looked at it.
//
// # Answers
//
// The gateway's own answers have a line of plain text and "server: fairway".
// To a gRPC request (content type application/grpc) they are Trailers-Only
// with status 200 and the grpc-status that gRPC maps the status to, but for a
// deadline of the whole exchange, that is DEADLINE_EXCEEDED, and a rate limit,
// that is RESOURCE_EXHAUSTED: UNAVAILABLE, which the mapping has for 429, has
// clients try again.
//
//	400 DPE  the path has an encoded NUL
//	401 UAEX the token does not hold, or there are no keys to prove it with
//	403 UAEX nobody could be asked whether the request may pass, a policy of the
//	         listener or its waypoint refuses it, or one that is named is not there
//	404 NR   no rule takes the request, or no listener has the host
//	408 SI   the client sent nothing for StreamIdle
//	413 UAEX the body is longer than the server that is asked may be told
//	414 DPE  the path is too long once the rule's expression has rewritten it
//	421 NR   the host belongs to another listener than the TLS name, or to one
//	         that asks of clients what the connection has not shown
//	429 RL   over a rate limit
//	500 NC   the rule's reference leads nowhere; a share may name another status
//	500 NR   a part of the listener that keeps people out cannot work
//	502 UPE  the backend's response is not valid
//	503 NC   the backend's waypoint serves nothing at its address
//	503 RL   nobody could count the request for a rate limit that is FailClosed
//	503 UH   the cluster has no endpoint, or no waypoint in front of them; with DF
//	         as its names have no address
//	503 DF   the request's host has no address that it may be sent to
//	503 UF   no connection could be had
//	503 UO   a limit of the cluster is reached; with URX its retry budget
//	503 UC   the backend closed the connection before it answered
//	503 UR   the backend reset the request, or refused it
//	503 OM   over MaxExchanges
//	504 UT   the rule's timeout for the request, or for the last try, passed
//	504 SI   the backend sent nothing for StreamIdle
//
// and 200 to a preflight, 30x, or what status a rule names, with its own text,
// its own header changes and no flag. A fault answers what it says, with FI.
// Malformed requests are answered by their codecs, and recorded with 400, 408 or
// 413 and DPE. A client that left is recorded with DC, one that has reset its
// stream with DR, and status 0 unless it had one.
//
// # Timeouts
//
// Timeouts.Request bounds the exchange with all its tries, from the request's
// head, or from its match where keys for its token had to be waited for, to the
// response's end. Timeouts.Backend bounds one try, from the moment
// its head is sent to the response's end; connecting has the cluster's own
// bound. There is no default for either, as in Istio: streams may last. But an
// exchange on which nothing moves ends after StreamIdle, 5 minutes, and a
// tunnel after TunnelIdle, 1 hour. The other two do not bound tunnels.
//
// A gRPC client's grpc-timeout stands for Timeouts.Request where it is the
// shorter one. It goes on to the backend as it came, and a backend that misses
// it is none the less healthy: the client chose it.
//
// # Retries
//
// A rule without a Retry has two, as in Istio: where there is no connection,
// where the backend says that it has not begun (REFUSED_STREAM, a GOAWAY
// below the stream), where a kept connection turns out to be closed and the
// method is idempotent, and where a gRPC response is Trailers-Only with
// UNAVAILABLE or CANCELLED. Attempts 0 means none of these.
//
// A rule with a Retry has Attempts of them, for all that and for the statuses
// in Codes, whatever the method (HTTPRouteRetry knows none). Failures that
// bring no response are tried again too: for idempotent methods, and for all
// where Codes has the status that would be answered. A request with an
// Idempotency-Key counts as idempotent.
//
// A rule with conditions (Retry.On) has Attempts for these and for Codes, and
// for no failure besides, but for a kept connection that turns out to be closed
// under an idempotent request. They are Envoy's, whatever the method:
//
//	5xx                     statuses 500-599, and failures without a response
//	gateway-error           502, 503, 504, and failures without a response
//	reset                   failures without a response
//	reset-before-request    there is no connection
//	connect-failure         there is no connection
//	refused-stream          the backend says that it has not begun
//	retriable-4xx           409
//	retriable-status-codes  nothing but Codes
//	cancelled, deadline-exceeded, internal, resource-exhausted, unavailable
//	                        that grpc-status, as Trailers-Only
//
// Failures without a response are no connection, a refusal, a reset, a closed
// connection, a response that is not valid and a try that timed out. A limit of
// the cluster (UO) and the timeout of the whole exchange are none. So a list of
// retriable-status-codes alone, without Codes, is no retries at all.
//
// Other endpoints come first: the last eight that were tried are avoided while
// there is another, also where consistent hashing would have them. The wait before a retry is Backoff, 25 ms
// without one, doubled each time up to ten times as long, and up to as much
// again by chance. Where nothing was begun the first retry is at once, unless
// the rule names a Backoff. A request is not retried once more than 64 KiB of
// its body were sent, or its response has begun to pass. Of the requests of one
// share on one loop a fifth may be retrying, but three always (else URX); those
// that had no connection do not count. The last response is what the client gets,
// with URX in its record.
//
// A cluster with a RetryBudget has that in place of the fifth: it holds over
// all routes and loops, and a retry that it does not let through is answered
// with 503, whatever the last response was. One with Limits.Retries has as many
// exchanges that are retrying, until their responses begin; the others get their
// last response, with UO. Either way the retry counts as limit "retries" in
// fairway_limits_total.
//
// # Faults
//
// A rule's fault is for requests that may pass, as in Istio, and before all else
// that the rule does: a redirect, a status and a preflight suffer it too. Delay
// (DI) and abort (FI) are drawn independently, the delay comes first. Meanwhile
// the client is held back as while a connection is waited for; it may leave. A
// request of which either was drawn has no timeouts of the rule and no retries,
// but for a gRPC client's own deadline. An abort with a status of gRPC is
// Trailers-Only to gRPC requests; to others it is the status of HTTP that
// google.rpc.Code has for it, where Envoy has 200.
//
// # Paths
//
// A rewrite by expression looks at the path without its query, and replaces what
// it finds each time; the result begins with '/' in any case and has 64 KiB at
// most.
//
// # Rate limits
//
// A request that the listener's policies let pass and that a rule takes is counted
// by the rate limits of both (Listener.Policies, Action.Policies; package
// ratelimit), before anybody is asked whom the rule asks. A policy that is on both
// counts it once. What no rule takes is not counted, and neither are preflights of
// CORS that are answered here and connections of which no requests are seen. A
// retry is not counted again, nor is a mirror.
//
// First come the limits that the pod counts by itself, then the stores of shared
// ones are asked, one after the other; what comes of the request's body meanwhile
// waits. A request that one of these refuses is given back to the pod's own. Where
// a store does not answer the request passes, and the log says so as an audit, or
// it is refused with 503, where the policy is FailClosed. A rule with a policy that
// is not there, or is no rate limit, refuses all.
//
// Responses say what is left of the limit of which the least is (x-ratelimit-limit,
// -remaining, -reset), unless the backend's say so by themselves. Those who are
// refused are told when to come back (Retry-After).
//
// # External authorization
//
// A rule with an ExternalAuth asks its server about each request before all
// else but a preflight: before a redirect too. In plain HTTP 200 means that it
// may pass, and the fields of the answer are the backend's to see, but for
// those about the answer itself (Content-*, Date, Server, Vary, ETag, Via); any
// other answer is the client's, with UAEX. In gRPC it is Envoy's ext_authz: see
// package policy. Metadata of the answer are for nobody.
//
// The server has 5 seconds, unless the rule says otherwise, and 64 KiB for its answer. Without one the request
// does not pass. A connection that was not had, or was closed while kept, is
// tried again twice. What comes of the request's body meanwhile waits, so that
// its client is held back. A server that is told the body is asked when that
// is whole. A retry is not asked about again.
//
// # Sessions
//
// A session's token names an endpoint and its cluster. It is sealed under a
// key made of the route's name, the rule's index, the session's name and
// SessionKey, so every gateway reads it, also after a restart, and it is worth
// nothing elsewhere. It has precedence over weights, even a weight of 0. Where
// its endpoint is gone the session moves, and the client is told.
//
// # Hash cookies
//
// A client without the cookie that its cluster hashes is given one with the
// first response of an endpoint: of the one that its next requests will find.
//
// # Mirrors
//
// A mirror gets the request that the backend gets, under the same host, and
// its answer is dropped. One that falls 256 KiB behind or fails ends without
// being noticed. Upgrades are not mirrored.
package proxy
