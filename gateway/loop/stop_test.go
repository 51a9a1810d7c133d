package loop

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"fairway.dev/gateway/loop/looptest"
)

func TestStopRunsWhatWasPosted(t *testing.T) {
	l, err := New(0)
	if err != nil {
		t.Fatal(err)
	}
	go l.Run()
	ran := false
	release := hold(l)
	l.stopping.Store(true) // before the loop looks
	l.Post(func() { ran = true })
	release()
	l.Stop()
	if !ran {
		t.Error("what was posted before Stop was not run")
	}
	if l.Post(func() { t.Error("run after Stop") }) {
		t.Error("Post took something after Stop")
	}
	l.Stop() // does nothing
}

func TestStopEndsHandshakes(t *testing.T) {
	l, err := New(0)
	if err != nil {
		t.Fatal(err)
	}
	go l.Run()
	server, _ := looptest.TLSConfigs(t)
	started := make(chan struct{})
	addr := serve(t, l, func(s *Socket) {
		var look func()
		look = func() {
			if !s.tls.shake.started {
				l.Post(look)
				return
			}
			close(started)
		}
		s.ServeTLS(server, nil, time.Hour, func(tls.ConnectionState, error) {})
		look()
	})
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte{22}) // a record's first byte
	<-started
	l.Stop()
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read: %v, want the end of the connection", err)
	}
}
