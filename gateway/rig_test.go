package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/template"
	"time"
)

// binary is the program under test, built once: with the race detector where
// there is the C compiler that it wants.
var binary string

// builtBinary is where tests that start the test binary anew say where it is.
const builtBinary = "FAIRWAY_E2E_BINARY"

func TestMain(m *testing.M) {
	if binary = os.Getenv(builtBinary); binary != "" {
		os.Exit(m.Run())
	}
	dir, err := os.MkdirTemp("", "fairway-e2e-")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "fairway")
	args := []string{"build", "-o", binary}
	if cgo, err := exec.Command("go", "env", "CGO_ENABLED").Output(); err == nil && strings.TrimSpace(string(cgo)) == "1" {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, ".")...)
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// patience is how long anything in these tests may take before it has failed.
const patience = 30 * time.Second

// A rig is the real binary, serving a folder of manifests.
type rig struct {
	t     *testing.T
	dir   string // of the manifests
	state string
	vars  map[string]any // for the manifests' templates
	cmd   *exec.Cmd
	admin string
	lines chan string   // of its log
	wrote chan struct{} // something to the access log
	ended chan error

	mu  sync.Mutex
	log bytes.Buffer // all of it, for when a test fails
	out bytes.Buffer // the access log
}

// startRig serves manifests: file names and their texts, which are templates
// over vars and over HTTP and HTTPS, two free ports.
func startRig(t *testing.T, vars map[string]any, manifests map[string]string, args ...string) *rig {
	t.Helper()
	r := newRig(t)
	for k, v := range vars {
		r.vars[k] = v
	}
	for name, text := range manifests {
		r.write(name, text)
	}
	r.launch(append([]string{"-manifests", r.dir, "-bind", "127.0.0.1"}, args...)...)
	r.await("configuration applied")
	return r
}

func newRig(t *testing.T) *rig {
	t.Helper()
	return &rig{
		t: t, dir: t.TempDir(), state: t.TempDir(), lines: make(chan string, 1000), ended: make(chan error, 1), wrote: make(chan struct{}, 1),
		vars: map[string]any{"HTTP": freePort(t), "HTTPS": freePort(t)},
	}
}

// launch runs `fairway serve` until the test ends.
func (r *rig) launch(args ...string) {
	t := r.t
	t.Helper()
	r.cmd = exec.Command(binary, append([]string{"serve", "-admin", "127.0.0.1:0", "-state", r.state, "-log-level", "debug"}, args...)...)
	stderr, err := r.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	// Tests look at memory: let it be what is held, not what waits to be collected.
	r.cmd.Env = append(os.Environ(), "GOGC=100")
	r.cmd.Stdout = &lockedWriter{&r.mu, &r.out, r.wrote}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go r.read(stderr)
	t.Cleanup(r.kill)
	_, r.admin, _ = strings.Cut(r.await("admin port open"), "listener=")
}

type lockedWriter struct {
	mu    *sync.Mutex
	w     io.Writer
	wrote chan struct{} // of capacity 1
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.wrote <- struct{}{}:
	default:
	}
	return l.w.Write(p)
}

func (r *rig) read(stderr io.Reader) {
	s := bufio.NewScanner(stderr)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		r.mu.Lock()
		r.log.WriteString(s.Text() + "\n")
		r.mu.Unlock()
		select {
		case r.lines <- s.Text():
		default: // nobody waits for lines
		}
	}
	close(r.lines)
	r.ended <- r.cmd.Wait()
}

// kill ends the program, and prints its log where the test failed.
func (r *rig) kill() {
	if r.cmd.ProcessState == nil {
		r.cmd.Process.Kill()
		<-r.ended
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.t.Failed() {
		r.t.Logf("the gateway's log:\n%s", r.log.String())
	}
	if strings.Contains(r.log.String(), "DATA RACE") {
		r.t.Error("the race detector found something in the gateway")
	}
}

// await returns the next line of the log that has text in it.
func (r *rig) await(text string) string {
	r.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case line, ok := <-r.lines:
			if !ok {
				r.t.Fatalf("the gateway ended before it logged %q", text)
			}
			if strings.Contains(line, text) {
				return line
			}
		case <-deadline:
			r.t.Fatalf("the gateway did not log %q", text)
		}
	}
}

// awaitLogged waits until the log has a text, since the program began.
func (r *rig) awaitLogged(text string) {
	r.t.Helper()
	deadline := time.After(patience)
	for {
		r.mu.Lock()
		log := r.log.String()
		r.mu.Unlock()
		if strings.Contains(log, text) {
			return
		}
		select {
		case <-r.lines:
		case <-deadline:
			r.t.Fatalf("the gateway did not log %q", text)
		}
	}
}

// write puts a manifest in the folder as editors do: whole, by a rename.
func (r *rig) write(name, text string) {
	r.t.Helper()
	var b bytes.Buffer
	if err := template.Must(template.New(name).Parse(text)).Execute(&b, r.vars); err != nil {
		r.t.Fatal(err)
	}
	path := filepath.Join(r.dir, name)
	if err := os.WriteFile(path+".tmp", b.Bytes(), 0o644); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		r.t.Fatal(err)
	}
}

// edit writes a manifest and waits until it is in force.
func (r *rig) edit(name, text string) {
	r.t.Helper()
	r.drainLines()
	r.write(name, text)
	r.await("configuration applied")
}

func (r *rig) drainLines() {
	for {
		select {
		case _, ok := <-r.lines:
			if !ok {
				r.t.Fatal("the gateway has ended")
			}
		default:
			return
		}
	}
}

func (r *rig) addr() string { return fmt.Sprint("127.0.0.1:", r.vars["HTTP"]) }

func (r *rig) url(path string) string { return "http://" + r.addr() + path }

// client returns a client that trusts the local CA and takes every name to
// be the gateway's.
func (r *rig) client() *http.Client {
	r.t.Helper()
	roots := x509.NewCertPool()
	if pem, err := os.ReadFile(filepath.Join(r.state, "ca.crt")); err == nil {
		roots.AppendCertsFromPEM(pem)
	}
	transport := &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 100,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			return (&net.Dialer{}).DialContext(ctx, network, "127.0.0.1:"+port)
		},
	}
	r.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

// An answer is a response that was read to its end.
type answer struct {
	*http.Response
	body string
}

// get asks for http://host/path, or any URL with its port.
func (r *rig) get(c *http.Client, url string, headers ...string) (answer, error) {
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, url, nil)
	if err != nil {
		return answer{}, err
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
		if name == "Host" {
			req.Host = value
		}
	}
	return do(c, req)
}

func do(c *http.Client, req *http.Request) (answer, error) {
	resp, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp, string(body)}, err
}

// want asks until it has an answer, and fails the test unless it has the status.
func (r *rig) want(url string, status int, headers ...string) answer {
	r.t.Helper()
	a, err := r.get(r.client(), url, headers...)
	if err != nil {
		r.t.Fatalf("%s: %v", url, err)
	}
	if a.StatusCode != status {
		r.t.Errorf("%s %v: status %d, want %d: %s", url, headers, a.StatusCode, status, a.body)
	}
	return a
}

// page returns a page of the admin port.
func (r *rig) page(path string) string {
	r.t.Helper()
	a, err := r.get(http.DefaultClient, "http://"+r.admin+path)
	if err != nil {
		r.t.Fatal(err)
	}
	return a.body
}

// terminate sends SIGTERM and returns how the program ended.
func (r *rig) terminate() error {
	r.t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		r.t.Fatal(err)
	}
	return r.end()
}

func (r *rig) end() error {
	r.t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(patience):
		r.t.Fatal("the gateway did not end")
		return nil
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

// startBackend serves h over HTTP/1.1 and h2c, and returns its port.
func startBackend(t *testing.T, h http.HandlerFunc) int {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return int(netip.MustParseAddrPort(s.Listener.Addr().String()).Port())
}

// named answers with a name and what it was asked.
func named(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Backend", name)
		fmt.Fprintf(w, "%s %s %s %s", name, r.Method, r.Host, r.URL.RequestURI())
	}
}

// edge is a Gateway with a plain and a TLS listener.
const edge = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  gatewayClassName: fairway
  listeners:
  - {name: http, port: {{.HTTP}}, protocol: HTTP}
  - name: https
    port: {{.HTTPS}}
    protocol: HTTPS
    hostname: "*.example.com"
    tls: {options: {fairway.dev/certificate: local-ca}}
`

// service is a Service and its EndpointSlice on loopback.
func service(name string, ports ...int) string { return serviceWith(name, "", ports...) }

func serviceWith(name, appProtocol string, ports ...int) string {
	var b strings.Builder
	if appProtocol != "" {
		appProtocol = ", appProtocol: " + appProtocol
	}
	fmt.Fprintf(&b, `---
apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: shop}
spec: {ports: [{name: web, port: 80%[2]s}]}
`, name, appProtocol)
	for i, port := range ports {
		fmt.Fprintf(&b, `---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s-%[2]d, namespace: shop, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{name: web, port: %[3]d}]
endpoints: [{addresses: [127.0.0.1]}]
`, name, i, port)
	}
	return b.String()
}

// route is an HTTPRoute of the edge Gateway with the given rules.
func route(name, hostname, rules string) string {
	return fmt.Sprintf(`---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %s, namespace: shop}
spec:
  parentRefs: [{name: edge}]
  hostnames: [%s]
  rules:
%s
`, name, hostname, rules)
}
