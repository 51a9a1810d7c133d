package loop

// A Conn is a byte stream that never blocks: a socket, plain or TLS, and in
// tests a pipe. All its methods are called on its loop's goroutine, and none
// calls the Handler back before it returns.
type Conn interface {
	// Loop returns the loop that owns the connection.
	Loop() *Loop
	// Write queues a copy of p. The loop sends what is queued at the end of
	// its round, or sooner where much has gathered. After Close or a failure
	// it does nothing: Handler.Closed tells.
	Write(p []byte)
	// Flush sends what is queued now, as far as the peer takes it: for who
	// knows that nothing more is to come in this round.
	Flush()
	// Queued returns how many bytes are not sent yet.
	Queued() int
	// Pause stops Handler.Data; Resume lets it go on, from a later event.
	Pause()
	Resume()
	// CloseWrite sends what is queued, then the end of the stream (FIN, after
	// close_notify on TLS). Reading goes on.
	CloseWrite()
	// Finish sends what is queued, then the end of the stream, reads and
	// discards for a short while so that the peer gets it all, and closes.
	// The Handler hears only Closed.
	Finish()
	// Abort sends what is queued, gives the peer a short while to take it, and
	// resets: what came was whole, what should have followed will not come. The
	// Handler hears only Closed.
	Abort()
	// Close closes at once, with a reset if bytes were left unsent or unread.
	// The Handler hears nothing more.
	Close()
	// Reset is Close with a reset in any case: for a message whose end is the
	// end of the stream, and that is not whole.
	Reset()
}

// A Handler takes the events of a Conn.
type Handler interface {
	// Data takes bytes that arrived. They are valid during the call; the
	// handler takes them all, and keeps a copy of what it cannot use yet.
	Data(p []byte)
	// EOF tells that the peer will send no more. Writing may go on. On TLS it
	// is close_notify: a FIN without that is a failure, io.ErrUnexpectedEOF.
	EOF()
	// Drained tells that Queued has fallen under message.LowWater after it
	// was over message.HighWater.
	Drained()
	// Closed tells that the connection is gone, and why: nil after Finish. It
	// is the last call. What came before a failure has been handed on, unless
	// Pause held it back while something was queued.
	Closed(err error)
}
