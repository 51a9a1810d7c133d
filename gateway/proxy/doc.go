// Package proxy is one exchange: the life of a request.
package proxy
