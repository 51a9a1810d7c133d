// Package dialect is what the APIs that people write routes in have in common:
// a [Sheet] that calculates parts of a [routing.Spec] from objects, and does
// again only what a change touches; and a [Report], the outcome for one object.
//
// The dialects share one Sheet, because each reads what the other has: a
// VirtualService is attached to a Gateway's listeners and sends to a Service's
// cluster, which a DestinationRule has shaped. package gatewayapi makes the
// Sheet, and others join it.
//
// The law, which tests of the dialects hold over random histories: any sequence
// of Updates comes to what a fresh Sheet makes of the same objects.
package dialect
