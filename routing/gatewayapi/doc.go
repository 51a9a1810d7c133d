// Package gatewayapi is the dialect of Gateway API: its objects, and the core
// objects that they name, become parts of a [routing.Spec] and Reports.
package gatewayapi
