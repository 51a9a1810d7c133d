package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

// floods are what a client may not go on with, and the reason under which
// fairway_http2_refused_total counts it.
var floods = []struct {
	name   string
	flood  func(c *wire2, i int) // the i-th time
	reason string
}{
	{"rapid reset (CVE-2023-44487)", func(c *wire2, i int) {
		c.ask(uint32(2*i+1), "/")
		c.WriteRSTStream(uint32(2*i+1), http2.ErrCodeCancel)
	}, "reset_flood"},
	{"streams that we have to reset (CVE-2025-8671)", func(c *wire2, i int) {
		c.ask(uint32(2*i+1), "/")
		c.WriteWindowUpdate(uint32(2*i+1), 0)
	}, "stream_error_flood"},
	{"malformed requests", func(c *wire2, i int) {
		c.heads(uint32(2*i+1), true, ":method: GET")
	}, "stream_error_flood"},
	{"header lists over the limit (an HPACK bomb)", func(c *wire2, i int) {
		if i == 0 { // 4,000 bytes in the table, then 1,000 times by one byte each
			bomb := c.block("x: " + strings.Repeat("a", 3900))
			c.headers(1, true, append(bomb, bytes.Repeat([]byte{0x80 | 62}, 10_000)...))
			return
		}
		c.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), EndHeaders: true, EndStream: true,
			BlockFragment: bytes.Repeat([]byte{0x80 | 62}, 10_000)})
	}, "stream_error_flood"},
	{"CONTINUATION without end (CVE-2024-27316)", func(c *wire2, i int) {
		if i == 0 {
			c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.block(ordinary()...)})
			return
		}
		c.WriteContinuation(1, false, c.block(fmt.Sprintf("x-%d: a", i)))
	}, "continuation_flood"},
	{"empty CONTINUATION", func(c *wire2, i int) {
		if i == 0 {
			c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.block(ordinary()...)})
			return
		}
		c.WriteContinuation(1, false, nil)
	}, "continuation_flood"},
	{"SETTINGS (CVE-2019-9515)", func(c *wire2, i int) {
		c.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(i)})
	}, "control_flood"},
	{"PING (CVE-2019-9512)", func(c *wire2, i int) {
		c.WritePing(false, [8]byte{byte(i)})
	}, "control_flood"},
	{"unknown frames", func(c *wire2, i int) {
		c.WriteRawFrame(0xbe, 0, 0, []byte("beef"))
	}, "control_flood"},
	{"PRIORITY (CVE-2019-9513)", func(c *wire2, i int) {
		c.WritePriority(3, http2.PriorityParam{StreamDep: uint32(5 + 2*(i%100))})
	}, "priority_flood"},
	{"WINDOW_UPDATE", func(c *wire2, i int) {
		c.WriteWindowUpdate(0, 1)
	}, "window_update_flood"},
	{"empty DATA (CVE-2019-9518)", func(c *wire2, i int) {
		if i == 0 {
			c.heads(1, false, ordinary()...)
			return
		}
		c.WriteData(1, false, nil)
	}, "empty_frame_flood"},
	{"padding alone in DATA", func(c *wire2, i int) {
		if i == 0 {
			c.heads(1, false, ordinary()...)
			return
		}
		c.WriteDataPadded(1, false, nil, make([]byte, 10))
	}, "empty_frame_flood"},
	{"HEADERS on a stream that was reset", func(c *wire2, i int) {
		if i == 0 {
			c.heads(1, false, ":method: GET")
			return
		}
		c.heads(1, true, ordinary()...)
	}, "stream_error_flood"},
}

// TestFloodsEndTheConnection holds that who floods is told to calm down and
// is disconnected, that it is counted, and that all others are served.
func TestFloodsEndTheConnection(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil, toBackend(t, "", patient(named("a"))))
	before := r.sockets()
	other := r.client()
	for _, tt := range floods {
		counted := r.counts("fairway_http2_refused_total")[tt.reason]
		c := r.dial2()
		c.out.Flush()
		ended := make(chan string, 1)
		go func() { ended <- c.await(0) }()
		got := ""
		for i := 0; i < 20_000 && got == ""; i++ {
			tt.flood(c, i)
			if err := c.out.Flush(); err != nil {
				got = <-ended
			}
			select {
			case got = <-ended:
			default:
			}
		}
		if got == "" {
			t.Errorf("%s: 20,000 times and still connected", tt.name)
			c.conn.Close()
			<-ended
		} else if got != "goaway ENHANCE_YOUR_CALM" {
			t.Errorf("%s: %s, want GOAWAY ENHANCE_YOUR_CALM", tt.name, got)
		}
		c.conn.Close()
		if now := r.counts("fairway_http2_refused_total")[tt.reason]; now != counted+1 {
			t.Errorf("%s: counted %d times as %s, want once", tt.name, now-counted, tt.reason)
		}
		if a, err := r.get(other, r.shop("https", "/")); err != nil || a.StatusCode != 200 {
			t.Errorf("%s: another client got %v, %v; want 200", tt.name, a.Response, err)
		}
	}
	other.CloseIdleConnections()
	r.settles(before)
}

// TestStreamsOverTheLimit holds that a client which opens more streams than
// SETTINGS_MAX_CONCURRENT_STREAMS has those refused, and the others answered.
func TestStreamsOverTheLimit(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	b := toBackend(t, "", blocked(release))
	r := startRig(t, nil, b)
	const streams, most = 150, 128
	c := r.dial2()
	for i := range streams {
		c.ask(uint32(2*i+1), "/")
	}
	for i := most; i < streams; i++ {
		if got := c.outcome(uint32(2*i + 1)); got != "reset REFUSED_STREAM" {
			t.Errorf("stream %d: %s, want REFUSED_STREAM", 2*i+1, got)
		}
	}
	if n := r.counts("fairway_http2_refused_total")["concurrent_streams"]; n != streams-most {
		t.Errorf("%d streams counted as too many, want %d", n, streams-most)
	}
	close(release)
	if got := c.outcome(1); got != "200" {
		t.Errorf("stream 1: %s, want 200", got)
	}
}

// TestWindowsThatStayShut holds that a client which asks for much and opens
// no window costs little memory (CVE-2019-9511, CVE-2019-9517), and that
// others are served meanwhile.
func TestWindowsThatStayShut(t *testing.T) {
	t.Parallel()
	const conns, streams, size = 5, 20, 100 << 20
	started := make(chan struct{}, conns*streams)
	r := startRig(t, nil, toBackend(t, "", stream(size, started)))
	other := r.client()
	// The heap: of the resident memory, the race detector has its own share.
	before, memory := r.sockets(), r.gauge("go_memstats_heap_alloc_bytes")
	var shut []*wire2
	for range conns {
		c := r.dial2(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		shut = append(shut, c)
		for i := range streams {
			c.ask(uint32(2*i+1), "/")
		}
		c.out.Flush()
	}
	for range conns * streams {
		<-started
	}
	a, err := other.Get(r.shop("https", "/"))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, a.Body); n != size || err != nil {
		t.Errorf("another client got %d bytes, %v; want %d", n, err, size)
	}
	a.Body.Close()
	if grown := r.gauge("go_memstats_heap_alloc_bytes") - memory; grown > 96<<20 {
		t.Errorf("%d streams that take nothing cost %.0f MiB, want at most 96", conns*streams, grown/(1<<20))
	}
	for _, c := range shut {
		c.conn.Close()
	}
	other.CloseIdleConnections()
	r.settles(before)
}

// patient answers as h does, but only when it has the whole request: the
// stream of one that does not end stays open.
func patient(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err == nil {
			h(w, r)
		}
	}
}

// blocked answers once release is closed.
func blocked(release chan struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { <-release }
}

// stream answers with size bytes, and tells when it begins.
func stream(size int, started chan struct{}) http.HandlerFunc {
	chunk := make([]byte, 64<<10)
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(size))
		select {
		case started <- struct{}{}:
		default: // more than are waited for
		}
		for sent := 0; sent < size; sent += len(chunk) {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
}
