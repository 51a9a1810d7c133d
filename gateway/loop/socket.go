package loop

const scratchSize = 256 << 10

type poller struct{}

func (p *poller) wake() {}

// A Socket is a TCP connection on a loop, plain or TLS.
type Socket struct{}
