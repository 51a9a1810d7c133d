package hop

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"fairway.dev/gateway/loop"
	"fairway.dev/gateway/message"
)

// bothWays runs a test with the dialler as a and the dialled as b, and the other
// way round: a tunnel has no better end.
func bothWays(t *testing.T, test func(t *testing.T, r *rig, a, b *end)) {
	for _, alpn := range []string{Native, "h2"} {
		t.Run(alpn+" from the dialler", func(t *testing.T) {
			r := newRig(t, alpn)
			near, far := r.tunnel(r.target())
			test(t, r, near, far)
		})
		t.Run(alpn+" from the dialled", func(t *testing.T) {
			r := newRig(t, alpn)
			near, far := r.tunnel(r.target())
			test(t, r, far, near)
		})
	}
}

func TestTunnelCarriesBytesBothWays(t *testing.T) {
	bothWays(t, func(t *testing.T, r *rig, a, b *end) {
		a.conn.Write([]byte("ping"))
		b.conn.Write([]byte("pong"))
		b.conn.Write(nil)
		a.conn.Flush()
		r.loop.Settle()
		a.want(t, "pong")
		b.want(t, "ping")
	})
}

// RFC 9113 section 8.5: END_STREAM is the end of one direction.
func TestEachDirectionEndsByItself(t *testing.T) {
	bothWays(t, func(t *testing.T, r *rig, a, b *end) {
		a.conn.Write([]byte("ask"))
		a.conn.CloseWrite()
		a.conn.Write([]byte("too late"))
		a.conn.CloseWrite()
		r.loop.Settle()
		b.want(t, "ask; eof")
		b.conn.Write([]byte("answer"))
		b.conn.CloseWrite()
		r.loop.Settle()
		a.want(t, "answer; eof")
		if a.conn.Queued() != 0 || r.client(0).Streams() != 0 {
			t.Errorf("%d bytes queued, %d streams open, want none", a.conn.Queued(), r.client(0).Streams())
		}
		a.conn.Finish()
		b.conn.Close()
		r.loop.Settle()
		a.want(t, "answer; eof; closed")
		b.want(t, "ask; eof")
	})
}

func TestFinish(t *testing.T) {
	bothWays(t, func(t *testing.T, r *rig, a, b *end) {
		a.conn.Write([]byte("bye"))
		a.conn.Finish()
		b.conn.Write([]byte("not heard"))
		r.loop.Settle()
		b.want(t, "bye; eof")
		a.want(t, "")
		b.conn.Finish()
		r.loop.Settle()
		a.want(t, "; closed")
		b.want(t, "bye; eof; closed")
		r.loop.Advance(time.Minute)
		a.want(t, "; closed")
	})
}

func TestFinishDoesNotWaitForEver(t *testing.T) {
	bothWays(t, func(t *testing.T, r *rig, a, b *end) {
		a.conn.Finish()
		r.loop.Settle()
		b.want(t, "; eof")
		r.loop.Advance(lingerFor)
		a.want(t, "; closed")
		b.want(t, "; eof; closed: stream reset") // who goes on sending hears that nobody takes it
	})
}

func TestFinishSendsWhatIsQueued(t *testing.T) {
	bothWays(t, func(t *testing.T, r *rig, a, b *end) {
		b.conn.Pause()
		sent := bytes.Repeat([]byte("0123456789abcdef"), 20<<10)
		a.conn.Write(sent)
		a.conn.Finish()
		r.loop.Advance(finishWithin / 2)
		b.want(t, "")
		b.conn.Resume()
		r.loop.Settle()
		if !bytes.Equal(b.got.Bytes(), sent) || strings.Join(b.events, " ") != "eof" {
			t.Errorf("got %d bytes and %v, want %d and the end", b.got.Len(), b.events, len(sent))
		}
	})
}

func TestFinishOfAnEndThatTakesNothing(t *testing.T) {
	bothWays(t, func(t *testing.T, r *rig, a, b *end) {
		b.conn.Pause()
		a.conn.Write(make([]byte, 1<<20))
		a.conn.Finish()
		r.loop.Advance(finishWithin + lingerFor)
		a.want(t, "; closed")
		b.conn.Resume()
		r.loop.Settle()
		if got := strings.Join(b.events, " "); got != "closed: stream reset" {
			t.Errorf("the far end heard %q, want that it is not whole", got)
		}
	})
}

func TestReset(t *testing.T) {
	bothWays(t, func(t *testing.T, r *rig, a, b *end) {
		a.conn.Reset()
		a.conn.Write([]byte("nobody"))
		a.conn.Reset()
		r.loop.Settle()
		a.want(t, "")
		b.want(t, "; closed: stream reset")
		b.conn.Write([]byte("nobody"))
		b.conn.Finish()
		b.conn.Close()
		r.loop.Advance(time.Minute)
		b.want(t, "; closed: stream reset")
		if n := r.client(0).Streams(); n != 0 {
			t.Errorf("%d streams are open, want none", n)
		}
	})
}

func TestAbort(t *testing.T) {
	bothWays(t, func(t *testing.T, r *rig, a, b *end) {
		a.conn.Write([]byte("so far"))
		a.conn.Abort()
		b.conn.Write([]byte("not heard"))
		r.loop.Settle()
		a.want(t, "; closed")
		b.want(t, "so far; closed: stream reset")
	})
}

func TestAbortSendsWhatIsQueued(t *testing.T) {
	bothWays(t, func(t *testing.T, r *rig, a, b *end) {
		b.conn.Pause()
		a.conn.Write(make([]byte, 200<<10))
		a.conn.Abort()
		r.loop.Advance(abortWithin / 2)
		b.conn.Resume()
		r.loop.Advance(abortPoll)
		if b.got.Len() != 200<<10 || strings.Join(b.events, " ") != "closed: stream reset" {
			t.Errorf("got %d bytes and %v, want all and a reset", b.got.Len(), b.events)
		}
		a.want(t, "; closed")
	})
}

// Like TCP: the end of the stream, and a reset for who sends on.
func TestClose(t *testing.T) {
	bothWays(t, func(t *testing.T, r *rig, a, b *end) {
		a.conn.Write([]byte("bye"))
		r.loop.Settle()
		a.conn.Close()
		r.loop.Settle()
		b.want(t, "bye; eof")
		b.conn.Write([]byte("?"))
		r.loop.Settle()
		b.want(t, "bye; eof; closed: stream reset")
		a.want(t, "")
	})
	bothWays(t, func(t *testing.T, r *rig, a, b *end) {
		a.conn.Close()
		r.loop.Settle()
		b.conn.CloseWrite()
		r.loop.Settle()
		b.want(t, "; eof")
		if n := r.client(0).Streams(); n != 0 {
			t.Errorf("%d streams are open, want none", n)
		}
	})
	bothWays(t, func(t *testing.T, r *rig, a, b *end) {
		a.conn.Close()
		r.loop.Advance(finishWithin)
		b.want(t, "; eof; closed: stream reset") // it has said nothing for so long
	})
}

func TestCloseWithBytesLeftIsAReset(t *testing.T) {
	bothWays(t, func(t *testing.T, r *rig, a, b *end) {
		b.conn.Pause()
		a.conn.Write([]byte("unread"))
		r.loop.Settle()
		b.conn.Close()
		r.loop.Settle()
		a.want(t, "; closed: stream reset")
		b.want(t, "")
	})
	bothWays(t, func(t *testing.T, r *rig, a, b *end) {
		b.conn.Pause()
		a.conn.Write(make([]byte, 1<<20))
		r.loop.Settle()
		a.conn.Close() // unsent
		b.conn.Resume()
		r.loop.Settle()
		if got := strings.Join(b.events, " "); got != "closed: stream reset" {
			t.Errorf("the far end heard %q, want a reset", got)
		}
	})
}

// A reader that does not take holds its source back, and costs no more than its
// window.
func TestPauseHoldsTheFarEndBack(t *testing.T) {
	bothWays(t, func(t *testing.T, r *rig, a, b *end) {
		b.conn.Pause()
		sent := 0
		for a.conn.Queued() <= message.HighWater {
			a.conn.Write(bytes.Repeat([]byte{byte(sent >> 12)}, 4<<10))
			sent += 4 << 10
			r.loop.Settle()
		}
		if c := b.conn.(*Conn); c.held.Len() > firstWindow || sent > firstWindow+message.HighWater+4<<10 {
			t.Errorf("%d bytes held and %d sent, want no more than a window of %d and a queue", c.held.Len(), sent, firstWindow)
		}
		a.conn.CloseWrite()
		r.loop.Settle()
		b.want(t, "")
		b.onData = func(p []byte) { b.conn.Pause() } // takes one piece at a time
		for steps := 0; len(b.events) == 0; steps++ {
			if steps > sent {
				t.Fatalf("%d of %d bytes came", b.got.Len(), sent)
			}
			b.conn.Resume()
			r.loop.Settle()
		}
		for i, x := range b.got.Bytes() {
			if x != byte(i>>12) {
				t.Fatalf("byte %d is %d, want %d", i, x, byte(i>>12))
			}
		}
		if b.got.Len() != sent || strings.Join(b.events, " ") != "eof" || strings.Join(a.events, " ") != "drained" {
			t.Errorf("%d of %d bytes came, the reader heard %v and the writer %v", b.got.Len(), sent, b.events, a.events)
		}
	})
}

// What came before a failure is handed on.
func TestFailureBehindWhatCame(t *testing.T) {
	bothWays(t, func(t *testing.T, r *rig, a, b *end) {
		b.conn.Pause()
		a.conn.Write([]byte("before"))
		r.loop.Settle()
		a.conn.Reset()
		r.loop.Settle()
		b.want(t, "")
		b.conn.Resume()
		b.want(t, "") // from a later event
		r.loop.Settle()
		b.want(t, "before; closed: stream reset")
	})
	bothWays(t, func(t *testing.T, r *rig, a, b *end) {
		b.conn.Pause()
		r.loop.Settle()
		a.conn.Reset()
		r.loop.Settle()
		b.want(t, "; closed: stream reset") // nothing came that it could miss
	})
}

// As loop.Handler has it: but who waits to send hears at once that it is in vain.
func TestFailureWhileSomethingIsQueued(t *testing.T) {
	bothWays(t, func(t *testing.T, r *rig, a, b *end) {
		a.conn.Pause()
		b.conn.Pause()
		for b.conn.Queued() == 0 {
			b.conn.Write(make([]byte, 32<<10))
			r.loop.Settle()
		}
		a.conn.Write([]byte("unread"))
		r.loop.Settle()
		a.conn.Reset()
		r.loop.Settle()
		b.want(t, "; closed: stream reset")
	})
	bothWays(t, func(t *testing.T, r *rig, a, b *end) {
		a.conn.Pause()
		for b.conn.Queued() == 0 {
			b.conn.Write(make([]byte, 32<<10))
			r.loop.Settle()
		}
		a.conn.Resume() // and what was queued is sent
		r.loop.Settle()
		b.conn.Pause()
		a.conn.Write([]byte("before"))
		r.loop.Settle()
		a.conn.Reset()
		r.loop.Settle()
		b.conn.Resume()
		r.loop.Settle()
		b.want(t, "before; closed: stream reset")
	})
}

func TestLostConnectionEndsItsTunnels(t *testing.T) {
	bothWays(t, func(t *testing.T, r *rig, a, b *end) {
		a2, b2 := r.tunnel(r.target())
		r.dials[0].near.Close()
		r.ends[0].Close()
		r.client(0).Close()
		r.servers[0].Close()
		r.loop.Settle()
		for _, e := range []*end{a, b, a2, b2} {
			if len(e.events) != 1 || !strings.HasPrefix(e.events[0], "closed: ") {
				t.Errorf("an end heard %v, want once that it is closed", e.events)
			}
			e.conn.Write([]byte("nobody"))
			e.conn.Finish()
		}
		r.loop.Advance(time.Minute)
	})
}

func TestTunnelWaitsForAccept(t *testing.T) {
	tests := []struct {
		name     string
		do       func(c *Conn)
		accepted bool
	}{
		{"Accept", func(c *Conn) { c.Accept(); c.Accept() }, true},
		{"Write", func(c *Conn) { c.Write([]byte("hello")) }, true}, // a server that speaks first
		{"CloseWrite", func(c *Conn) { c.CloseWrite() }, true},
		{"Finish", func(c *Conn) { c.Finish() }, true},
		{"Close", func(c *Conn) { c.Close() }, false},
		{"Reset", func(c *Conn) { c.Reset() }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, "h2")
			var conn *Conn
			far := &end{}
			r.host.take = func(c *Conn) { conn = c; far.conn = c; c.Handle(far) }
			d := r.begin(r.target())
			r.loop.Advance(time.Second)
			if d.calls != 0 {
				t.Fatal("the tunnel is open before it was accepted")
			}
			tt.do(conn)
			r.loop.Settle()
			if got := d.err == nil; d.calls != 1 || got != tt.accepted {
				t.Errorf("done was called %d times with error %v, want accepted %v", d.calls, d.err, tt.accepted)
			}
			if !tt.accepted && !strings.Contains(d.err.Error(), "503") {
				t.Errorf("the error is %q, want one of 503", d.err)
			}
			if n := r.client(0).Streams(); !tt.accepted && n != 0 {
				t.Errorf("%d streams are open, want none", n)
			}
		})
	}
}

// The far end gave up before it was answered.
func TestTunnelThatIsLostBeforeAccept(t *testing.T) {
	r := newRig(t, "h2")
	far := &end{}
	r.host.take = func(c *Conn) { far.conn = c; c.Handle(far) }
	d := r.begin(r.target())
	r.loop.Settle()
	d.cancel()
	r.loop.Settle()
	far.want(t, "; closed: stream reset")
	far.conn.(*Conn).Accept()
	far.conn.Write([]byte("nobody"))
	far.conn.Close()
	r.loop.Settle()
	far.want(t, "; closed: stream reset")
	if d.calls != 0 {
		t.Error("done was called after cancel")
	}
}

func TestWhatComesWaitsForAHandler(t *testing.T) {
	r := newRig(t, "h2")
	var conn *Conn
	r.host.take = func(c *Conn) { conn = c; c.Accept() }
	d := r.begin(r.target())
	r.loop.Settle()
	d.conn.Write([]byte("early"))
	d.conn.CloseWrite()
	r.loop.Settle()
	far := &end{conn: conn}
	conn.Handle(far)
	far.want(t, "")
	r.loop.Settle()
	far.want(t, "early; eof")
}

func TestConnKnowsThePeer(t *testing.T) {
	r := newRig(t, "h2")
	near, far := r.tunnel(r.target())
	if got := near.tunnel().Peer(); got.Identity != shopID || got.Remote != shopAt {
		t.Errorf("the dialler's Peer is %v at %v", got.Identity, got.Remote)
	}
	if got := far.tunnel().Peer(); got.Identity != edgeID {
		t.Errorf("the dialled's Peer is %v", got.Identity)
	}
	if near.conn.Loop() != r.loop || far.conn.Loop() != r.loop {
		t.Error("a tunnel is on another loop than its connection")
	}
}

// A handler may give a tunnel up while it is told something.
func TestCallsFromHandlers(t *testing.T) {
	calls := map[string]func(loop.Conn){
		"Close": loop.Conn.Close, "Reset": loop.Conn.Reset, "Finish": loop.Conn.Finish, "Abort": loop.Conn.Abort,
		"Pause": loop.Conn.Pause, "CloseWrite": loop.Conn.CloseWrite, "Resume": loop.Conn.Resume,
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, r *rig, a, b *end) {
				b.onData = func([]byte) { call(b.conn) }
				b.onEvent = func(string) { call(b.conn) }
				for range 10 {
					a.conn.Write(make([]byte, 40<<10))
				}
				a.conn.CloseWrite()
				r.loop.Advance(time.Minute)
				b.onData, b.onEvent = nil, nil
				b.conn.Resume()
				r.loop.Advance(time.Minute)
				b.conn.Reset()
				a.conn.Reset()
				r.loop.Settle()
				if n := r.client(0).Streams(); n != 0 {
					t.Errorf("%d streams are open, want none", n)
				}
			})
		})
	}
}
