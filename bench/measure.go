package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// bench is what all scenarios share.
type bench struct {
	dir   string
	tools map[string]tool
	roots *x509.CertPool
	small *canned
	large *canned
	tls   *canned // small over TLS
	h2c   *proxy  // nginx as an h2c backend
	h2cAt int

	authority *authority // of the mesh
	stranger  *stranger  // in it, where a way has one

	running   []*proxy        // under measurement, from the client on
	began     []time.Duration // what each had used when the count began
	idleBytes float64
}

// A sample is one round of one peer.
type sample struct {
	Scenario  string        `json:"scenario"`
	Peer      string        `json:"peer"`
	Round     int           `json:"round"`
	CPU       float64       `json:"cpu_us_per_request"`
	Rate      float64       `json:"requests_per_second"`
	P50       time.Duration `json:"p50_ns"`
	P99       time.Duration `json:"p99_ns"`
	Memory    int64         `json:"rss_bytes"`
	IdleBytes float64       `json:"bytes_per_idle_connection,omitempty"`
	Gateways  []float64     `json:"cpu_us_per_request_of_each,omitempty"` // on a way, from the client on
	Failed    int           `json:"failed"`
}

func newBench(dir string, tools map[string]tool) (*bench, error) {
	b := &bench{dir: dir, tools: tools}
	if err := b.makeCertificate(); err != nil {
		return nil, err
	}
	var err error
	if b.authority, err = newAuthority(); err != nil {
		return nil, err
	}
	if b.small, err = serveCanned(small, nil); err != nil {
		return nil, err
	}
	if b.large, err = serveCanned(large, nil); err != nil {
		return nil, err
	}
	pair, err := tls.LoadX509KeyPair(b.path("chain.pem"), b.path("key.pem"))
	if err != nil {
		return nil, err
	}
	b.tls, err = serveCanned(small, &tls.Config{Certificates: []tls.Certificate{pair}})
	return b, err
}

func (b *bench) close() {
	b.small.close()
	b.large.close()
	b.tls.close()
	if b.h2c != nil {
		b.h2c.stop()
	}
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// measure runs a scenario: each peer once a round, in turn, so that what
// changes on the machine meets all of them.
func (b *bench) measure(ctx context.Context, s scenario, rounds int) ([]result, error) {
	fmt.Fprintf(os.Stderr, "%s: %s\n", s.name, s.about)
	collected := map[string][]sample{}
	for round := range rounds {
		for _, p := range b.runners(s) {
			x, err := p.round(ctx)
			if err != nil && p.optional && ctx.Err() == nil {
				fmt.Fprintf(os.Stderr, "  round %d without %s: %v\n", round+1, p.label, err)
				continue
			}
			if err != nil {
				return nil, err
			}
			x.Scenario, x.Round, x.Peer = s.name, round+1, p.label
			collected[p.label] = append(collected[p.label], x)
			fmt.Fprintf(os.Stderr, "  round %d %-11s %7.1f us/request %8.0f requests/s\n", x.Round, p.label, x.CPU, x.Rate)
		}
	}
	if s.ways {
		return summarizeWays(s, collected), nil
	}
	return summarize(s, collected), nil
}

// A runner is who runs in a scenario, under which label.
type runner struct {
	label    string
	optional bool // the others are measured where it fails
	round    func(ctx context.Context) (sample, error)
}

// runners are those who take part in each round of s.
func (b *bench) runners(s scenario) []runner {
	var list []runner
	_, ok := b.tools["fairway"]
	if ok && s.ways {
		for _, w := range ways {
			if w.fits(s) {
				list = append(list, runner{w.name, false, func(ctx context.Context) (sample, error) { return b.takeWay(ctx, s, w) }})
			}
		}
		return list
	}
	for _, p := range peers {
		if _, ok := b.tools[p.name]; ok && s.takesPart(p) {
			list = append(list, runner{p.name, p.name != "fairway", func(ctx context.Context) (sample, error) { return b.round(ctx, s, p) }})
		}
	}
	if ok && s.base != "" {
		one := s
		one.routes, one.cores = 0, 0
		list = append(list, runner{s.base, false, func(ctx context.Context) (sample, error) { return b.round(ctx, one, peers[0]) }})
	}
	return list
}

// round starts a peer, warms it up, and measures it once.
func (b *bench) round(ctx context.Context, s scenario, p peer) (sample, error) {
	set, err := b.setup(ctx, s, p)
	if err != nil {
		return sample{}, err
	}
	run, err := b.start(ctx, p, set)
	if err != nil {
		return sample{}, err
	}
	b.running = []*proxy{run}
	defer b.stop()
	url := fmt.Sprintf("http://%s:%d/", host, set.Port)
	if s.tls {
		url = fmt.Sprintf("https://%s:%d/", host, set.Port)
	}
	if err := b.warm(ctx, s, url); err != nil {
		return sample{}, fmt.Errorf("%s: %w", p.name, err)
	}
	x, err := b.sample(ctx, s, url)
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w", p.name, err)
	}
	return x, nil
}

// begin has the count of CPU time begin now. A load calls it again once it is
// ready, where getting there is not to be counted.
func (b *bench) begin() {
	b.began = b.began[:0]
	for _, run := range b.running {
		b.began = append(b.began, run.cpu())
	}
}

// stop ends those that run.
func (b *bench) stop() {
	for _, run := range b.running {
		run.stop()
	}
	b.running = nil
}

// memory returns what those that run hold, in bytes.
func (b *bench) memory() int64 {
	var total int64
	for _, run := range b.running {
		total += run.memory()
	}
	return total
}

// sample runs the load of s, and counts what it has cost those that run.
func (b *bench) sample(ctx context.Context, s scenario, url string) (sample, error) {
	b.idleBytes = 0
	b.begin()
	o, err := s.load.run(ctx, b, url)
	var used []time.Duration
	for i, run := range b.running {
		used = append(used, run.cpu()-b.began[i])
	}
	if err != nil {
		return sample{}, err
	}
	if o.requests == 0 {
		return sample{}, errors.New("nothing was answered")
	}
	x := sample{Rate: float64(o.requests) / o.seconds, P50: o.p50, P99: o.p99, Memory: b.memory(), IdleBytes: b.idleBytes, Failed: o.failed}
	for _, d := range used {
		each := float64(d.Nanoseconds()) / 1e3 / float64(o.requests)
		x.CPU += each
		if s.ways {
			x.Gateways = append(x.Gateways, each)
		}
	}
	return x, nil
}

// warm sends a second of the scenario's own traffic, or some of it.
func (b *bench) warm(ctx context.Context, s scenario, url string) error {
	var err error
	switch l := s.load.(type) {
	case wrk:
		_, err = b.onClientCore(ctx, "wrk", "-t1", fmt.Sprint("-c", l.conns), "-d1s", url)
	case paced:
		_, err = b.onClientCore(ctx, "wrk", "-t1", fmt.Sprint("-c", l.conns), "-d1s", url)
	case h2load:
		args := []string{"-t1", "-c8", "-m8", "-D1"}
		if l.http1 {
			args = append(args, "--h1")
		}
		_, err = b.onClientCore(ctx, "h2load", append(args, url)...)
	}
	return err
}

func (b *bench) setup(ctx context.Context, s scenario, p peer) (setup, error) {
	port, err := freePort()
	if err != nil {
		return setup{}, err
	}
	dir, err := os.MkdirTemp(b.dir, p.name+"-")
	if err != nil {
		return setup{}, err
	}
	set := setup{
		Dir: dir, Port: port, TLS: s.tls, Stream: s.stream, Host: host, Workers: max(1, s.cores),
		Chain: b.path("chain.pem"), Key: b.path("key.pem"), Both: b.path("both.pem"),
	}
	for i := range max(0, s.routes-1) {
		set.Routes = append(set.Routes, i)
	}
	switch s.backend {
	case smallHTTP1, largeHTTP1:
		set.BackendPort = b.http1(s).port()
	case smallTLS:
		set.BackendPort = b.tls.port()
	case smallH2C:
		set.H2C = true
		if set.BackendPort, err = b.startH2C(ctx); err != nil {
			return setup{}, err
		}
	}
	return set, nil
}

// http1 is the backend of a scenario of HTTP/1.1.
func (b *bench) http1(s scenario) *canned {
	if s.backend == largeHTTP1 {
		return b.large
	}
	return b.small
}

// startH2C starts nginx as the h2c backend, once.
func (b *bench) startH2C(ctx context.Context) (int, error) {
	if b.h2c != nil {
		return b.h2cAt, nil
	}
	port, err := freePort()
	if err != nil {
		return 0, err
	}
	dir := b.path("h2c")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, err
	}
	p := peer{name: "nginx", files: map[string]string{"nginx.conf": "h2c-backend.conf.tmpl"}, command: peers[1].command}
	b.h2c, err = b.start(ctx, p, setup{Dir: dir, Port: port, Workers: 1, Host: strings.Repeat("x", small), Prior: true})
	b.h2cAt = port
	return port, err
}

func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}

// processes returns the proxy's process and its children.
func (p *proxy) processes() []int {
	pids := []int{p.cmd.Process.Pid}
	for i := 0; i < len(pids); i++ {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pids[i]))
		for _, f := range files {
			text, _ := os.ReadFile(f)
			for _, word := range strings.Fields(string(text)) {
				if pid, err := strconv.Atoi(word); err == nil {
					pids = append(pids, pid)
				}
			}
		}
	}
	return pids
}

// cpu returns the time that the proxy's threads have run.
func (p *proxy) cpu() time.Duration {
	var total int64
	for _, pid := range p.processes() {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		for _, f := range files {
			text, _ := os.ReadFile(f)
			if fields := strings.Fields(string(text)); len(fields) > 0 {
				n, _ := strconv.ParseInt(fields[0], 10, 64)
				total += n
			}
		}
	}
	return time.Duration(total)
}

// memory returns the proxy's resident memory in bytes.
func (p *proxy) memory() int64 {
	var total int64
	for _, pid := range p.processes() {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if fields := strings.Fields(string(text)); len(fields) > 1 {
			n, _ := strconv.ParseInt(fields[1], 10, 64)
			total += n * int64(os.Getpagesize())
		}
	}
	return total
}

// makeCertificate makes the one certificate that every peer shows.
func (b *bench) makeCertificate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	chain := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	private := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
	for name, text := range map[string]string{"chain.pem": chain, "key.pem": private, "both.pem": chain + private} {
		if _, err := b.write(name, text); err != nil {
			return err
		}
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	b.roots = x509.NewCertPool()
	b.roots.AddCert(leaf)
	return nil
}
