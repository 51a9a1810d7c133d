package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const (
	manyPodsCount = 1000
	fleetRoutes   = 100
	fleetEdits    = 50
	feedPort      = "15012"
)

// manyPods connects many gateway pods, without a data plane and all in one
// process here, to the replica of control that leads, and edits a route.
func manyPods(ctx context.Context, l *lab, t *table) error {
	s := &simulated{lab: l, pods: l.count(manyPodsCount), routes: l.count(fleetRoutes)}
	var err error
	if s.edge, err = l.openEdge(ctx, "bench-fleet"); err != nil {
		return err
	}
	if err := l.backend(ctx, s.edge.namespace, "backend", crowdPorts, nowhere(0)); err != nil {
		return err
	}
	if err := all(ctx, s.routes, func(ctx context.Context, i int) error { return l.createRoute(ctx, s.route(i, 0)) }); err != nil {
		return err
	}
	list, err := l.processes(ctx, s.edge)
	if err != nil {
		return err
	}
	s.control = list[0]
	before, err := l.observe(ctx, list[:1], 0)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began := time.Now()
	arrivals, ended, err := s.start(ctx)
	if err != nil {
		return err
	}
	defer func() { cancel(); <-ended }()
	if _, err := s.arrival(ctx, arrivals, began); err != nil {
		return err
	}
	t.found("gateway pods on one replica; routes", "%d; %d", s.pods, s.routes)
	t.found("all have what they need after", "%s", short(time.Since(began)))
	t.found("control: memory before them", "%.0f MiB", before[0].memory)
	return s.measure(ctx, t, arrivals)
}

// simulated are pods that are none.
type simulated struct {
	*lab
	edge    *edge
	control process
	pods    int
	routes  int
}

func (s *simulated) route(i, edit int) *gatewayv1.HTTPRoute {
	return route(s.edge.namespace, app(i), app(i)+".example.com", s.edge.parent(), rule(fmt.Sprintf("/%d", edit), "backend", 80))
}

// An arrival says when the first and when the last pod had a version in force.
type arrival struct {
	Version string    `json:"version"`
	Pods    int       `json:"pods"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
}

// start starts the pods' process. What comes of each version is sent to
// arrivals, until ctx ends it; then ended is closed.
func (s *simulated) start(ctx context.Context) (arrivals <-chan arrival, ended <-chan struct{}, err error) {
	dir, err := os.MkdirTemp("", "fairway-bench-")
	if err != nil {
		return nil, nil, err
	}
	args, err := s.arguments(ctx, dir)
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	cmd := exec.CommandContext(ctx, s.load, args...)
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	found, done := make(chan arrival, 1000), make(chan struct{})
	go func() {
		defer close(done)
		defer os.RemoveAll(dir)
		defer close(found)
		readArrivals(out, found)
		cmd.Wait()
	}()
	return found, done, nil
}

// readArrivals reads a line of JSON for each arrival; what nobody has taken is
// dropped in the end.
func readArrivals(r io.Reader, found chan<- arrival) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		var a arrival
		if json.Unmarshal(lines.Bytes(), &a) != nil {
			continue
		}
		select {
		case found <- a:
		default:
		}
	}
}

// arguments writes down what the pods' process needs to prove that it is one of
// the Gateway's pods, and returns how it is called.
func (s *simulated) arguments(ctx context.Context, dir string) ([]string, error) {
	pod := &s.edge.pod
	hour := int64(3600)
	token, err := s.core.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(ctx, pod.Spec.ServiceAccountName, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{
			Audiences: []string{"fairway"}, ExpirationSeconds: &hour,
			BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	const bundle = "root-cert.pem"
	roots, err := s.core.CoreV1().ConfigMaps(pod.Namespace).Get(ctx, pod.Spec.ServiceAccountName, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	for name, text := range map[string]string{"token": token.Status.Token, bundle: roots.Data[bundle]} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return []string{
		"-control", net.JoinHostPort(s.control.pod.Status.PodIP, feedPort),
		"-control-id", fmt.Sprintf("spiffe://cluster.local/ns/%s/sa/%s", s.control.pod.Namespace, s.control.pod.Spec.ServiceAccountName),
		"-gateway", s.edge.namespace + "/" + s.edge.name, "-pods", fmt.Sprint(s.pods),
		"-roots", filepath.Join(dir, bundle), "-token", filepath.Join(dir, "token"),
	}, nil
}

// arrival waits for a version that all pods have, the last since a time.
func (s *simulated) arrival(ctx context.Context, arrivals <-chan arrival, since time.Time) (arrival, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, errors.New("not all pods have come"))
	defer cancel()
	for {
		select {
		case a, ok := <-arrivals:
			if !ok {
				return arrival{}, errors.New("the pods' process has ended")
			}
			if a.Last.After(since) {
				return a, nil
			}
		case <-ctx.Done():
			return arrival{}, context.Cause(ctx)
		}
	}
}

// measure edits a route and waits until all pods have it, again and again; then
// it lets control rest.
func (s *simulated) measure(ctx context.Context, t *table, arrivals <-chan arrival) error {
	pause(ctx, s.period(calmTime))
	for len(arrivals) > 0 {
		<-arrivals
	}
	before, err := s.metrics(ctx, &s.control.pod)
	if err != nil {
		return err
	}
	var first, last times
	edits := s.count(fleetEdits)
	for edit := 1; edit <= edits; edit++ {
		if err := s.editRoute(ctx, s.route(edit%s.routes, edit)); err != nil {
			return err
		}
		taken := time.Now()
		a, err := s.arrival(ctx, arrivals, taken)
		if err != nil {
			return err
		}
		first, last = append(first, max(0, a.First.Sub(taken))), append(last, a.Last.Sub(taken))
	}
	var used usage
	after, err := s.metrics(ctx, &s.control.pod)
	if err != nil {
		return err
	}
	if err := used.take(before, after); err != nil {
		return err
	}
	t.found("edits, one after the other: the first pod has it after, mean", "%s", short(first.mean()))
	t.found("edits: all pods have it after, mean", "%s", short(last.mean()))
	t.atMost("edits: all pods have it after, slowest of "+fmt.Sprint(edits), last.max(), time.Second)
	t.found("control: CPU of an edit", "%.0f ms", used.cores*after.at.Sub(before.at).Seconds()/float64(edits)*1000)
	pause(ctx, s.period(calmTime))
	rest, err := s.observe(ctx, []process{s.control}, s.period(restTime))
	if err != nil {
		return err
	}
	t.found("control: memory with them", "%.0f MiB", max(used.peak, rest[0].peak))
	t.found("control: CPU with them at rest", "%.4f cores", rest[0].cores)
	return nil
}
