package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestWaysAreComparedWithinRounds(t *testing.T) {
	us := time.Microsecond
	s := scenario{name: "hop", ways: true, load: paced{conns: 1}}
	results := summarizeWays(s, map[string][]sample{
		"direct": {{P50: 10 * us, P99: 50 * us}, {P50: 30 * us, P99: 90 * us}, {P50: 20 * us, P99: 60 * us}},
		"plain":  {{CPU: 10, Gateways: []float64{10}}, {CPU: 40, Gateways: []float64{40}}, {CPU: 20, Gateways: []float64{20}}},
		"hop2": {
			{CPU: 30, Gateways: []float64{10, 20}, P50: 110 * us, P99: 150 * us}, // 3 times, 100 added to both
			{CPU: 40, Gateways: []float64{15, 25}, P50: 80 * us, P99: 390 * us},  // 1, 50 and 300
			{CPU: 40, Gateways: []float64{30, 10}, P50: 100 * us, P99: 80 * us},  // 2, 80 and 20
		},
	})
	var names []string
	for _, r := range results {
		names = append(names, r.peer)
	}
	if want := []string{"direct", "plain", "hop2"}; !reflect.DeepEqual(names, want) {
		t.Fatalf("results of %v, want %v", names, want)
	}
	r := results[2]
	if r.ratio != 2 || r.added50 != 80*us || r.added99 != 100*us || !reflect.DeepEqual(r.gateways, []float64{15, 20}) {
		t.Errorf("hop2: ratio %v, added %v and %v, gateways %v; want 2, 80µs, 100µs, [15 20]", r.ratio, r.added50, r.added99, r.gateways)
	}
	for _, l := range []load{paced{}, wrk{}, idle{}} {
		for _, r := range results {
			r.scenario.load = l
			if cells := r.cells(); len(cells) != len(columns(r.scenario)) {
				t.Errorf("%T: cells %q under columns %q", l, cells, columns(r.scenario))
			}
		}
	}
	if got, want := r.cells(), "hop2 40.0 15.0 + 20.0 2.00 100µs 150µs 80µs 100µs 0 0"; strings.Join(got, " ") != want {
		t.Errorf("cells %q, want %s", got, want)
	}
	if text := legend(results); !strings.Contains(text, "- hop2-tunnel: ") {
		t.Errorf("the legend does not say what hop2-tunnel is:\n%s", text)
	}
	if text := legend([]result{{}}); text != "" {
		t.Errorf("a legend of ways where none were compared: %q", text)
	}
}

// What the log has to say tells each way from the others.
func TestWhatWaypointsLog(t *testing.T) {
	tests := []struct {
		way  string
		i    int
		want []string
	}{
		{"hop1", 0, []string{`"source_principal":"spiffe://cluster.local/ns/shop/sa/client"`, `"method":"GET"`}},
		{"hop2", 0, []string{`"source_principal":"spiffe://cluster.local/ns/web/sa/client"`, `"method":"GET"`, `"endpoint":"127.77.0.3:15008"`}},
		{"hop2", 1, []string{`"source_principal":"spiffe://cluster.local/ns/web/sa/client"`, `"method":"GET"`}},
		{"hop2-stranger", 0, []string{`"source_principal":"spiffe://cluster.local/ns/web/sa/client"`, `"method":"GET"`, `"endpoint":"127.77.0.4:15008"`}},
		{"hop2-stranger", 1, []string{`"source_principal":"spiffe://cluster.local/ns/web/sa/waypoint"`, `"method":"GET"`}},
		{"hop2-tunnel", 0, []string{`"source_principal":"spiffe://cluster.local/ns/web/sa/client"`, `"protocol":"TCP"`, `"endpoint":"127.77.0.3:15008"`}},
		{"hop2-tcp", 1, []string{`"source_principal":"spiffe://cluster.local/ns/web/sa/client"`, `"protocol":"TCP"`}},
	}
	for _, tt := range tests {
		for _, w := range ways {
			if w.name != tt.way {
				continue
			}
			if got := w.logged(tt.i); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("logged(%s, %d) = %q, want %q", tt.way, tt.i, got, tt.want)
			}
		}
	}
}

func TestIdentityOfAWaypoint(t *testing.T) {
	a, err := newAuthority()
	if err != nil {
		t.Fatal(err)
	}
	b, dir := &bench{authority: a}, filepath.Join(t.TempDir(), "identity")
	if err := b.identify("web", dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "cert-chain.pem"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != "spiffe://cluster.local/ns/web/sa/waypoint" {
		t.Errorf("URIs %v, want the waypoint's SPIFFE id alone", leaf.URIs)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{use}}); err != nil {
			t.Errorf("usage %v: %v", use, err)
		}
	}
}

func TestGroupsAreChosen(t *testing.T) {
	chosen, err := choose("hop")
	if err != nil || len(chosen) != 9 {
		t.Fatalf("choose(hop) = %d scenarios, %v; want 9", len(chosen), err)
	}
	if got := wanted([]string{"fairway", "nginx", "caddy", "nobody"}, chosen); !reflect.DeepEqual(got, []string{"fairway", "nobody"}) {
		t.Errorf("wanted for hops = %v, want fairway, and nobody to be complained of", got)
	}
	if _, err := choose("hops"); err == nil {
		t.Error("choose(hops) gives no error")
	}
}

// Two that would agree on more than h2 do not by a stranger, and each sees who
// the other says that it is.
func TestStrangerSpeaksH2Alone(t *testing.T) {
	a, err := newAuthority()
	if err != nil {
		t.Fatal(err)
	}
	config := func(namespace string) *tls.Config {
		der, key, err := a.sign(namespace)
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Config{
			Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, InsecureSkipVerify: true,
			ClientAuth: tls.RequireAnyClientCert, NextProtos: []string{"fairway-hop/1", "h2"},
		}
	}
	shop, err := tls.Listen("tcp", "127.0.0.1:0", config("shop"))
	if err != nil {
		t.Fatal(err)
	}
	defer shop.Close()
	seen := make(chan string, 1)
	go func() {
		defer close(seen)
		c, err := shop.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		io.CopyN(c, c, 5)
		state := c.(*tls.Conn).ConnectionState()
		if len(state.PeerCertificates) == 1 {
			seen <- state.NegotiatedProtocol + " " + state.PeerCertificates[0].URIs[0].String()
		}
	}()
	s, err := a.startStranger("127.0.0.1:0", shop.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	web, err := tls.Dial("tcp", s.ln.Addr().String(), config("web"))
	if err != nil {
		t.Fatal(err)
	}
	defer web.Close()
	io.WriteString(web, "hello")
	if text, err := io.ReadAll(web); string(text) != "hello" || err != nil {
		t.Errorf("%q came back, error %v; want hello", text, err)
	}
	state := web.ConnectionState()
	if got, want := state.NegotiatedProtocol+" "+state.PeerCertificates[0].URIs[0].String(), "h2 "+identity("shop", "waypoint"); got != want {
		t.Errorf("web sees %s, want %s", got, want)
	}
	if got, want := <-seen, "h2 "+identity("web", "waypoint"); got != want {
		t.Errorf("shop sees %s, want %s", got, want)
	}
}

// The connections are opened, and asked on, before the count begins.
func TestPacedLoad(t *testing.T) {
	backend, err := serveCanned(small, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer backend.close()
	p := paced{conns: 3, rate: 1000}
	lines, err := p.open(t.Context(), "http://"+backend.ln.Addr().String()+"/")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.send(t.Context(), lines, time.Now(), 20*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	var counts []int
	for _, l := range lines {
		counts = append(counts, len(l.took))
		if l.err != nil {
			t.Error(l.err)
		}
		l.conn.Close()
	}
	if want := []int{7, 7, 6}; !reflect.DeepEqual(counts, want) { // the opening's are not among them
		t.Errorf("answers by connection %v, want %v", counts, want)
	}
}

func TestPacedLoadTellsOfFailure(t *testing.T) {
	backend, err := serveCanned(small, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer backend.close()
	backend.answer = bytes.Replace(backend.answer, []byte("200 OK"), []byte("503 No"), 1)
	if _, err := (paced{conns: 1, rate: 1000}).run(t.Context(), &bench{}, "http://"+backend.ln.Addr().String()+"/"); err == nil {
		t.Error("answers of status 503 are none, and give no error")
	}
}
