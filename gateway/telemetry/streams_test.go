package telemetry

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestStreamsCarryIstiosLabels(t *testing.T) {
	m := New(Options{})
	e := m.Exchanges(cart)
	e.OpenStream(0, &StreamRecord{Kind: StreamTLS})
	e.StreamBytes(0, &StreamRecord{Kind: StreamTLS}, 10, 2000)
	e.StreamBytes(0, &StreamRecord{Kind: StreamTLS}, 7, 0)
	for name, want := range map[string]string{
		"istio_tcp_connections_opened_total": "1",
		"istio_tcp_connections_closed_total": "0",
		"istio_tcp_received_bytes_total":     "17", // while the stream goes on
		"istio_tcp_sent_bytes_total":         "2000",
	} {
		if got := value(t, m, name, `request_protocol="tcp"`, `response_flags="-"`, `reporter="source"`,
			`destination_service="cart.shop.svc.cluster.local"`, `source_workload="edge"`); got != want {
			t.Errorf("%s = %s, want %s", name, got, want)
		}
	}
	e.CloseStream(0, &StreamRecord{Kind: StreamTLS, Flags: DownstreamClosed, Duration: 30 * time.Second})
	if got := value(t, m, "istio_tcp_connections_closed_total", `response_flags="DC"`); got != "1" {
		t.Errorf("closed with DC: %s, want 1", got)
	}
	if lines := with(page(t, m), "istio_tcp_connections_opened_total", `response_flags="DC"`); len(lines) > 0 {
		t.Errorf("flags are known at the end, yet there is %q", lines)
	}
	e.OpenStream(0, &StreamRecord{Kind: StreamUDP})
	if got := value(t, m, "istio_tcp_connections_opened_total", `request_protocol="udp"`); got != "1" {
		t.Errorf("UDP sessions opened: %s, want 1", got)
	}
}

func TestStreamDurations(t *testing.T) {
	m := New(Options{Loops: 2})
	e := m.Exchanges(cart)
	e.CloseStream(0, &StreamRecord{Kind: StreamTCP, Duration: time.Second}) // a bound belongs to its bucket
	e.CloseStream(1, &StreamRecord{Kind: StreamTCP, Duration: 2 * time.Hour})
	const name = "fairway_stream_duration_seconds"
	for suffix, want := range map[string]string{
		`_bucket{protocol="TCP",le="0.1"}`: "0", `_bucket{protocol="TCP",le="1"}`: "1",
		`_bucket{protocol="TCP",le="+Inf"}`: "2", `_sum{protocol="TCP"}`: "7201", `_count{protocol="TCP"}`: "2",
	} {
		if line := fmt.Sprint(name, suffix, " ", want); !slices.Contains(page(t, m), line) {
			t.Errorf("no line %q", line)
		}
	}
	if slices.Contains(page(t, m), name+`_count{protocol="UDP"} 0`) {
		t.Error("a kind of which there were none takes place on the page")
	}
}

// A stream lasts longer than a series that nobody uses: its next bytes count
// in a new one.
func TestStreamsOutliveTheirIdleSeries(t *testing.T) {
	now := time.Unix(1e9, 0)
	m := New(Options{Now: func() time.Time { return now }})
	e := m.Exchanges(cart)
	e.OpenStream(0, &StreamRecord{})
	page(t, m)
	now = now.Add(2 * time.Hour)
	if lines := with(page(t, m), "istio_tcp_connections_opened_total"); len(lines) > 0 {
		t.Errorf("idle for 2 hours, yet there is %q", lines)
	}
	if n := m.tables.streamLines; n != 0 {
		t.Errorf("%d lines are taken by no series, want 0", n)
	}
	e.StreamBytes(0, &StreamRecord{}, 5, 0)
	if got := value(t, m, "istio_tcp_received_bytes_total"); got != "5" {
		t.Errorf("received %s bytes, want 5", got)
	}
}

func TestCountingStreamsDoesNotAllocate(t *testing.T) {
	m := New(Options{Loops: 2})
	e := m.Exchanges(cart)
	r := &StreamRecord{Kind: StreamTCP, Flags: UpstreamClosed, Duration: time.Second}
	if n := testing.AllocsPerRun(1000, func() {
		e.OpenStream(1, r)
		e.StreamBytes(1, r, 1, 2)
		e.CloseStream(1, r)
	}); n != 0 {
		t.Errorf("counting a stream allocates %v times, want 0", n)
	}
}
