package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math"
	"net"
	"strings"
	"time"
)

// meshFaults are those of the mesh.
var meshFaults = []fault[*mesh]{
	{name: "mesh-edit", what: "mesh: a route of a Service, 80 : 20, edited 50 times", healed: "the slowest edit, from the API server's answer to the first answered request",
		lossless: true, judge: weightsHold, run: editMeshRoute},
	{name: "mesh-rollout", what: "mesh: both waypoints restarted at once", healed: "both, from the beginning to the end",
		lossless: true, run: rollWaypoints},
	{name: "mesh-scale", what: "mesh: both waypoints scaled to 1, to 4 and to 2", healed: "all three",
		lossless: true, run: scaleWaypoints},
	{name: "mesh-capture", what: "mesh: capture restarted on all nodes", healed: "all agents, from the beginning to the end",
		lossless: true, run: restartCapture},
	{name: "mesh-control", what: "mesh: every control pod killed while a route is edited", healed: "an edit made meanwhile is in force",
		lossless: true, run: killMeshControl},
	{name: "mesh-callee", what: "mesh: the callee's waypoint pods killed one by one", healed: "the slowest to be replaced", run: killCallee},
	{name: "mesh-caller", what: "mesh: the caller's waypoint pods killed one by one", healed: "the slowest to be replaced", run: killCaller},
	{name: "mesh-crash", what: "mesh: the waypoint pods of the callee, then of the caller, crashed one by one", healed: "the slowest to be ready again",
		script: true, run: crashWaypoints},
	{name: "mesh-agent", what: "mesh: the agent of each node crashed", healed: "the slower to be ready again",
		lossless: true, script: true, run: crashAgents},
	{name: "mesh-root", what: "mesh: another root and CA brought, and both waypoints restarted under it", healed: "from the Secret to the first certificate of the new CA",
		lossless: true, run: rotateRoot},
}

func editMeshRoute(ctx context.Context, m *mesh) (time.Duration, error) {
	var slowest time.Duration
	for range 50 {
		if err := m.edit(ctx); err != nil {
			return 0, err
		}
		taken := time.Now()
		if err := m.editInForce(ctx); err != nil {
			return 0, err
		}
		slowest = max(slowest, time.Since(taken))
	}
	return slowest, nil
}

// weightsHold says what is wrong with the answers' shares: they may be three of a
// hundred away from the weights.
func weightsHold(t *tally) error {
	share := 100 * float64(t.Backends["app-v1"]) / float64(t.Backends["app-v1"]+t.Backends["app-v2"])
	if !(math.Abs(share-weightV1) <= 3) {
		return fmt.Errorf("app-v1 has %.1f of 100 answers: want %d", share, weightV1)
	}
	return nil
}

func rollWaypoints(ctx context.Context, m *mesh) (time.Duration, error) {
	began := time.Now()
	for _, ns := range []string{callee, caller} {
		if err := m.restartWaypoint(ctx, ns); err != nil {
			return 0, err
		}
	}
	for _, ns := range []string{callee, caller} {
		if err := m.waypointReady(ctx, ns); err != nil {
			return 0, err
		}
	}
	return time.Since(began), nil
}

func (m *mesh) restartWaypoint(ctx context.Context, namespace string) error {
	_, err := m.k(ctx, "-n", namespace, "rollout", "restart", "deployment", "-l", waypointLabel)
	return err
}

func scaleWaypoints(ctx context.Context, m *mesh) (time.Duration, error) {
	began := time.Now()
	for _, n := range []int{1, 4, 2} {
		for _, ns := range []string{callee, caller} {
			if _, err := m.k(ctx, "-n", ns, "scale", "deployment", "-l", waypointLabel, fmt.Sprintf("--replicas=%d", n)); err != nil {
				return 0, err
			}
		}
		for _, ns := range []string{callee, caller} {
			if _, err := m.k(ctx, "-n", ns, "wait", "deployment", "-l", waypointLabel, "--timeout=150s",
				fmt.Sprintf("--for=jsonpath={.status.readyReplicas}=%d", n)); err != nil {
				return 0, err
			}
		}
	}
	return time.Since(began), nil
}

func restartCapture(ctx context.Context, m *mesh) (time.Duration, error) {
	began := time.Now()
	if _, err := m.k(ctx, "-n", "fairway-system", "rollout", "restart", "daemonset/fairway-capture"); err != nil {
		return 0, err
	}
	_, err := m.k(ctx, "-n", "fairway-system", "rollout", "status", "daemonset/fairway-capture", "--timeout=150s")
	return time.Since(began), err
}

func killMeshControl(ctx context.Context, m *mesh) (time.Duration, error) {
	began := time.Now()
	if err := m.killControl(ctx); err != nil {
		return 0, err
	}
	for range 20 {
		if err := m.edit(ctx); err != nil {
			return 0, err
		}
	}
	err := m.editInForce(ctx)
	return time.Since(began), err
}

func killCallee(ctx context.Context, m *mesh) (time.Duration, error) {
	return m.killWaypoint(ctx, callee)
}

func killCaller(ctx context.Context, m *mesh) (time.Duration, error) {
	return m.killWaypoint(ctx, caller)
}

// killWaypoint kills one pod of the namespace's waypoint after the other; the
// next one once all are there again.
func (m *mesh) killWaypoint(ctx context.Context, namespace string) (time.Duration, error) {
	pods, err := m.pods(ctx, namespace, waypointLabel, "metadata.name")
	if err != nil || len(pods) == 0 {
		return 0, fmt.Errorf("pods %q: %w", pods, err)
	}
	var slowest time.Duration
	for _, pod := range pods {
		began := time.Now()
		if err := m.kill(ctx, namespace, pod); err != nil {
			return 0, err
		}
		if err := m.waypointReady(ctx, namespace); err != nil {
			return 0, err
		}
		slowest = max(slowest, time.Since(began))
	}
	return slowest, nil
}

func crashWaypoints(ctx context.Context, m *mesh) (time.Duration, error) {
	var slowest time.Duration
	for _, ns := range []string{callee, caller} {
		took, err := m.crashAll(ctx, ns, waypointLabel)
		if err != nil {
			return 0, err
		}
		slowest = max(slowest, took)
	}
	return slowest, nil
}

func crashAgents(ctx context.Context, m *mesh) (time.Duration, error) {
	return m.crashAll(ctx, "fairway-system", "app.kubernetes.io/component=capture")
}

// crashAll crashes one pod that has the label after the other, as all of a
// kind need not have the load. It returns how long the slowest was away.
func (m *mesh) crashAll(ctx context.Context, namespace, label string) (time.Duration, error) {
	pods, err := m.pods(ctx, namespace, label, "metadata.name")
	if err != nil || len(pods) == 0 {
		return 0, fmt.Errorf("pods %q: %w", pods, err)
	}
	var slowest time.Duration
	for _, pod := range pods {
		took, err := m.crash(ctx, namespace, pod)
		if err != nil {
			return 0, err
		}
		slowest = max(slowest, took)
		pause(ctx, settle) // until all know
	}
	return slowest, nil
}

// userCA is the Secret in which a user brings a CA.
const userCA = "cacerts"

// newCATime bounds how long it takes until the new CA signs: five minutes, and
// one until control has looked.
const newCATime = 8 * time.Minute

// allReplicas bounds how long after the first replica of control the last one
// signs by the new CA.
const allReplicas = 2 * time.Minute

// rotateRoot brings a CA under load. Once it signs, the callee's waypoint is
// restarted, so that waypoints with certificates of either CA meet, and then the
// caller's.
func rotateRoot(ctx context.Context, m *mesh) (time.Duration, error) {
	ca, err := newAuthority()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := m.apply(ctx, ca.userCA()); err != nil {
		return 0, err
	}
	var signed time.Duration
	for signed == 0 {
		if time.Since(began) > newCATime {
			return 0, fmt.Errorf("the new CA signs nothing after %v", newCATime)
		}
		pause(ctx, 30*time.Second)
		// A pod that is new has a certificate that is.
		ok, err := m.restartedUnder(ctx, callee, ca)
		if err != nil {
			return 0, err
		}
		if ok {
			signed = time.Since(began)
		}
	}
	pause(ctx, settle)
	// The replicas of control look at the Secret each in its own time.
	for end := time.Now().Add(allReplicas); ; {
		ok, err := m.restartedUnder(ctx, caller, ca)
		switch {
		case err != nil:
			return 0, err
		case ok:
			return signed, nil
		case time.Now().After(end):
			return 0, fmt.Errorf("the caller's waypoint has no certificate of the new CA %v after the callee's", allReplicas)
		}
	}
}

// restartedUnder restarts a waypoint, and reports whether all its pods have
// certificates that ca signed.
func (m *mesh) restartedUnder(ctx context.Context, namespace string, ca authority) (bool, error) {
	if err := m.restartWaypoint(ctx, namespace); err != nil {
		return false, err
	}
	if err := m.waypointReady(ctx, namespace); err != nil {
		return false, err
	}
	return m.signedBy(ctx, namespace, ca)
}

// signedBy reports whether all pods of the namespace's waypoint show a
// certificate that ca signed.
func (m *mesh) signedBy(ctx context.Context, namespace string, ca authority) (bool, error) {
	addresses, err := m.pods(ctx, namespace, waypointLabel, "status.podIP")
	if err != nil || len(addresses) == 0 {
		return false, fmt.Errorf("pods %q: %w", addresses, err)
	}
	for _, address := range addresses {
		leaf, err := shown(ctx, net.JoinHostPort(address, "15008"))
		if err != nil {
			return false, err
		}
		if leaf.CheckSignatureFrom(ca.certificate) != nil {
			return false, nil
		}
	}
	return true, nil
}

// shown is the certificate that whoever dials the address is shown. We have none
// to show ourselves, and are refused after that.
func shown(ctx context.Context, address string) (*x509.Certificate, error) {
	var leaf *x509.Certificate
	d := &tls.Dialer{NetDialer: &net.Dialer{Timeout: requestTimeout}, Config: &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{"h2"},
		InsecureSkipVerify: true, // who it is from is what we are to find out
		VerifyConnection: func(s tls.ConnectionState) error {
			leaf = s.PeerCertificates[0]
			return nil
		},
	}}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp", address)
	if err == nil {
		conn.Close()
	}
	if leaf == nil {
		return nil, fmt.Errorf("certificate of %s: %w", address, err)
	}
	return leaf, nil
}

// userCA is the Secret in which a user brings the authority as the mesh's CA.
func (a authority) userCA() string {
	cert := indented("CERTIFICATE", a.certificate.Raw)
	key, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		panic("bug: a key of P-256 cannot be marshalled: " + err.Error())
	}
	return fmt.Sprintf(`
---
apiVersion: v1
kind: Secret
metadata: {name: %s, namespace: fairway-system}
stringData:
  ca-cert.pem: |
%[2]s
  cert-chain.pem: |
%[2]s
  root-cert.pem: |
%[2]s
  ca-key.pem: |
%[3]s
`, userCA, cert, indented("PRIVATE KEY", key))
}

// indented is a block of PEM, as a string of many lines in YAML has it.
func indented(kind string, der []byte) string {
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	return "    " + strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", "\n    ")
}
