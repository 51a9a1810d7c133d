package proxy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// HTTPRetry.retryOn: Envoy's x-envoy-retry-on and x-envoy-retry-grpc-on.
func TestRetryConditions(t *testing.T) {
	const noConnection = "no connection"
	fail := func(why message.Reason) func(*stage) {
		return func(s *stage) { s.only().abort(&message.Error{Reason: why}) }
	}
	status := func(code int) func(*stage) { return func(s *stage) { s.only().reply(code, "") } }
	grpc := func(code string) func(*stage) {
		return func(s *stage) { s.only().head(200, true, "grpc-status: "+code) }
	}
	slow := func(s *stage) { s.pass(time.Second) }
	events := []struct {
		name string
		do   func(*stage)
		on   string // the conditions that it meets
	}{
		{noConnection, func(s *stage) { s.down[1], s.down[2], s.down[3] = errRefused, errRefused, errRefused }, "5xx gateway-error reset reset-before-request connect-failure"},
		{"refused", fail(message.Refused), "5xx gateway-error reset refused-stream"},
		{"reset", fail(message.Reset), "5xx gateway-error reset"},
		{"closed", fail(message.Gone), "5xx gateway-error reset"},
		{"malformed", fail(message.Malformed), "5xx gateway-error reset"},
		{"timed out", slow, "5xx gateway-error reset"},
		{"500", status(500), "5xx"},
		{"503", status(503), "5xx gateway-error"},
		{"504", status(504), "5xx gateway-error"},
		{"505", status(505), "5xx"},
		{"409", status(409), "retriable-4xx"},
		{"404", status(404), ""},
		{"425", status(425), "retriable-status-codes"},
		{"CANCELLED", grpc("1"), "cancelled"},
		{"DEADLINE_EXCEEDED", grpc("4"), "deadline-exceeded"},
		{"RESOURCE_EXHAUSTED", grpc("8"), "resource-exhausted"},
		{"INTERNAL", grpc("13"), "internal"},
		{"UNAVAILABLE", grpc("14"), "unavailable"},
		{"NOT_FOUND", grpc("5"), ""},
		{"no status of gRPC", grpc("99"), ""},
	}
	for on := range conditions {
		for _, ev := range events {
			retry := &routing.Retry{Attempts: 1, On: []routing.RetryOn{on}}
			if on == routing.RetryOnCodes {
				retry.Codes = []int{425}
			}
			a := retrying(retry)
			a.Timeouts.Backend = time.Second
			s := newStage(t, a)
			if ev.name == noConnection {
				ev.do(s)
			}
			s.request("POST", "/", "Content-Type: application/grpc").send()
			if ev.name != noConnection {
				ev.do(s)
			}
			s.pass(400 * time.Millisecond)
			for _, b := range s.calls {
				if !b.over {
					b.reply(200, "")
				}
			}
			tries := s.record().Attempts
			want := 1
			if slices.Contains(strings.Fields(ev.on), string(on)) {
				want = 2
			}
			if tries != want {
				t.Errorf("retry on %s, %s: %d tries, want %d", on, ev.name, tries, want)
			}
		}
	}
}

// What is not named is not tried again, but for what is no failure of the
// backend's at all.
func TestConditionsTakeThePlaceOfTheDefault(t *testing.T) {
	codesAlone := &routing.Retry{Attempts: 2, On: []routing.RetryOn{routing.RetryOnCodes}}
	s := newStage(t, retrying(codesAlone))
	s.down[1], s.down[2], s.down[3] = errRefused, errRefused, errRefused
	s.want(s.get("/"), 503, "UF")

	s = newStage(t, retrying(codesAlone))
	c := s.get("/")
	s.only().abort(&message.Error{Reason: message.Gone, Unused: true})
	s.pass(time.Second)
	s.call(1).reply(200, "")
	s.want(c, 200, "")
}
