package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A fault is one way to break the cluster. Its run breaks it and waits until it
// is well again; what it returns is how long that took.
type fault[S stand] struct {
	name, what string
	healed     string // what run's duration says, in the table
	lossless   bool   // not one request may be lost
	script     bool   // needs the cluster's own script
	run        func(ctx context.Context, s S) (time.Duration, error)
	judge      func(*tally) error // what else is to be so; may be nil
}

// faults are those of a Gateway.
var faults = []fault[*rig]{
	{name: "edit", what: "a route edited 50 times", healed: "the slowest edit, from the API server's answer to the first answered request",
		lossless: true, run: editRoute},
	{name: "endpoints", what: "a Service's endpoints replaced all at once, and back", healed: "no answer from the old endpoints any more",
		lossless: true, run: replaceEndpoints},
	{name: "secret", what: "a certificate's Secret rotated", healed: "every new connection is shown the new one",
		lossless: true, run: rotateSecret},
	{name: "rollout", what: "a rolling update of the fleet", healed: "the update, from its beginning to its end",
		lossless: true, run: rollFleet},
	{name: "scale", what: "the fleet scaled from 1 to 5 and back", healed: "both ways",
		lossless: true, run: scaleFleet},
	{name: "control", what: "every control pod killed while the route is edited", healed: "an edit made meanwhile is in force",
		lossless: true, run: killControl},
	{name: "apiserver", what: "the API server away for two minutes", healed: "from its return until an edit is in force",
		lossless: true, script: true, run: stopAPIServer},
	{name: "pod", what: "a gateway pod killed", healed: "a new one is ready", run: killGatewayPod},
	{name: "node", what: "a node with a gateway pod and backends cut off for a minute", healed: "from its return until all pods are ready and an edit is in force",
		script: true, run: cutNode},
	{name: "gateway", what: "a Gateway deleted, and made again", healed: "from its making to the first answer", run: deleteGateway},
}

func editRoute(ctx context.Context, r *rig) (time.Duration, error) {
	var slowest time.Duration
	for range 50 {
		if err := r.edit(ctx); err != nil {
			return 0, err
		}
		taken := time.Now()
		if err := r.editInForce(ctx); err != nil {
			return 0, err
		}
		slowest = max(slowest, time.Since(taken))
	}
	return slowest, nil
}

// inARow is how many answers must agree until all are believed to.
const inARow = 50

// consistent waits until inARow observations in a row are ok, and returns how
// long after began the first of them was.
func consistent(ctx context.Context, began time.Time, ok func() bool) (time.Duration, error) {
	var first time.Duration
	n := 0
	err := await(ctx, 2*time.Minute, func() bool {
		if !ok() {
			n = 0
			return false
		}
		if n == 0 {
			first = time.Since(began)
		}
		n++
		return n == inARow
	})
	return first, err
}

func replaceEndpoints(ctx context.Context, r *rig) (time.Duration, error) {
	var slowest time.Duration
	for _, version := range []string{"v2", "v1"} {
		if _, err := r.k(ctx, "-n", "faults", "patch", "service", "app", "--type=merge",
			"-p", `{"spec":{"selector":{"version":"`+version+`"}}}`); err != nil {
			return 0, err
		}
		took, err := consistent(ctx, time.Now(), func() bool { return r.header("X-Backend") == "app-"+version })
		if err != nil {
			return 0, err
		}
		slowest = max(slowest, took)
	}
	return slowest, nil
}

func rotateSecret(ctx context.Context, r *rig) (time.Duration, error) {
	secret, err := r.secret()
	if err != nil {
		return 0, err
	}
	if err := r.apply(ctx, secret); err != nil {
		return 0, err
	}
	return consistent(ctx, time.Now(), func() bool { return r.serial() == r.authority.issued })
}

func rollFleet(ctx context.Context, r *rig) (time.Duration, error) {
	began := time.Now()
	if _, err := r.k(ctx, "-n", "faults", "rollout", "restart", "deployment/"+r.fleet()); err != nil {
		return 0, err
	}
	err := r.rolledOut(ctx, r.fleet())
	return time.Since(began), err
}

func scaleFleet(ctx context.Context, r *rig) (time.Duration, error) {
	if err := r.scale(ctx, 1); err != nil {
		return 0, err
	}
	began := time.Now()
	for _, n := range []int{5, 1} {
		if err := r.scale(ctx, n); err != nil {
			return 0, err
		}
	}
	took := time.Since(began)
	return took, r.scale(ctx, 2)
}

// scale makes the fleet one of n pods and waits until it is.
func (r *rig) scale(ctx context.Context, n int) error {
	if _, err := r.k(ctx, "-n", "faults", "patch", "gatewayparameters", "edge", "--type=merge",
		"-p", fmt.Sprintf(`{"spec":{"pods":{"replicas":%d}}}`, n)); err != nil {
		return err
	}
	for _, field := range []string{"replicas", "readyReplicas"} {
		if _, err := r.k(ctx, "-n", "faults", "wait", "deployment/"+r.fleet(), "--timeout=150s",
			fmt.Sprintf("--for=jsonpath={.status.%s}=%d", field, n)); err != nil {
			return err
		}
	}
	return r.rolledOut(ctx, r.fleet())
}

// killControl kills every pod of control, at once.
func (c *cluster) killControl(ctx context.Context) error {
	_, err := c.k(ctx, "-n", "fairway-system", "delete", "pod", "-l", "app.kubernetes.io/component=control",
		"--force", "--grace-period=0", "--wait=false")
	return err
}

func killControl(ctx context.Context, r *rig) (time.Duration, error) {
	began := time.Now()
	if err := r.killControl(ctx); err != nil {
		return 0, err
	}
	for range 20 {
		if err := r.edit(ctx); err != nil {
			return 0, err
		}
	}
	err := r.editInForce(ctx)
	return time.Since(began), err
}

// apiServerPID is where the cluster's script keeps the API server's process.
const apiServerPID = "/run/gateway-cluster/pid/kube-apiserver"

func stopAPIServer(ctx context.Context, r *rig) (time.Duration, error) {
	text, err := os.ReadFile(apiServerPID)
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, err
	}
	// Stopped it is worse than gone: connections stay, and nobody answers.
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return 0, err
	}
	pause(ctx, 2*time.Minute)
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := await(ctx, time.Minute, func() bool { return r.edit(ctx) == nil }); err != nil {
		return 0, err
	}
	err = r.editInForce(ctx)
	return time.Since(began), err
}

// gatewayPods are the names of the Gateway's pods, on a node where one is given.
func (r *rig) gatewayPods(ctx context.Context, node string) ([]string, error) {
	args := []string{"-n", "faults", "get", "pods", "-l", "gateway.networking.k8s.io/gateway-name=edge", "-o", "jsonpath={.items[*].metadata.name}"}
	if node != "" {
		args = append(args, "--field-selector=spec.nodeName="+node)
	}
	out, err := r.k(ctx, args...)
	return strings.Fields(out), err
}

// kill kills a pod and waits until it is gone.
func (c *cluster) kill(ctx context.Context, namespace, pod string) error {
	if _, err := c.k(ctx, "-n", namespace, "delete", "pod", pod, "--force", "--grace-period=0", "--wait=false"); err != nil {
		return err
	}
	_, err := c.k(ctx, "-n", namespace, "wait", "--for=delete", "pod/"+pod, "--timeout=60s")
	return err
}

func killGatewayPod(ctx context.Context, r *rig) (time.Duration, error) {
	pods, err := r.gatewayPods(ctx, "")
	if err != nil || len(pods) == 0 {
		return 0, fmt.Errorf("pods %q: %w", pods, err)
	}
	began := time.Now()
	if err := r.kill(ctx, "faults", pods[0]); err != nil {
		return 0, err
	}
	err = r.rolledOut(ctx, r.fleet())
	return time.Since(began), err
}

// lostNode is the node that is cut off: load balancers' addresses enter at the first.
const lostNode = "2"

func cutNode(ctx context.Context, r *rig) (time.Duration, error) {
	if pods, err := r.gatewayPods(ctx, "node"+lostNode); err != nil || len(pods) == 0 {
		return 0, fmt.Errorf("no gateway pod on node %s: %w", lostNode, err)
	}
	if _, err := r.command(ctx, "", r.script, "cut", lostNode); err != nil {
		return 0, err
	}
	pause(ctx, time.Minute)
	if _, err := r.command(context.WithoutCancel(ctx), "", r.script, "heal", lostNode); err != nil {
		return 0, err
	}
	began := time.Now()
	if _, err := r.k(ctx, "wait", "--for=condition=Ready", "node/node"+lostNode, "--timeout=120s"); err != nil {
		return 0, err
	}
	if err := r.ready(ctx); err != nil {
		return 0, err
	}
	if err := r.edit(ctx); err != nil {
		return 0, err
	}
	err := r.editInForce(ctx)
	return time.Since(began), err
}

func deleteGateway(ctx context.Context, r *rig) (time.Duration, error) {
	if _, err := r.k(ctx, "-n", "faults", "delete", "gateway", "edge"); err != nil {
		return 0, err
	}
	if _, err := r.k(ctx, "-n", "faults", "wait", "--for=delete", "service/"+r.fleet(), "deployment/"+r.fleet(), "--timeout=60s"); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := r.apply(ctx, r.base); err != nil {
		return 0, err
	}
	if err := r.ready(ctx); err != nil {
		return 0, err
	}
	return time.Since(began), nil
}
