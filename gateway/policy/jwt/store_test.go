package jwt

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"fairway.dev/routing"
)

// A depot is a Store whose fetches are made when the test says so.
type depot struct {
	*Store
	now   time.Time
	at    map[string]string // what is at a URL; nothing: it cannot be had
	asked []string
	going []func()
}

func newDepot(t *testing.T) *depot {
	d := &depot{now: start, at: map[string]string{}}
	d.Store = NewStore(Options{
		Now: func() time.Time { return d.now },
		Go:  func(f func()) { d.going = append(d.going, f) },
		Fetch: func(_ context.Context, url string) ([]byte, error) {
			d.asked = append(d.asked, url)
			if text, ok := d.at[url]; ok {
				return []byte(text), nil
			}
			return nil, errors.New("nothing there")
		},
	})
	t.Cleanup(func() {
		d.fetch()
		d.Close()
	})
	return d
}

// fetch makes the fetches that were begun.
func (d *depot) fetch() {
	for len(d.going) > 0 {
		f := d.going[0]
		d.going = d.going[1:]
		f()
	}
}

const keysAt = "https://issuer.example/keys"

// wantProved proves a token that may have to wait, and checks what comes of it.
func (d *depot) wantProved(t *testing.T, r *Rules, text string, waits, want bool) {
	t.Helper()
	req := request("Authorization: Bearer " + text)
	token, wait, err := r.Prove(req, nil)
	if (wait != nil) != waits {
		t.Errorf("waits %v (%v), want %v", wait != nil, err, waits)
	}
	if wait != nil {
		told := false
		wait.Tell(func() { told = true })
		d.fetch()
		if !told {
			t.Error("nobody is told that the fetch has ended")
		}
		if token, wait, err = r.Prove(req, nil); wait != nil {
			t.Error("it is to be waited for once more")
		}
	}
	if (token != nil) != want || (err == nil) != want {
		t.Errorf("holds %v (%v), want %v", token != nil, err, want)
	}
}

func TestKeysAreFetched(t *testing.T) {
	d := newDepot(t)
	p := newPair(t, "k1", jose.ES256)
	d.at[keysAt] = string(set(p.public()))
	r := d.Rules([]routing.JWTRule{{Issuer: "https://issuer.example", URL: keysAt}})
	text := p.sign(t, claims(nil))
	d.wantProved(t, r, text, true, true)
	d.wantProved(t, r, text, false, true)
	if len(d.asked) != 1 {
		t.Errorf("asked %d times, want once", len(d.asked))
	}
	// Rules that come later share what is there.
	d.wantProved(t, d.Rules([]routing.JWTRule{{Issuer: "https://issuer.example", URL: keysAt}}), text, false, true)
}

// OpenID Connect Discovery 1.0 section 4.3: the issuer has to be the one that
// was asked for.
func TestKeysAreDiscovered(t *testing.T) {
	p := newPair(t, "k1", jose.ES256)
	for configuration, want := range map[string]bool{
		`{"issuer": "https://issuer.example", "jwks_uri": "` + keysAt + `"}`: true,
		`{"issuer": "https://evil.example", "jwks_uri": "` + keysAt + `"}`:   false,
		`{"Issuer": "https://issuer.example", "jwks_uri": "` + keysAt + `"}`: false,
		`{"issuer": "https://issuer.example", "jwks_uri": "file:///keys"}`:   false,
		`{"issuer": "https://issuer.example"}`:                               false,
		`issuer`:                                                             false,
	} {
		d := newDepot(t)
		d.at[keysAt] = string(set(p.public()))
		d.at["https://issuer.example/.well-known/openid-configuration"] = configuration
		r := d.Rules([]routing.JWTRule{{Issuer: "https://issuer.example"}})
		d.wantProved(t, r, p.sign(t, claims(nil)), true, want)
	}
}

// Law: security fails closed.
func TestWithoutKeysNoTokenHolds(t *testing.T) {
	d := newDepot(t)
	p := newPair(t, "k1", jose.ES256)
	text := p.sign(t, claims(nil))
	r := d.Rules([]routing.JWTRule{{Issuer: "https://issuer.example", URL: keysAt}})
	d.wantProved(t, r, text, true, false)
	d.wantProved(t, r, text, false, false) // and is not asked again at once
	d.now = d.now.Add(patience)
	d.at[keysAt] = string(set(p.public()))
	d.wantProved(t, r, text, true, true)

	others := len(d.asked)
	d.now = d.now.Add(patience)
	d.wantProved(t, r, p.sign(t, claims(m{"iss": "https://other.example"})), false, false)
	if len(d.asked) != others {
		t.Error("a token of another issuer has keys fetched")
	}

	nowhere := d.Rules([]routing.JWTRule{{Issuer: "testing@secure.istio.io"}})
	d.wantProved(t, nowhere, p.sign(t, claims(m{"iss": "testing@secure.istio.io"})), true, false)
	d.wantProved(t, d.Rules([]routing.JWTRule{{}}), text, false, false)
}

func TestUnknownKeyHasTheSetFetchedAnew(t *testing.T) {
	d := newDepot(t)
	old, next := newPair(t, "old", jose.ES256), newPair(t, "new", jose.ES256)
	d.at[keysAt] = string(set(old.public()))
	r := d.Rules([]routing.JWTRule{{Issuer: "https://issuer.example", URL: keysAt}})
	d.fetch()
	d.at[keysAt] = string(set(next.public()))
	d.wantProved(t, r, next.sign(t, claims(nil)), false, false) // asked a moment ago
	d.now = d.now.Add(patience)
	d.wantProved(t, r, next.sign(t, claims(nil)), true, true)
	d.wantProved(t, r, old.sign(t, claims(nil)), false, false)
	for range 100 { // whatever strangers send
		d.now = d.now.Add(patience / 10)
		r.Prove(request("Authorization: Bearer "+old.sign(t, claims(nil))), nil)
		d.fetch()
	}
	if n := len(d.asked); n > 2+10 {
		t.Errorf("asked %d times in %s, want once each %s at most", n, 10*patience, patience)
	}
}

func TestKeysGrowOld(t *testing.T) {
	d := newDepot(t)
	p := newPair(t, "k1", jose.ES256)
	d.at[keysAt] = string(set(p.public()))
	r := d.Rules([]routing.JWTRule{{Issuer: "https://issuer.example", URL: keysAt}})
	d.fetch()
	text := p.sign(t, claims(m{"exp": nil}))
	d.now = start.Add(fresh)
	d.wantProved(t, r, text, false, true)
	if d.fetch(); len(d.asked) != 2 {
		t.Errorf("asked %d times, want a second time once the keys are %s old", len(d.asked), fresh)
	}
	delete(d.at, keysAt)
	d.now = start.Add(fresh + good - time.Second)
	d.wantProved(t, r, text, false, true) // the last that were there
	d.fetch()
	d.now = start.Add(fresh + good)
	d.wantProved(t, r, text, false, false)
}

func TestSourcesThatNobodyNeedsAreForgotten(t *testing.T) {
	d := newDepot(t)
	kept := d.Rules([]routing.JWTRule{{Issuer: "a", URL: keysAt}})
	d.Rules([]routing.JWTRule{{Issuer: "b", URL: keysAt + "/b"}})
	d.Retain([]*Rules{kept})
	if len(d.sources) != 1 || d.sources[origin{url: keysAt}] == nil {
		t.Errorf("%d sources are kept, want the one that is needed", len(d.sources))
	}
}

func TestClosedStoreFetchesNothing(t *testing.T) {
	d := newDepot(t)
	d.Close()
	r := d.Rules([]routing.JWTRule{{Issuer: "https://issuer.example", URL: keysAt}})
	d.wantProved(t, r, newPair(t, "k1", jose.ES256).sign(t, claims(nil)), false, false)
	if len(d.going) != 0 {
		t.Error("a fetch was begun")
	}
}

func TestFetchByHTTP(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/keys":
			w.Write([]byte("keys"))
		case "/moved":
			http.Redirect(w, r, "/keys", http.StatusFound)
		case "/round":
			http.Redirect(w, r, "/round", http.StatusFound)
		case "/large":
			w.Write([]byte(strings.Repeat("x", maxAnswer+1)))
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	secure := httptest.NewTLSServer(http.RedirectHandler(server.URL+"/keys", http.StatusFound))
	defer secure.Close()
	fetch := newFetcher(http.DefaultTransport)
	for path, want := range map[string]bool{"/keys": true, "/moved": true, "/round": false, "/large": false, "/nothing": false} {
		b, err := fetch(t.Context(), server.URL+path)
		if (err == nil) != want || want && string(b) != "keys" {
			t.Errorf("%s: %q, %v", path, b, err)
		}
	}
	if _, err := fetch(t.Context(), secure.URL); err == nil {
		t.Error("a server that nobody vouches for is believed")
	}
	_, err := newFetcher(secure.Client().Transport)(t.Context(), secure.URL)
	if err == nil || !strings.Contains(err.Error(), "from https to http") {
		t.Errorf("a redirect from https to http: %v, want it refused", err)
	}
}

// What was proved once holds no longer than its keys and its time.
func TestCacheForgets(t *testing.T) {
	d := newDepot(t)
	p := newPair(t, "k1", jose.ES256)
	d.at[keysAt] = string(set(p.public()))
	r := d.Rules([]routing.JWTRule{{Issuer: "https://issuer.example", URL: keysAt}})
	d.fetch()
	var cache Cache
	short, long := p.sign(t, claims(m{"exp": start.Add(time.Minute).Unix()})), p.sign(t, claims(nil))
	holds := func(text string) bool {
		d.fetch()
		token, _, _ := r.Prove(request("Authorization: Bearer "+text), &cache)
		return token != nil
	}
	for range 2 {
		if !holds(short) || !holds(long) {
			t.Error("a good token does not hold")
		}
	}
	if n := len(cache.tokens); n != 2 {
		t.Errorf("%d tokens are remembered, want 2", n)
	}
	d.now = start.Add(2 * time.Minute)
	if holds(short) || !holds(long) {
		t.Error("a token that is over holds, or one that is not does not")
	}
	d.at[keysAt] = string(set(newPair(t, "other", jose.ES256).public()))
	d.now = start.Add(fresh)
	holds(long) // has the keys fetched
	if holds(long) {
		t.Error("a token holds whose key is withdrawn")
	}
	for i := range 2 * maxCached {
		cache.keep(&Token{}, strings.Repeat("x", i))
	}
	cache.keep(&Token{}, strings.Repeat("x", maxLong+1))
	if n := len(cache.tokens); n != maxCached || cache.tokens[strings.Repeat("x", maxLong+1)] != nil {
		t.Errorf("%d tokens are remembered, want %d, and none that is long", n, maxCached)
	}
}
