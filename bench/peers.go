package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"
	"time"
)

//go:embed peers/*.tmpl
var templates embed.FS

// host is what requests ask for, and what the certificate names.
const host = "localhost"

// A setup is what a peer's configuration is made of.
type setup struct {
	Dir         string // for its files
	Port        int
	TLS         bool
	Chain, Key  string // PEM files
	Both        string // the two in one file, as HAProxy wants them
	BackendPort int
	H2C         bool
	Workers     int
	Host        string
	Routes      []int      // numbers of the further routes
	Prior       bool       // speaks nothing but HTTP/2 by prior knowledge
	Stream      bool       // hands bytes on
	Addr        string     // where it listens; empty is 127.0.0.1
	Mesh        *meshSetup // of a waypoint
}

// ChainData and KeyData are the files in base64, as a Secret holds them.
func (s setup) ChainData() (string, error) { return base64File(s.Chain) }
func (s setup) KeyData() (string, error)   { return base64File(s.Key) }

func base64File(path string) (string, error) {
	data, err := os.ReadFile(path)
	return base64.StdEncoding.EncodeToString(data), err
}

func (s setup) addr() string { return cmp.Or(s.Addr, "127.0.0.1") }

// A peer is a proxy that can be measured.
type peer struct {
	name string
	// files are templates, by the name of the file that each becomes; streams
	// those for handing bytes on.
	files, streams map[string]string
	// command starts the peer in the foreground; binary is from tools.
	command func(binary string, s setup) *exec.Cmd
}

var peers = []peer{
	{"fairway", map[string]string{"manifests/all.yaml": "fairway.yaml.tmpl"}, map[string]string{"manifests/all.yaml": "fairway-stream.yaml.tmpl"}, func(binary string, s setup) *exec.Cmd {
		cmd := exec.Command(binary, "serve", "-manifests", filepath.Join(s.Dir, "manifests"), "-bind", s.addr(),
			"-admin", "127.0.0.1:0", "-state", filepath.Join(s.Dir, "state"), "-access-log", filepath.Join(s.Dir, "access.log"))
		cmd.Env = append(os.Environ(), fmt.Sprint("GOMAXPROCS=", s.Workers))
		return cmd
	}},
	{"nginx", map[string]string{"nginx.conf": "nginx.conf.tmpl"}, map[string]string{"nginx.conf": "nginx-stream.conf.tmpl"}, func(binary string, s setup) *exec.Cmd {
		return exec.Command(binary, "-p", s.Dir, "-c", filepath.Join(s.Dir, "nginx.conf"), "-e", filepath.Join(s.Dir, "error.log"))
	}},
	{"haproxy", map[string]string{"haproxy.cfg": "haproxy.cfg.tmpl"}, map[string]string{"haproxy.cfg": "haproxy-stream.cfg.tmpl"}, func(binary string, s setup) *exec.Cmd {
		return exec.Command(binary, "-db", "-f", filepath.Join(s.Dir, "haproxy.cfg"))
	}},
	{"caddy", map[string]string{"Caddyfile": "Caddyfile.tmpl"}, nil, func(binary string, s setup) *exec.Cmd {
		cmd := exec.Command(binary, "run", "--config", filepath.Join(s.Dir, "Caddyfile"), "--adapter", "caddyfile")
		cmd.Env = append(os.Environ(), fmt.Sprint("GOMAXPROCS=", s.Workers), "HOME="+s.Dir)
		return cmd
	}},
	{"traefik", map[string]string{"static.yaml": "traefik.yaml.tmpl", "dynamic.yaml": "traefik-dynamic.yaml.tmpl"}, nil, func(binary string, s setup) *exec.Cmd {
		cmd := exec.Command(binary, "--configfile="+filepath.Join(s.Dir, "static.yaml"))
		cmd.Env = append(os.Environ(), fmt.Sprint("GOMAXPROCS=", s.Workers))
		return cmd
	}},
}

// A proxy is a peer that runs.
type proxy struct {
	peer string
	cmd  *exec.Cmd
	out  *os.File
	done chan struct{}
}

// start runs a peer on the cores of its own and waits until it listens.
func (b *bench) start(ctx context.Context, p peer, s setup) (*proxy, error) {
	files := p.files
	if s.Stream {
		files = p.streams
	}
	for file, name := range files {
		t, err := template.ParseFS(templates, "peers/"+name)
		if err != nil {
			return nil, err
		}
		var text strings.Builder
		if err := t.Execute(&text, s); err != nil {
			return nil, err
		}
		rel, err := filepath.Rel(b.dir, filepath.Join(s.Dir, file))
		if err != nil {
			return nil, err
		}
		if _, err := b.write(rel, text.String()); err != nil {
			return nil, err
		}
	}
	out, err := os.Create(filepath.Join(s.Dir, "output.log"))
	if err != nil {
		return nil, err
	}
	cmd := p.command(b.tools[p.name].path, s)
	cores := "1"
	if s.Workers > 1 {
		cores = "0-" + fmt.Sprint(s.Workers-1)
	}
	// taskset becomes the proxy: the process id stays.
	taskset, err := exec.LookPath("taskset")
	if err != nil {
		return nil, err
	}
	cmd.Args = append([]string{"taskset", "-c", cores}, cmd.Args...)
	cmd.Path = taskset
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	run := &proxy{peer: p.name, cmd: cmd, out: out, done: make(chan struct{})}
	go func() { cmd.Wait(); close(run.done) }()
	if err := run.await(ctx, s); err != nil {
		run.stop()
		text, _ := os.ReadFile(out.Name())
		return nil, fmt.Errorf("%s: %w: %s", p.name, err, lastLines(string(text), 20))
	}
	return run, nil
}

// await waits until the proxy answers: some listen before they know their routes.
func (p *proxy) await(ctx context.Context, s setup) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	scheme := "http"
	if s.TLS {
		scheme = "https"
	}
	transport := &http.Transport{
		// Nothing is measured yet, and the bench made the certificate.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: host}, ForceAttemptHTTP2: true,
	}
	if s.Prior {
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	defer transport.CloseIdleConnections()
	for {
		err := getOnce(ctx, &http.Client{Transport: transport}, fmt.Sprintf("%s://%s:%d/", scheme, s.addr(), s.Port))
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("does not answer: %w", err)
		case <-p.done:
			return errors.New("ended at once")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop ends the proxy and all of its processes.
func (p *proxy) stop() {
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(3 * time.Second):
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
	}
	p.out.Close()
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
