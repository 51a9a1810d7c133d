package main

import (
	"bufio"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// serve starts a server whose nth request on a connection gets the nth of
// answers, and returns a client that is connected to it.
func serve(t *testing.T, answers ...http.HandlerFunc) *client {
	t.Helper()
	n := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answers[n](w, r)
		n++
	}))
	t.Cleanup(s.Close)
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := &client{target: target{Address: "256.0.0.1", Host: host, Fields: []string{"X-Edit"}}, conn: conn, r: bufio.NewReader(conn)}
	t.Cleanup(c.close)
	return c
}

func good(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Edit", "7") }

func TestAnswersAreCounted(t *testing.T) {
	c := serve(t, good, good)
	for range 2 {
		if h, err := c.do(); err != nil || h.Get("X-Edit") != "7" {
			t.Errorf("a good answer: %v, %v", h, err)
		}
	}
}

func TestLossesAreCounted(t *testing.T) {
	tests := []struct {
		name   string
		answer http.HandlerFunc
		want   string
	}{
		{"a status", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, "status 503"},
		{"a way round", func(http.ResponseWriter, *http.Request) {}, "an answer without X-Edit"},
		{"no answer", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "a new connection closed without an answer"},
		{"half a body", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			w.Write([]byte("half"))
		}, "a new connection closed without an answer"},
	}
	for _, tt := range tests {
		c := serve(t, tt.answer)
		if _, err := c.do(); err == nil || kind(err, false) != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
		if c.conn != nil {
			t.Errorf("%s: the connection is used again", tt.name)
		}
	}
}

// A gateway that drains says so with its last answer: whoever asks again on a
// new connection has lost nothing.
func TestLastAnswerOfAConnectionIsNoLoss(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		good(w, r)
	})
	if _, err := c.do(); err != nil {
		t.Errorf("the last answer: %v", err)
	}
	if c.conn != nil {
		t.Error("the connection is used again")
	}
}
