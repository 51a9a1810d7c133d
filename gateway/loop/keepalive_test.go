package loop

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TcpKeepalive {probes, time, interval}.
func TestDialAsksForKeepAlive(t *testing.T) {
	l := startLoop(t)
	addr := serve(t, l, func(s *Socket) { s.Handle(&echo{s: s, closed: make(chan error, 1)}) })
	for _, tt := range []struct {
		how  *KeepAlive
		want map[int]int // options of TCP
		on   int
	}{
		{nil, nil, 0},
		{&KeepAlive{}, nil, 1},
		{&KeepAlive{Probes: 3, Idle: 90 * time.Second, Interval: 1500 * time.Millisecond},
			map[int]int{unix.TCP_KEEPCNT: 3, unix.TCP_KEEPIDLE: 90, unix.TCP_KEEPINTVL: 2}, 1},
	} {
		dialed := make(chan error)
		got := map[int]int{}
		var on int
		l.Post(func() {
			l.Dial(addr, Opening{KeepAlive: tt.how}, 5*time.Second, func(s *Socket, _ string, err error) {
				if err == nil {
					on, _ = unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE)
					for option := range tt.want {
						got[option], _ = unix.GetsockoptInt(s.fd, unix.IPPROTO_TCP, option)
					}
					s.Close()
				}
				dialed <- err
			})
		})
		if err := <-dialed; err != nil {
			t.Fatal(err)
		}
		if on != tt.on {
			t.Errorf("%+v: SO_KEEPALIVE is %d, want %d", tt.how, on, tt.on)
		}
		for option, want := range tt.want {
			if got[option] != want {
				t.Errorf("%+v: option %d is %d, want %d", tt.how, option, got[option], want)
			}
		}
	}
}
