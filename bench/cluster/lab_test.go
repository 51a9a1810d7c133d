package main

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestAllDoesAll(t *testing.T) {
	var sum atomic.Int64
	err := all(t.Context(), 1000, func(_ context.Context, i int) error { sum.Add(int64(i)); return nil })
	if err != nil || sum.Load() != 499500 {
		t.Errorf("sum %d, %v, want 499500", sum.Load(), err)
	}
}

// The first error ends it, and is what is told.
func TestAllStopsAtAnError(t *testing.T) {
	broken := errors.New("broken")
	var done atomic.Int64
	err := all(t.Context(), 1_000_000, func(ctx context.Context, i int) error {
		done.Add(1)
		if i == 3 {
			return broken
		}
		return ctx.Err()
	})
	if !errors.Is(err, broken) || done.Load() > 1000 {
		t.Errorf("%v after %d, want %v soon", err, done.Load(), broken)
	}
}

func TestOwnAddress(t *testing.T) {
	if got, err := ownAddress("https://127.0.0.1:6443"); err != nil || got != "127.0.0.1" {
		t.Errorf("ownAddress = %q, %v, want 127.0.0.1", got, err)
	}
	if _, err := ownAddress("https://[bad"); err == nil {
		t.Error("no error for what is no URL")
	}
}

func TestLimits(t *testing.T) {
	c := &corev1.Container{Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{
		corev1.ResourceMemory: resource.MustParse("1Gi"),
	}}}
	if got, want := limits(c), "no cpu limit, memory limit 1Gi"; got != want {
		t.Errorf("limits = %q, want %q", got, want)
	}
}

// Lines that are no arrivals are passed over; what nobody takes is dropped.
func TestReadArrivals(t *testing.T) {
	found := make(chan arrival, 2)
	readArrivals(strings.NewReader(`{"version":"a","pods":3,"first":"2026-11-21T10:00:00Z","last":"2026-11-21T10:00:01Z"}
not JSON
{"version":"b"}
{"version":"c"}
`), found)
	a, b := <-found, <-found
	if a.Version != "a" || a.Pods != 3 || a.Last.Sub(a.First).Seconds() != 1 || b.Version != "b" || len(found) != 0 {
		t.Errorf("%+v, %+v, and %d more", a, b, len(found))
	}
}
