package hop

import (
	"testing"
)

func TestTunnelCarriesBytesBothWays(t *testing.T) {
	r := newRig(t, Native)
	near, far := r.tunnel(r.target())
	near.conn.Write([]byte("ping"))
	far.conn.Write([]byte("pong"))
	r.loop.Settle()
	near.want(t, "pong")
	far.want(t, "ping")
}
