package proxy

import (
	"errors"
	"strings"
	"testing"
	"time"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/protobuf/proto"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// newServiceStage serves cluster "a" under a limit of one request a minute, and
// one that cluster "b" counts.
func newServiceStage(t *testing.T, closed bool) *stage {
	p := limit("p", 5, "header:X-User")
	p.RateLimit.FailClosed = closed
	p.RateLimit.Shared = &routing.SharedLimit{Cluster: "b", Domain: "shop"}
	s := newStage(t, to("a"))
	s.limit([]routing.PolicyName{"p", "local"}, to("a"), p, limit("local", 1))
	return s
}

func answerOf(t *testing.T, code rlsv3.RateLimitResponse_Code) string {
	return frame(t, &rlsv3.RateLimitResponse{OverallCode: code, Statuses: []*rlsv3.RateLimitResponse_DescriptorStatus{{
		Code: code, CurrentLimit: &rlsv3.RateLimitResponse_RateLimit{RequestsPerUnit: 5},
	}}})
}

// SharedRateLimit.service: envoy.service.ratelimit.v3, while the body waits.
func TestLimitServiceIsAsked(t *testing.T) {
	s := newServiceStage(t, true)
	c := s.request("POST", "/", "X-User: me").open()
	c.upload("first,")
	q := s.only()
	if q.port != 11 || q.req.Method != "POST" || q.req.Path != "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit" || q.req.Authority != "b.ns" ||
		q.header("content-type") != "application/grpc" || q.header("grpc-timeout") != "20m" || c.consumed > 0 {
		t.Errorf("asked %+v on port %d, %d bytes consumed", q.req, q.port, c.consumed)
	}
	var asked rlsv3.RateLimitRequest
	if err := proto.Unmarshal([]byte(q.body[5:]), &asked); err != nil {
		t.Fatal(err)
	}
	if d := asked.Descriptors; asked.Domain != "shop" || len(d) != 1 || d[0].Entries[0].Value != "each" || d[0].Entries[1].Value != "me" {
		t.Errorf("asked about %v", &asked)
	}
	q.head(200, false)
	q.data(answerOf(t, rlsv3.RateLimitResponse_OK))
	q.end("grpc-status: 0")
	s.loop.Settle()
	c.upload("last")
	c.finish()
	b := s.call(1)
	if b.body != "first,last" || !b.ended {
		t.Errorf("the backend got %q, ended %t", b.body, b.ended)
	}
	b.reply(200, "")
	if c.field("x-ratelimit-limit") != "1, 1;w=60" || c.field("x-ratelimit-remaining") != "0" {
		t.Errorf("the client got %v, want the limit of which less is left", c.resp.Fields)
	}
	s.want(c, 200, "")
}

// What the service refuses, or may not be asked, where the policy is closed, and
// passes where it is not. Who is refused is given back to limits that had let him
// pass.
func TestLimitServiceRefuses(t *testing.T) {
	over := func(s *stage, q *call) {
		q.head(200, false)
		q.data(answerOf(s.t.(*testing.T), rlsv3.RateLimitResponse_OVER_LIMIT))
		q.end("grpc-status: 0")
	}
	for _, tt := range []struct {
		name         string
		before       func(s *stage)
		answer       func(s *stage, q *call)
		open, closed int
	}{
		{"over the limit", nil, over, 429, 429},
		{"a status of gRPC", nil, func(s *stage, q *call) { q.head(200, true, "grpc-status: 14") }, 200, 503},
		{"nonsense", nil, func(s *stage, q *call) { q.head(200, false); q.data("nonsense"); q.end("grpc-status: 0") }, 200, 503},
		{"a message that is none", nil, func(s *stage, q *call) {
			q.head(200, false)
			q.data("\x00\x00\x00\x00\x01\xff")
			q.end("grpc-status: 0")
		}, 200, 503},
		{"no answer", nil, func(s *stage, q *call) { s.pass(20 * time.Millisecond) }, 200, 503},
		{"a reset", nil, func(s *stage, q *call) { q.abort(&message.Error{Reason: message.Reset}) }, 200, 503},
		{"nobody there", func(s *stage) { s.down[11] = errors.New("refused") }, nil, 200, 503},
	} {
		for _, closed := range []bool{false, true} {
			want := tt.open
			if closed {
				want = tt.closed
			}
			s := newServiceStage(t, closed)
			if tt.before != nil {
				tt.before(s)
			}
			c := s.get("/", "X-User: me")
			n := 0
			if tt.answer != nil {
				tt.answer(s, s.only())
				s.loop.Settle()
				n = 1
			}
			if want == 200 {
				s.call(n).reply(200, "")
			} else if len(s.calls) != n {
				t.Errorf("%s: the backend was called", tt.name)
			}
			if c.resp.Status != want {
				t.Errorf("%s, closed %t: status %d, want %d", tt.name, closed, c.resp.Status, want)
			}
			// Without the field the service is not asked, and the local limit decides.
			then := 200
			if want == 200 {
				then = 429
			}
			s.wantStatuses(tt.name+", and then", []int{then}, "")
			flags := s.records()[0].Flags
			if (flags == "RL") != (want != 200) || want == 200 && tt.open == 200 && !strings.Contains(s.lines.String(), `"audit":"p has not counted it"`) {
				t.Errorf("%s, closed %t: the log has %s", tt.name, closed, s.lines.String())
			}
		}
	}
}

// A cluster that is not there is a service that does not answer.
func TestLimitServiceThatIsNotThere(t *testing.T) {
	for _, closed := range []bool{false, true} {
		p := limit("p", 5)
		p.RateLimit.FailClosed = closed
		p.RateLimit.Shared = &routing.SharedLimit{Cluster: "gone", Domain: "shop"}
		s := newStage(t, to("a"))
		s.limit(nil, limiting("p"), p)
		want := 200
		if closed {
			want = 503
		}
		s.wantStatuses("without a cluster", []int{want}, "")
	}
}

// A client that leaves ends the call to the service.
func TestClientsLeaveTheLimitService(t *testing.T) {
	s := newServiceStage(t, true)
	c := s.get("/", "X-User: me")
	c.leave(message.Gone)
	if q := s.only(); q.aborted == nil {
		t.Error("the call goes on")
	}
	s.pass(time.Second)
	if r := s.record(); r.Flags != "DC" || len(s.calls) != 1 {
		t.Errorf("flags %q after %d calls, want DC after one", r.Flags, len(s.calls))
	}
}
