package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// crash kills what runs in a pod's only container, which has no time to say good
// bye to anybody, and returns how long it took until the pod was ready again. The
// nodes' processes have to be this machine's: those of the cluster's own script are.
func (c *cluster) crash(ctx context.Context, namespace, pod string) (time.Duration, error) {
	out, err := c.k(ctx, "-n", namespace, "get", "pod", pod, "-o",
		"jsonpath={.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}")
	if err != nil {
		return 0, err
	}
	_, out, _ = strings.Cut(out, "://")
	id, count, _ := strings.Cut(out, " ")
	restarts, err := strconv.Atoi(count)
	if err != nil || id == "" {
		return 0, fmt.Errorf("container of pod %s/%s: %q, want its id and how often it was restarted", namespace, pod, out)
	}
	pids, err := processes("/proc", id)
	if err != nil || len(pids) == 0 {
		return 0, fmt.Errorf("processes of pod %s/%s: %v: %w", namespace, pod, pids, err)
	}
	began := time.Now()
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return 0, err
		}
	}
	for _, what := range []string{fmt.Sprintf("jsonpath={.status.containerStatuses[0].restartCount}=%d", restarts+1), "condition=Ready"} {
		if _, err := c.k(ctx, "-n", namespace, "wait", "pod/"+pod, "--for="+what, "--timeout=60s"); err != nil {
			return 0, err
		}
	}
	return time.Since(began), nil
}

// processes returns those of a container, by their control groups.
func processes(proc, container string) (pids []int, err error) {
	files, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "cgroup"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(text, []byte(container)) {
			continue // it has ended, or is another's
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}
