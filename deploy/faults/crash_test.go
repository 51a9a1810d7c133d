package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestProcessesOfAContainer(t *testing.T) {
	proc := t.TempDir()
	for pid, cgroup := range map[string]string{
		"7":    "0::/k8s.io/c0ffee\n",
		"8":    "9:name=systemd:/k8s.io/c0ffee\n8:pids:/k8s.io/c0ffee\n",
		"9":    "0::/k8s.io/decaf\n",
		"10":   "0::/\n",
		"self": "0::/k8s.io/c0ffee\n",
	} {
		dir := filepath.Join(proc, pid)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup"), []byte(cgroup), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := processes(proc, "c0ffee")
	if slices.Sort(got); err != nil || !slices.Equal(got, []int{7, 8}) {
		t.Errorf("processes %v, %v; want 7 and 8", got, err)
	}
}
