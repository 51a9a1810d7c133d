package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// adminPort is where control and gateway pods show their metrics.
const adminPort = "15021"

// A process is one of control or of a gateway.
type process struct {
	title string
	pod   corev1.Pod
}

// processes are the replicas of control, the one that leads first, and an
// edge's pod.
func (l *lab) processes(ctx context.Context, e *edge) ([]process, error) {
	pods, err := l.controlPods(ctx)
	if err != nil {
		return nil, err
	}
	var list, others []process
	for _, p := range pods {
		m, err := l.metrics(ctx, &p)
		if err != nil {
			return nil, err
		}
		if m.values["fairway_control_leads"] == 1 {
			list = append(list, process{"control, leading", p})
		} else {
			others = append(others, process{"control, another replica", p})
		}
	}
	if len(list) != 1 {
		return nil, fmt.Errorf("%d replicas of control lead, want 1", len(list))
	}
	return append(append(list, others...), process{"the gateway pod", e.pod}), nil
}

// A reading is a page of metrics.
type reading struct {
	at      time.Time
	values  map[string]float64 // by name and labels
	working float64            // bytes: the pod's working set; 0 where its node does not say
}

// metrics reads the metrics of a pod, through the API server.
func (l *lab) metrics(ctx context.Context, p *corev1.Pod) (reading, error) {
	page, err := l.core.CoreV1().RESTClient().Get().Namespace(p.Namespace).Resource("pods").
		Name(p.Name + ":" + adminPort).SubResource("proxy").Suffix("metrics").DoRaw(ctx)
	if err != nil {
		return reading{}, fmt.Errorf("metrics of %s/%s: %w", p.Namespace, p.Name, err)
	}
	return reading{at: time.Now(), values: parseMetrics(page), working: l.workingSet(ctx, p)}, nil
}

// workingSet is what `kubectl top` shows as a pod's memory, and what it is
// evicted by: without the pages of the program's file, which its pods share.
func (l *lab) workingSet(ctx context.Context, p *corev1.Pod) float64 {
	page, err := l.core.CoreV1().RESTClient().Get().Resource("nodes").
		Name(p.Spec.NodeName).SubResource("proxy").Suffix("metrics", "resource").DoRaw(ctx)
	if err != nil {
		return 0
	}
	return parseMetrics(page)[fmt.Sprintf("pod_memory_working_set_bytes{namespace=%q,pod=%q}", p.Namespace, p.Name)]
}

// parseMetrics reads the text format of Prometheus: a name, perhaps with labels,
// a value, and perhaps a time. Lines that are none are left out.
func parseMetrics(page []byte) map[string]float64 {
	values := map[string]float64{}
	for s := bufio.NewScanner(bytes.NewReader(page)); s.Scan(); {
		line := s.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		end := strings.LastIndexByte(line, '}') + 1
		if end == 0 {
			end = max(0, strings.IndexByte(line, ' '))
		}
		fields := strings.Fields(line[end:])
		if len(fields) == 0 {
			continue
		}
		if v, err := strconv.ParseFloat(fields[0], 64); err == nil {
			values[line[:end]] = v
		}
	}
	return values
}

// usage is what a process has used over a while.
type usage struct {
	cores          float64 // mean
	memory, peak   float64 // MiB at the end, and the most of all readings: the working set
	resident       float64 // MiB at the end, with the program's own pages
	received, sent float64 // kB/s, over its pod's network
	allocated      float64 // kB/s, on Go's heap
	series         int     // lines on its page of metrics
}

// mebi is what memory is told in.
const mebi = 1 << 20

// observe reads the metrics of processes for a while.
func (l *lab) observe(ctx context.Context, list []process, d time.Duration) ([]usage, error) {
	end := time.NewTimer(d)
	defer end.Stop()
	return l.observeUntil(ctx, list, end.C)
}

// observeUntil reads the metrics of processes until end can be received from.
func (l *lab) observeUntil(ctx context.Context, list []process, end <-chan time.Time) ([]usage, error) {
	const every = 5 * time.Second
	first := make([]reading, len(list))
	used := make([]usage, len(list))
	tick := time.NewTicker(every)
	defer tick.Stop()
	last := false
	for round := 0; ; round++ {
		for i := range list {
			now, err := l.metrics(ctx, &list[i].pod)
			if err != nil {
				return nil, err
			}
			if round == 0 {
				first[i] = now
			}
			if err := used[i].take(first[i], now); err != nil {
				return nil, fmt.Errorf("%s: %w", list[i].title, err)
			}
		}
		if last {
			return used, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		case <-end:
			last = true
		}
	}
}

// observeWhile reads the metrics of processes until do has returned.
func (l *lab) observeWhile(ctx context.Context, list []process, do func(context.Context) error) ([]usage, error) {
	var used []usage
	end, ended := make(chan time.Time), make(chan error, 1)
	go func() {
		var err error
		used, err = l.observeUntil(ctx, list, end)
		ended <- err
	}()
	err := do(ctx)
	close(end)
	return used, errors.Join(err, <-ended)
}

// take makes u the usage between two readings.
func (u *usage) take(first, now reading) error {
	const started = "process_start_time_seconds"
	if first.values[started] != now.values[started] {
		return fmt.Errorf("it was restarted while it was measured")
	}
	u.resident = now.values["process_resident_memory_bytes"] / mebi
	u.memory = u.resident
	if now.working > 0 {
		u.memory = now.working / mebi
	}
	u.peak = max(u.peak, u.memory)
	u.series = len(now.values)
	seconds := now.at.Sub(first.at).Seconds()
	if seconds == 0 {
		return nil
	}
	rate := func(name string) float64 { return (now.values[name] - first.values[name]) / seconds }
	u.cores = rate("process_cpu_seconds_total")
	u.received = rate("process_network_receive_bytes_total") / 1000
	u.sent = rate("process_network_transmit_bytes_total") / 1000
	u.allocated = rate("go_memstats_alloc_bytes_total") / 1000
	return nil
}
