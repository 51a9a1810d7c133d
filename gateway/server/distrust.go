package server

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"

	"fairway.dev/tlsmgr/identity"
)

// distrustEvery is the least time between two lines at the level that people read
// about peers that are not believed: anybody can connect, and be one.
const distrustEvery = time.Second

// telling has the log say which peers of c are not believed, and why: who the peer
// has to be, and who it says that it is.
func (s *Server) telling(c *tls.Config, what, want string) *tls.Config {
	verify := c.VerifyConnection
	c.VerifyConnection = func(state tls.ConnectionState) error {
		err := verify(state)
		if err != nil {
			s.distrust(what, want, state, err)
		}
		return err
	}
	return c
}

// distrust logs that a peer is not believed.
func (s *Server) distrust(what, want string, state tls.ConnectionState, why error) {
	facts := []any{"reason", why}
	if want != "" {
		facts = append(facts, "wanted", want)
	}
	if len(state.PeerCertificates) > 0 {
		if id, err := identity.OfCertificate(state.PeerCertificates[0]); err == nil {
			facts = append(facts, "claimed", id)
		}
	}
	level, now, last := slog.LevelWarn, time.Now().UnixNano(), s.distrusted.Load()
	if last != 0 && now-last < int64(distrustEvery) || !s.distrusted.CompareAndSwap(last, now) {
		level = slog.LevelDebug
	}
	s.options.Log.Log(context.Background(), level, what, facts...)
}
