package proxy

import (
	"errors"
	"testing"
	"time"

	"fairway.dev/gateway/telemetry"
	"fairway.dev/routing"
)

// newBudgetStage has a retry budget on cluster "a" that lets as many retries
// in a minute through.
func newBudgetStage(t *testing.T, retries int, r *routing.Retry) *stage {
	s := newStage(t, retrying(r))
	c := *s.set.Cluster("a").Spec()
	c.Retries = &routing.RetryBudget{Interval: time.Minute, Least: retries, LeastInterval: time.Minute}
	s.set.Put(&c)
	return s
}

// BackendTrafficPolicySpec.retryConstraint: "After the retry budget has been
// exceeded, additional retries to the backend MUST return a 503 response".
func TestSpentRetryBudgetAnswers503(t *testing.T) {
	s := newBudgetStage(t, 1, &routing.Retry{Attempts: 3, Codes: []int{500}})
	c := s.get("/")
	s.call(0).reply(500, "first")
	s.pass(time.Second)
	s.call(1).reply(500, "second")
	s.pass(time.Second)
	if len(s.calls) != 2 || c.resp.Status != 503 || c.body != "too many retries to the backend\n" {
		t.Errorf("after %d tries the client got %d %q, want 503 after 2", len(s.calls), c.resp.Status, c.body)
	}
	if n := s.metrics.Limits.Total(telemetry.LimitRetries); n != 1 {
		t.Errorf("limit counted %d times, want once", n)
	}
	s.want(c, 503, "UO,URX")
}

// Who wants no retry, or has had all of its own, gets what the backend said.
func TestRetryBudgetLeavesLastResponsesAlone(t *testing.T) {
	for _, r := range []*routing.Retry{nil, {Attempts: 0, Codes: []int{500}}, {Attempts: 1, Codes: []int{503}}} {
		s := newBudgetStage(t, 0, r)
		c := s.get("/")
		s.only().reply(500, "mine")
		if c.body != "mine" {
			t.Errorf("with %+v the client got %q, want the backend's response", r, c.body)
		}
		s.want(c, 500, "")
	}
	s := newBudgetStage(t, 1, &routing.Retry{Attempts: 1, Codes: []int{500}})
	c := s.get("/")
	s.call(0).reply(500, "")
	s.pass(time.Second)
	s.call(1).reply(500, "last")
	if c.body != "last" {
		t.Errorf("after its one retry the client got %q, want the backend's last response", c.body)
	}
	s.want(c, 500, "URX")
}

// The budget is the cluster's, whatever is tried again and for whatever cause.
func TestRetryBudgetHoldsForFailures(t *testing.T) {
	s := newBudgetStage(t, 1, nil)
	for _, port := range []uint16{1, 2, 3} {
		s.down[port] = errors.New("refused")
	}
	s.get("/")
	s.pass(time.Second)
	r := s.record()
	if r.Status != 503 || r.Attempts != 2 || r.Flags != "UO,URX" {
		t.Errorf("record %+v, want 503 after 2 attempts, UO,URX", r)
	}
}

// A response that is dropped for the answer is read to its end, so that its
// connection can be used again.
func TestSpentRetryBudgetKeepsTheConnection(t *testing.T) {
	s := newBudgetStage(t, 0, &routing.Retry{Attempts: 1, Codes: []int{500}})
	c := s.get("/")
	b := s.only()
	b.head(500, false)
	b.data("sorry")
	b.end()
	if b.aborted != nil || b.consumed != 5 {
		t.Errorf("the response was aborted with %v, %d consumed, want nil, 5", b.aborted, b.consumed)
	}
	s.want(c, 503, "UO,URX")
}

// ConnectionPoolSettings.HTTPSettings.maxRetries: retries under way in the
// cluster. As in Envoy what it keeps from being tried again is UO, not URX.
func TestLimitOfRetriesUnderWay(t *testing.T) {
	s := newStage(t, retrying(&routing.Retry{Attempts: 2, Codes: []int{500}}))
	c := *s.set.Cluster("a").Spec()
	c.Limits.Retries = 1
	s.set.Put(&c)
	first, second := s.get("/"), s.get("/")
	s.call(0).reply(500, "first")
	s.call(1).reply(500, "second") // while the first one's retry waits
	if second.body != "second" {
		t.Errorf("over the limit the client got %q, want what the backend said", second.body)
	}
	s.pass(time.Second)
	s.call(2).reply(500, "")
	s.pass(time.Second)
	s.call(3).head(200, false) // its response begins: the retry is over
	third := s.get("/")
	s.call(4).reply(500, "")
	s.pass(time.Second)
	s.call(5).reply(200, "third")
	s.call(3).end()
	if first.resp.Status != 200 || third.body != "third" {
		t.Errorf("the first got %d, the third %q, want both tried again", first.resp.Status, third.body)
	}
	for i, want := range []string{"UO", "", ""} {
		if r := s.records()[i]; r.Flags != want {
			t.Errorf("record %d has flags %q, want %q", i, r.Flags, want)
		}
	}
}
