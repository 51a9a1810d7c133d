package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// An order is what a client in a pod is told to do: a load of Rate requests per
// second is begun where Rate is not 0, ended where End is set, and one request
// on a new connection made where Ask is set.
type order struct {
	To   target
	Rate int
	End  bool
	Ask  bool
}

// A reply answers an order.
type reply struct {
	Tally  *tally              // of the load that was ended
	Fields map[string][]string // of the answer that was asked for
	Err    string              // why there is none
}

// obey carries out orders until there are no more.
func obey(in io.Reader, out io.Writer) error {
	orders, replies := json.NewDecoder(in), json.NewEncoder(out)
	var l *load
	defer func() {
		if l != nil {
			l.stop()
		}
	}()
	for {
		var o order
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("orders: %w", err)
		}
		var r reply
		switch {
		case o.Rate > 0 && l == nil:
			l = startLoad(o.To, o.Rate)
		case o.End && l != nil:
			r.Tally, l = l.stop(), nil
		case o.Ask:
			c := &client{target: o.To}
			header, err := c.do()
			c.close()
			r.Fields = header
			if err != nil {
				r.Err = err.Error()
			}
		default:
			r.Err = fmt.Sprintf("order %+v makes no sense now", o)
		}
		if err := replies.Encode(r); err != nil {
			return fmt.Errorf("reply: %w", err)
		}
	}
}

// A remote is a client in a pod, and obeys.
type remote struct {
	cmd   *exec.Cmd
	stdin io.Closer

	mu      sync.Mutex // one order at a time
	orders  *json.Encoder
	replies *json.Decoder
}

// replyTime bounds how long a reply takes: a load has requests under way when it
// is ended.
const replyTime = 4 * requestTimeout

// client starts this program as a client in the pod.
func (c *cluster) client(ctx context.Context, namespace, pod string) (*remote, error) {
	cmd := exec.CommandContext(ctx, c.kubectl, "-n", namespace, "exec", "-i", pod, "--", "/usr/local/bin/faults", "-client=obey")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &remote{cmd: cmd, stdin: in, orders: json.NewEncoder(in), replies: json.NewDecoder(out)}, nil
}

func (r *remote) tell(o order) (*reply, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	overdue := time.AfterFunc(replyTime, func() { r.cmd.Process.Kill() })
	defer overdue.Stop()
	if err := r.orders.Encode(o); err != nil {
		return nil, fmt.Errorf("order to the client: %w", err)
	}
	var answer reply
	if err := r.replies.Decode(&answer); err != nil {
		return nil, fmt.Errorf("reply of the client: %w", err)
	}
	if answer.Err != "" {
		return nil, errors.New(answer.Err)
	}
	return &answer, nil
}

// close has the client end.
func (r *remote) close() {
	r.stdin.Close()
	r.cmd.Wait()
}
