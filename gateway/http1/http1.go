// Package http1 turns bytes into HTTP/1 messages and back, on both sides: a
// [Server] speaks with a client, a [Client] with a backend.
//
// Both are push parsers: the connection's loop hands them bytes, they hand
// messages on, and what is not used at once is kept only while a line or a
// pipelined request waits to be whole. Whatever the bytes arrive in, one by
// one or all at once, the outcome is the same.
//
// The one law: what could be read in two ways is refused (RFC 9112 sections
// 2.2, 3.2, 5, 6 and 11; [Refusal] has the list), from backends as from
// clients, and is never written.
//
// The package knows nothing of routes or policy. Deadlines of an exchange are
// its user's; those that guard the connection are in [Limits].
package http1
