package http2

import "time"

// A Kind is why a peer was refused something: the limit that it reached, or
// that it broke the protocol. Its text is a metric label.
type Kind uint8

const (
	FloodResets        Kind = iota // streams that the peer opened and reset at once (CVE-2023-44487)
	FloodErrors                    // streams that the peer made us reset (CVE-2025-8671)
	FloodControl                   // SETTINGS, PING and frames of no use (CVE-2019-9512, -9515)
	FloodPriority                  // PRIORITY frames (CVE-2019-9513)
	FloodWindowUpdates             // WINDOW_UPDATE frames beyond what our DATA asks for
	FloodEmpty                     // frames that carry nothing (CVE-2019-9518)
	FloodContinuation              // CONTINUATION frames of one header block (CVE-2024-27316)
	HeaderSize                     // a header list over HeaderBytes, or a block that cannot be one
	HeaderCount                    // a header list over HeaderFields
	Concurrency                    // streams over MaxStreams
	Requests                       // a connection's last request (MaxRequests)
	SlowHead                       // no preface, or not the rest of a header block, within HeadTimeout
	SlowReader                     // a peer that takes nothing for WriteStall (CVE-2019-9511, -9517)
	Silent                         // a peer that does not answer PING
	Idle                           // a connection without streams for IdleTimeout
	ConnectionError                // a mistake of the peer that ended its connection (RFC 9113 section 5.4.1)
	StreamError                    // a mistake that ended one stream (section 5.4.2)
	numKinds
)

var kindText = [numKinds]string{
	FloodResets: "reset_flood", FloodErrors: "stream_error_flood", FloodContinuation: "continuation_flood",
	FloodControl: "control_flood", FloodPriority: "priority_flood", FloodWindowUpdates: "window_update_flood",
	FloodEmpty: "empty_frame_flood", HeaderSize: "header_size", HeaderCount: "header_count",
	Concurrency: "concurrent_streams", Requests: "connection_requests", SlowHead: "header_time",
	SlowReader: "write_stall", Silent: "ping_time", Idle: "idle_time",
	ConnectionError: "connection_error", StreamError: "stream_error",
}

// String returns the label.
func (k Kind) String() string { return kindText[k] }

// Kinds returns the labels of all Kinds, in their order.
func Kinds() []string { return kindText[:] }

// Limits bound what one peer may make us do and hold. The zero Limits are
// ready to use; they must not change while a connection uses them.
type Limits struct {
	// MaxStreams is how many streams a client may have open at once
	// (SETTINGS_MAX_CONCURRENT_STREAMS). If zero, 128.
	MaxStreams int

	// MaxRequests drains a client's connection after so many. If zero, no limit.
	MaxRequests int

	// HeaderBytes bounds a header list as RFC 9113 section 6.5.2 counts it:
	// names, values and 32 bytes a field. If zero, 64 KiB.
	HeaderBytes int

	// HeaderFields bounds the fields of a header list; cookie crumbs
	// (section 8.2.3) count as one. If zero, 100.
	HeaderFields int

	// StreamWindow is how many body bytes a peer may have under way on one
	// stream: sent and not yet Consumed. If zero, 256 KiB; at least 64 KiB.
	StreamWindow int

	// MaxStreamWindow is what the window of a stream grows to, from StreamWindow
	// on, as long as its Receiver consumes at once what comes; of one that does
	// not it shrinks again. All streams of a connection together grow by
	// ConnWindow at most. If not above StreamWindow, windows stay as they are.
	MaxStreamWindow int

	// ConnWindow is the same for all streams of a client's connection
	// together. If zero, 1 MiB; at least StreamWindow.
	ConnWindow int

	// Tunnels lets clients open tunnels: CONNECT (RFC 9113 section 8.5) comes as
	// a Request with that Method, an Authority and a Length that is Unknown, and
	// never as the last of its message. After a 2xx, which states no length, the
	// stream carries raw bytes both ways, as after a 101, and no trailers. If not
	// set, CONNECT is answered with 501.
	Tunnels bool

	// ManyClients says that a connection's streams are those of many clients, as
	// a gateway's are. One that is slow does not keep back the others: the
	// connection's window is given back at once, and the streams' own windows
	// bound what is held. The budgets of resets and errors are larger.
	ManyClients bool

	// HeadTimeout is how long we wait for the connection preface and for the
	// rest of a header block. If zero, 10 seconds.
	HeadTimeout time.Duration

	// IdleTimeout closes a client's connection that has no stream.
	// If zero, 5 minutes.
	IdleTimeout time.Duration

	// WriteStall is how long a peer may leave us without a byte of window, or
	// of room in the socket, while we have something to send.
	// If zero, 1 minute.
	WriteStall time.Duration

	// PingAfter is how long a client may be silent before a PING asks whether it
	// is there, and PingTimeout how long the answer may take until the connection
	// is closed. If PingAfter is zero, clients are not asked; if PingTimeout is
	// zero, 10 seconds.
	PingAfter, PingTimeout time.Duration

	// Count hears of each refusal. Loops call it, several at once. If nil,
	// nothing is counted.
	Count func(Kind)
}

func (l *Limits) maxStreams() int            { return orElse(l.MaxStreams, 128) }
func (l *Limits) headerBytes() int           { return orElse(l.HeaderBytes, 64<<10) }
func (l *Limits) headerFields() int          { return orElse(l.HeaderFields, 100) }
func (l *Limits) streamWindow() int32        { return int32(max(orElse(l.StreamWindow, 256<<10), 64<<10)) }
func (l *Limits) connWindow() int32          { return max(int32(orElse(l.ConnWindow, 1<<20)), l.streamWindow()) }
func (l *Limits) maxStreamWindow() int32     { return max(int32(l.MaxStreamWindow), l.streamWindow()) }
func (l *Limits) headTimeout() time.Duration { return orElse(l.HeadTimeout, 10*time.Second) }
func (l *Limits) idleTimeout() time.Duration { return orElse(l.IdleTimeout, 5*time.Minute) }
func (l *Limits) writeStall() time.Duration  { return orElse(l.WriteStall, time.Minute) }
func (l *Limits) pingTimeout() time.Duration { return orElse(l.PingTimeout, 10*time.Second) }

func (l *Limits) count(k Kind) {
	if l.Count != nil {
		l.Count(k)
	}
}

// orElse returns v, or what stands for zero.
func orElse[T int | time.Duration](v, standard T) T {
	if v == 0 {
		return standard
	}
	return v
}
