package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Law 9 of the design: every wait has a deadline, also that for a pipe which
// nobody reads.
func TestAccessLogThatNobodyReadsDoesNotHoldTheEndUp(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "access.log")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(pipe, os.O_RDWR, 0) // so that opening it to write succeeds
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	r := startRig(t, nil, map[string]string{"gateway.yaml": edge}, "-access-log", pipe)
	long := "/" + strings.Repeat("a", 3000)
	for range 60 { // more than a pipe holds
		r.want(r.url(long), 404)
	}
	if err := r.terminate(); err == nil {
		t.Error("the gateway ended well, want it to say that lines are lost")
	}
	r.await("access log: context deadline exceeded")
}
