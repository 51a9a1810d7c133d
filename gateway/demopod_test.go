package main

import (
	"net"
	"testing"
	"time"
)

func TestDemoEchoesDatagrams(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		echoDatagrams(conn, "dns")
	}()
	client, err := net.Dial("udp", conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	client.SetDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 100)
	for _, say := range []string{"a longer one first", "short", ""} {
		client.Write([]byte(say))
		n, err := client.Read(buf)
		if got := string(buf[:n]); err != nil || got != "dns: "+say {
			t.Errorf("%q is answered with %q, %v", say, got, err)
		}
	}
	conn.Close()
	<-done
}
