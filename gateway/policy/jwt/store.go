package jwt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"fairway.dev/routing"
)

const (
	defaultTimeout = 5 * time.Second
	maxAnswer      = 1 << 20
	maxRedirects   = 3
)

// Options are what a Store may be told. The zero Options are ready to use.
type Options struct {
	// Fetch gets what is at a URL. If nil, HTTP does, with up to 3 redirects
	// and none from https to http.
	Fetch func(ctx context.Context, url string) ([]byte, error)

	// Log hears of keys that cannot be had. If nil, nobody does.
	Log *slog.Logger

	// Now is the clock. If nil, time.Now.
	Now func() time.Time

	// Go runs f in a goroutine of its own, or later. If nil, a go statement does.
	Go func(f func())
}

// A Store has the keys that are fetched, for all rules of the process.
type Store struct {
	o      Options
	ctx    context.Context
	cancel context.CancelFunc
	busy   sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	sources map[origin]*source
}

// NewStore returns a Store without keys. Close ends it.
func NewStore(o Options) *Store {
	if o.Fetch == nil {
		o.Fetch = newFetcher(&http.Transport{IdleConnTimeout: 30 * time.Second, MaxIdleConns: 8, ForceAttemptHTTP2: true})
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Go == nil {
		o.Go = func(f func()) { go f() }
	}
	s := &Store{o: o, sources: map[origin]*source{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Close ends all fetches and waits for them. Tokens whose keys are there hold on.
func (s *Store) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.busy.Wait()
}

// Retain forgets the keys that none of the rules needs.
func (s *Store) Retain(needed []*Rules) {
	keep := map[*source]bool{}
	for _, r := range needed {
		for _, one := range r.list {
			keep[one.source] = true
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for from, src := range s.sources {
		if !keep[src] {
			delete(s.sources, from)
		}
	}
}

// source returns where a rule's keys are fetched, nil where there is no such
// place.
func (s *Store) source(r *routing.JWTRule) *source {
	from := originOf(r)
	if from.issuer == "" && from.url == "" {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.sources[from]
	if known == nil {
		known = &source{store: s, from: from, timeout: r.Timeout}
		if known.timeout <= 0 {
			known.timeout = defaultTimeout
		}
		s.sources[from] = known
	}
	return known
}

// start runs f, unless the Store is closed.
func (s *Store) start(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.busy.Add(1)
	s.o.Go(func() {
		defer s.busy.Done()
		f()
	})
	return true
}

func (s *Store) complain(from origin, err error) {
	if s.o.Log != nil && s.ctx.Err() == nil {
		s.o.Log.Warn("keys of tokens are not there", "origin", from.url+from.issuer, "err", err)
	}
}

// fetchKeys gets a key set.
func (s *Store) fetchKeys(from origin, timeout time.Duration) (*keySet, error) {
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	defer cancel()
	if from.url == "" {
		var err error
		if from.url, err = s.discover(ctx, from.issuer); err != nil {
			return nil, err
		}
	}
	b, err := s.get(ctx, from.url)
	if err != nil {
		return nil, err
	}
	return parseKeys(b)
}

// discover finds out where an issuer has its keys (OpenID Connect Discovery 1.0
// sections 4 and 4.3).
func (s *Store) discover(ctx context.Context, issuer string) (string, error) {
	b, err := s.get(ctx, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return "", err
	}
	var known map[string]any // whose names are compared as they are
	if err := json.Unmarshal(b, &known); err != nil {
		return "", fmt.Errorf("configuration of issuer %s: %w", issuer, err)
	}
	if says, _ := known["issuer"].(string); says != issuer {
		return "", fmt.Errorf("configuration of issuer %s is of %q", issuer, says)
	}
	at, _ := known["jwks_uri"].(string)
	if at == "" {
		return "", fmt.Errorf("configuration of issuer %s: no jwks_uri", issuer)
	}
	return at, nil
}

func (s *Store) get(ctx context.Context, at string) ([]byte, error) {
	u, err := url.Parse(at)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("keys at %q: want a URL with http or https", at)
	}
	b, err := s.o.Fetch(ctx, at)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", at, err)
	}
	return b, nil
}

// newFetcher fetches by HTTP.
func newFetcher(over http.RoundTripper) func(context.Context, string) ([]byte, error) {
	client := &http.Client{
		Transport: over,
		CheckRedirect: func(to *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return fmt.Errorf("%d redirects: want at most %d", len(via), maxRedirects)
			}
			if via[0].URL.Scheme == "https" && to.URL.Scheme != "https" {
				return errors.New("redirect from https to http")
			}
			return nil
		},
	}
	return func(ctx context.Context, at string) ([]byte, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Accept", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("status %d: want 200", resp.StatusCode)
		}
		b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
		if err == nil && len(b) > maxAnswer {
			err = fmt.Errorf("answer of more than %d bytes", maxAnswer)
		}
		return b, err
	}
}
