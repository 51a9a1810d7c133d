package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A load sends requests to url and says how it went.
type load interface {
	run(ctx context.Context, b *bench, url string) (outcome, error)
}

// An outcome is what a load saw.
type outcome struct {
	requests int
	failed   int
	seconds  float64
	p50, p99 time.Duration // 0 where the load does not tell
}

// wrk is HTTP/1.1 as fast as it goes.
type wrk struct {
	conns int
	close bool // a connection for each request
}

func (w wrk) run(ctx context.Context, b *bench, url string) (outcome, error) {
	args := []string{"-t1", fmt.Sprint("-c", w.conns), fmt.Sprint("-d", int(roundTime.Seconds()), "s"), "--latency"}
	if w.close {
		args = append(args, "-H", "Connection: close")
	}
	text, err := b.onClientCore(ctx, "wrk", append(args, url)...)
	if err != nil {
		return outcome{}, err
	}
	return parseWrk(text)
}

var (
	wrkRequests = regexp.MustCompile(`(?m)^\s*(\d+) requests in ([0-9.]+)(ms|s|m),`)
	wrkP50      = regexp.MustCompile(`(?m)^\s*50%\s+([0-9.]+)(us|ms|s)`)
	wrkP99      = regexp.MustCompile(`(?m)^\s*99%\s+([0-9.]+)(us|ms|s)`)
	wrkErrors   = regexp.MustCompile(`Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
	wrkStatus   = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`)
)

func parseWrk(text string) (o outcome, err error) {
	m := wrkRequests.FindStringSubmatch(text)
	if m == nil {
		return o, fmt.Errorf("wrk printed no number of requests: %q", text)
	}
	o.requests, _ = strconv.Atoi(m[1])
	d, err := time.ParseDuration(m[2] + m[3])
	if err != nil {
		return o, err
	}
	o.seconds = d.Seconds()
	o.p50, o.p99 = wrkDuration(wrkP50, text), wrkDuration(wrkP99, text)
	if m := wrkErrors.FindStringSubmatch(text); m != nil {
		for _, n := range m[1:] {
			v, _ := strconv.Atoi(n)
			o.failed += v
		}
	}
	if m := wrkStatus.FindStringSubmatch(text); m != nil {
		v, _ := strconv.Atoi(m[1])
		o.failed += v
	}
	return o, nil
}

func wrkDuration(re *regexp.Regexp, text string) time.Duration {
	if m := re.FindStringSubmatch(text); m != nil {
		d, _ := time.ParseDuration(m[1] + m[2])
		return d
	}
	return 0
}

// h2load is HTTP/2, or HTTP/1.1 at a fixed rate.
type h2load struct {
	conns, streams int
	http1          bool
	rate           int // requests a second, all connections together; 0 means as fast as it goes
}

func (h h2load) run(ctx context.Context, b *bench, url string) (outcome, error) {
	args := []string{"-t1", fmt.Sprint("-c", h.conns), fmt.Sprint("-m", h.streams), "-w30", "-W30"}
	if h.http1 {
		args = append(args, "--h1")
	}
	logFile := ""
	if h.rate > 0 {
		logFile = b.path("h2load.log")
		os.Remove(logFile)
		args = append(args, "--rps", fmt.Sprint(float64(h.rate)/float64(h.conns)), "--log-file", logFile,
			"-n", fmt.Sprint(h.rate*int(roundTime.Seconds())))
	} else {
		args = append(args, "-D", fmt.Sprint(int(roundTime.Seconds())))
	}
	text, err := b.onClientCore(ctx, "h2load", append(args, url)...)
	if err != nil {
		return outcome{}, err
	}
	o, err := parseH2load(text)
	if err == nil && logFile != "" {
		o.p50, o.p99, err = percentiles(logFile)
	}
	return o, err
}

var (
	h2loadTime     = regexp.MustCompile(`finished in ([0-9.]+)(ms|s|m)`)
	h2loadRequests = regexp.MustCompile(`requests: \d+ total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed`)
)

func parseH2load(text string) (o outcome, err error) {
	m, t := h2loadRequests.FindStringSubmatch(text), h2loadTime.FindStringSubmatch(text)
	if m == nil || t == nil {
		return o, fmt.Errorf("h2load printed no result: %q", text)
	}
	o.requests, _ = strconv.Atoi(m[1])
	o.failed, _ = strconv.Atoi(m[2])
	d, err := time.ParseDuration(t[1] + t[2])
	o.seconds = d.Seconds()
	return o, err
}

// percentiles reads h2load's log: start, status and microseconds, by tabs.
func percentiles(path string) (p50, p99 time.Duration, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, 0, err
	}
	var all []int
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 {
			n, err := strconv.Atoi(f[2])
			if err != nil {
				return 0, 0, fmt.Errorf("h2load's log: %w", err)
			}
			all = append(all, n)
		}
	}
	if len(all) == 0 {
		return 0, 0, errors.New("h2load logged nothing")
	}
	slices.SortFunc(all, cmp.Compare)
	at := func(q float64) time.Duration {
		return time.Duration(all[int(q*float64(len(all)-1))]) * time.Microsecond
	}
	return at(0.50), at(0.99), nil
}

// idle opens connections, asks once on each, and leaves them open while the
// bench looks at the memory of those that run.
type idle struct{ conns int }

func (i idle) run(ctx context.Context, b *bench, url string) (outcome, error) {
	before := b.memory()
	started := time.Now()
	var wg sync.WaitGroup
	failures := make(chan error, i.conns)
	limit := make(chan struct{}, 64)
	var clients []*http.Client
	for range i.conns {
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: b.roots, ServerName: host}}}
		clients = append(clients, c)
		wg.Add(1)
		go func() {
			defer wg.Done()
			limit <- struct{}{}
			defer func() { <-limit }()
			if err := getOnce(ctx, c, url); err != nil {
				failures <- err
			}
		}()
	}
	wg.Wait()
	close(failures)
	time.Sleep(idleSettle)
	b.idleBytes = float64(b.memory()-before) / float64(i.conns)
	for _, c := range clients {
		c.CloseIdleConnections()
	}
	o := outcome{requests: i.conns, failed: len(failures), seconds: time.Since(started).Seconds()}
	if o.failed > 0 {
		return o, fmt.Errorf("%d of %d connections failed: %w", o.failed, i.conns, <-failures)
	}
	return o, nil
}

// idleSettle lets a proxy with a garbage collector come to rest.
const idleSettle = 2 * time.Second

func getOnce(ctx context.Context, c *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Host = host
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s", resp.Status)
	}
	return err
}

// onClientCore runs a load generator on the first core, which it shares with
// the backend, and returns what it prints.
func (b *bench) onClientCore(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "taskset", append([]string{"-c", "0", name}, args...)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out.String())
	}
	return out.String(), nil
}
