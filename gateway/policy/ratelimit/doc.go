// Package ratelimit bounds how often something is asked for
// ([routing.RateLimit]).
//
// # What a rule counts
//
// Requests that one of its matches takes, by what tells clients apart (By). A
// request that lacks one of those is not counted: a limit by a token's claim is
// none for who has no token. Addresses are those of clients, as far as
// X-Forwarded-For is believed, of IPv6 the first 64 bits, as one client has all
// that begin with them. Each rule of each policy counts by itself; a request that
// is over one of them is refused with 429. All gateways' listeners that name a
// policy count together in a pod; an edited policy begins anew.
//
// # Local limits
//
// Each pod counts for itself, so that n pods let n times as much pass. In a pod
// the limit is exact, however many loops there are: a rule is a bucket of
// Requests+Burst for each client, out of which each request takes one, and that
// fills by Requests in each Per, evenly. So in any time t at most
//
//	Requests + Burst + Requests*t/Per
//
// pass. Of each rule 64 Ki clients are known, 1 Ki in each of 64 parts. One too
// many has that one forgotten that has not come for the longest time, and whose
// bucket is full again then: who has more addresses than that is not held. That
// is 5 MiB of memory at most. A client's bucket is behind the lock of its part,
// held for some tens of nanoseconds; a rule without By is one number, without a
// lock. A request that is refused takes nothing from any bucket.
//
// # Shared limits
//
// All pods count together, in a store that each request that is counted waits
// for, up to Timeout. Where there is no answer by then, or one that is none, the
// request passes, or is refused with 503 where the policy is FailClosed. The
// store has all who ask counted, refused ones too, and Burst has no meaning.
//
// A store that speaks Redis's protocol (version 2; INCR and PEXPIRE of any
// version) counts in fixed windows, those of time.Time.Truncate by the pods' own
// clocks: Requests pass in each window of Per, and so up to twice as many in a Per
// that lies across two of them. The count's key has the policy, the rule, the
// window's begin and a hash of what tells the client apart, and goes a second
// after the window. Each loop has one connection, on which up to 1,024 questions
// are pipelined; one that is silent for a second is closed, and a store that
// cannot be had is left alone for a second. Counts are in one endpoint: a cluster
// with several counts in each by itself. There is no AUTH: the store is to be
// reached by gateways alone.
//
// A rate limit service is asked as Envoy does (envoy.service.ratelimit.v3), with a
// descriptor for each rule that counts the request: ("rule", its name), then what
// tells the client apart, ("header:X-User", "me"). What it says of fields of
// requests and responses is not done. The question travels as proxy has it: here
// are its bytes and those of the answer.
//
// What a policy says that cannot be had is counted by nobody: all pass, or none
// with FailClosed. So do connections that are not HTTP, where a door detects what
// its clients speak.
package ratelimit
