package main

import (
	"encoding/json"
	"io"
	"os/exec"
	"testing"
)

// obedient returns a remote whose client is this process.
func obedient(t *testing.T) *remote {
	t.Helper()
	orders, in := io.Pipe()
	out, replies := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- obey(orders, replies) }()
	t.Cleanup(func() {
		in.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return &remote{cmd: &exec.Cmd{}, stdin: in, orders: json.NewEncoder(in), replies: json.NewDecoder(out)}
}

func TestClientObeys(t *testing.T) {
	r := obedient(t)
	nowhere := target{Address: "256.0.0.1", Host: host}
	if _, err := r.tell(order{To: nowhere, Ask: true}); err == nil {
		t.Error("asked of an address that there is not: no error")
	}
	for range 2 { // a load that has ended is in nobody's way
		if _, err := r.tell(order{To: nowhere, Rate: 100}); err != nil {
			t.Fatalf("begin a load: %v", err)
		}
		if _, err := r.tell(order{To: nowhere, Rate: 100}); err == nil {
			t.Error("a second load beside the first: no error")
		}
		answer, err := r.tell(order{End: true})
		if err != nil || answer.Tally == nil || answer.Tally.Sent != len(answer.Tally.Lost) {
			t.Fatalf("end the load: %+v, %v; want all of it lost", answer, err)
		}
	}
	if _, err := r.tell(order{End: true}); err == nil {
		t.Error("end a load that there is not: no error")
	}
}

func TestWeightsHold(t *testing.T) {
	tests := []struct {
		v1, v2 int
		want   bool
	}{
		{800, 200, true},
		{771, 229, true},
		{760, 240, false},
		{840, 160, false},
		{1000, 0, false},
		{0, 0, false}, // nobody answered
	}
	for _, tt := range tests {
		err := weightsHold(&tally{Backends: map[string]int{"app-v1": tt.v1, "app-v2": tt.v2}})
		if (err == nil) != tt.want {
			t.Errorf("weightsHold(%d, %d) = %v, want ok %v", tt.v1, tt.v2, err, tt.want)
		}
	}
}
