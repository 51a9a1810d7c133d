package proxy

import (
	"regexp"
	"testing"
	"time"

	"fairway.dev/routing"
)

// gRPC over HTTP2, Requests: Timeout is "grpc-timeout", a positive integer of
// at most 8 digits, and a unit.
func TestGRPCTimeouts(t *testing.T) {
	tests := []struct {
		value string
		want  time.Duration
		ok    bool
	}{
		{"1H", time.Hour, true},
		{"2M", 2 * time.Minute, true},
		{"30S", 30 * time.Second, true},
		{"250m", 250 * time.Millisecond, true},
		{"99999999u", 99999999 * time.Microsecond, true},
		{"1n", 1, true},
		{"0n", 0, true}, // in vain, but clear
		{"00000001S", time.Second, true},
		{"999999999n", 0, false}, // nine digits
		{"99999999H", 0, false},  // more than a Duration holds
		{"1", 0, false},
		{"S", 0, false},
		{"", 0, false},
		{"1s", 0, false},
		{"-1S", 0, false},
		{"+1S", 0, false},
		{"1.5S", 0, false},
		{" 1S", 0, false},
		{"1 S", 0, false},
	}
	for _, tt := range tests {
		if got, ok := grpcTimeout(tt.value); got != tt.want || ok != tt.ok {
			t.Errorf("grpcTimeout(%q) = %v, %v, want %v, %v", tt.value, got, ok, tt.want, tt.ok)
		}
	}
}

// What is read is what the grammar has, but for what is too long to be meant.
func FuzzGRPCTimeout(f *testing.F) {
	for _, value := range []string{"1S", "99999999H", "2562047H", "2562048H", "0n", "m", "1", "12345678u"} {
		f.Add(value)
	}
	grammar := regexp.MustCompile(`^[0-9]{1,8}[HMSmun]$`)
	f.Fuzz(func(t *testing.T, value string) {
		d, ok := grpcTimeout(value)
		if d < 0 || !ok && d != 0 {
			t.Errorf("%q: %v, %v", value, d, ok)
		}
		if want := grammar.MatchString(value); ok && !want || want && !ok && value[len(value)-1] != 'H' {
			t.Errorf("%q is read: %v, the grammar has it: %v", value, ok, want)
		}
	})
}

func TestGRPCClientsHaveDeadlines(t *testing.T) {
	tests := []struct {
		name    string
		route   time.Duration
		fields  []string
		after   time.Duration // it ends
		timeout bool
	}{
		{"the client's alone", 0, []string{"grpc-timeout: 300m"}, 300 * time.Millisecond, true},
		{"the client's is the shorter", time.Second, []string{"grpc-timeout: 300m"}, 300 * time.Millisecond, true},
		{"the route's is the shorter", 200 * time.Millisecond, []string{"grpc-timeout: 1S"}, 200 * time.Millisecond, true},
		{"at once", 0, []string{"grpc-timeout: 0n"}, 1, true},
		{"nonsense is none", 0, []string{"grpc-timeout: soon"}, time.Minute, false},
		{"nonsense is none, the route's is one", time.Second, []string{"grpc-timeout: soon"}, time.Second, true},
	}
	for _, tt := range tests {
		a := to("a")
		a.Timeouts.Request = tt.route
		s := newStage(t, a)
		c := s.request("POST", "/pkg.Service/Do", append(tt.fields, "Content-Type: application/grpc")...).send()
		s.pass(tt.after - 1)
		if c.done() {
			t.Errorf("%s: over too soon", tt.name)
			continue
		}
		s.pass(1)
		if c.done() != tt.timeout {
			t.Errorf("%s: over %v, want %v", tt.name, c.done(), tt.timeout)
		}
		if !tt.timeout {
			s.only().reply(200, "")
			continue
		}
		if c.resp.Status != 200 || c.field("grpc-status") != "4" {
			t.Errorf("%s: status %d, grpc-status %s; want 200, 4 (DEADLINE_EXCEEDED)", tt.name, c.resp.Status, c.field("grpc-status"))
		}
	}
}

// Only gRPC has the field.
func TestOtherClientsHaveNoGRPCTimeout(t *testing.T) {
	s := newStage(t, to("a"))
	c := s.request("GET", "/", "grpc-timeout: 1m").send()
	s.pass(time.Minute)
	if c.done() {
		t.Error("over by a grpc-timeout")
	}
	s.only().reply(200, "")
}

// Law 10: health is the endpoint's own. A client that gives it no time puts
// none out.
func TestHurriedClientsEjectNobody(t *testing.T) {
	for _, field := range []string{"grpc-timeout: 1m", "X-None: 1"} {
		a := retrying(&routing.Retry{})
		a.Timeouts.Request = time.Second
		s := newStage(t, a)
		cluster := *s.set.Cluster("a").Spec()
		cluster.Ejection = routing.Ejection{Consecutive: 3}
		s.set.Put(&cluster)
		for range 12 {
			s.request("POST", "/pkg.Service/Do", "Content-Type: application/grpc", field).send()
			s.pass(time.Second)
		}
		n := 0
		for _, ep := range s.set.Stats()[0].Endpoints {
			n += ep.Ejections
		}
		if hurried := field[0] == 'g'; (n == 0) != hurried {
			t.Errorf("%s: %d ejections, want none: %v", field, n, hurried)
		}
	}
}
