package server

import (
	"crypto/tls"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"fairway.dev/tlsmgr/identity"
)

// Hops are made anew when the certificate is renewed, and when other roots are
// believed; not else.
func TestHopsFollowTrust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cert *tls.Certificate
		var roots *identity.Bundle
		m := &Mesh{
			Own: func() (*tls.Certificate, error) {
				if cert == nil {
					return nil, errors.New("none yet")
				}
				return cert, nil
			},
			Roots: func() *identity.Bundle { return roots },
		}
		stop, ended, renewed := make(chan struct{}), make(chan struct{}), 0
		go func() {
			defer close(ended)
			m.follow(stop, func() { renewed++ })
		}()
		for _, tt := range []struct {
			what   string
			change func()
			want   int
		}{
			{"nothing", func() {}, 0},
			{"the first certificate", func() { cert = new(tls.Certificate) }, 1},
			{"nothing again", func() {}, 1},
			{"another certificate", func() { cert = new(tls.Certificate) }, 2},
			{"other roots", func() { roots = new(identity.Bundle) }, 3},
		} {
			synctest.Wait()
			tt.change()
			time.Sleep(trustRecheck)
			synctest.Wait()
			if renewed != tt.want {
				t.Errorf("%s: hops were made anew %d times, want %d", tt.what, renewed, tt.want)
			}
		}
		close(stop)
		<-ended
	})
}
