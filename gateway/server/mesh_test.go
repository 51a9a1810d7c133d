package server

import (
	"crypto/tls"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fairway.dev/tlsmgr/identity"
)

// Hops are made anew when the certificate is renewed, and when other roots are
// believed; not else.
func TestHopsFollowTrust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cert atomic.Pointer[tls.Certificate]
		var roots atomic.Pointer[identity.Bundle]
		var renewed atomic.Int32
		m := &Mesh{
			Own: func() (*tls.Certificate, error) {
				if c := cert.Load(); c != nil {
					return c, nil
				}
				return nil, errors.New("none yet")
			},
			Roots: roots.Load,
		}
		stop, ended := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			m.follow(stop, func() { renewed.Add(1) })
		}()
		for _, tt := range []struct {
			what   string
			change func()
			want   int
		}{
			{"nothing", func() {}, 0},
			{"the first certificate", func() { cert.Store(new(tls.Certificate)) }, 1},
			{"nothing again", func() {}, 1},
			{"another certificate", func() { cert.Store(new(tls.Certificate)) }, 2},
			{"other roots", func() { roots.Store(new(identity.Bundle)) }, 3},
		} {
			synctest.Wait()
			tt.change()
			time.Sleep(trustRecheck)
			synctest.Wait()
			if got := int(renewed.Load()); got != tt.want {
				t.Errorf("%s: hops were made anew %d times, want %d", tt.what, got, tt.want)
			}
		}
		close(stop)
		<-ended
	})
}
