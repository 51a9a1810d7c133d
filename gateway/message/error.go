package message

// A Reason says why a message was aborted: whether it may be tried again and
// what the client is told hang on it.
type Reason uint8

const (
	// Gone: the connection closed before the message was whole.
	Gone Reason = iota + 1
	// Reset: the peer reset the stream.
	Reset
	// Refused: the peer says that it has not begun to process the request
	// (REFUSED_STREAM, or a GOAWAY below it). It is safe to try again.
	Refused
	// Malformed: the peer broke the protocol.
	Malformed
	// TooLarge: a limit on the size or number of something was passed.
	TooLarge
	// Slow: a deadline passed.
	Slow
	// Cancelled: our own side gave the message up.
	Cancelled
)

var reasonText = [...]string{
	Gone: "connection closed", Reset: "stream reset", Refused: "stream refused",
	Malformed: "malformed message", TooLarge: "limit exceeded", Slow: "deadline passed", Cancelled: "cancelled",
}

// String returns the reason in words.
func (r Reason) String() string {
	if int(r) < len(reasonText) && reasonText[r] != "" {
		return reasonText[r]
	}
	return "unknown"
}

// An Error ends one message. It never ends more than its connection.
type Error struct {
	Reason Reason
	// Unused says that not one byte of a response had arrived, on a
	// connection that had served earlier requests: a keep-alive connection
	// that the backend closed while our request was on its way.
	Unused bool
	Err    error // what was found and what was wanted; may be nil
}

func (e *Error) Error() string {
	if e.Err == nil {
		return e.Reason.String()
	}
	return e.Reason.String() + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }
