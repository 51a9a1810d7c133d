package certstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/certmagic"
	"k8s.io/apimachinery/pkg/util/validation"

	"fairway.dev/discovery/apitest"
)

var quiet = slog.New(slog.DiscardHandler)

func newStore(t *testing.T, api *apitest.Server, identity string) *Store {
	t.Helper()
	s, err := New(api.Config(), Options{Namespace: "fairway-system", Identity: identity, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const (
	site = "certificates/acme.example/shop.example.com"
	crt  = site + "/shop.example.com.crt"
	key  = site + "/shop.example.com.key"
	meta = site + "/shop.example.com.json"
)

// TestStorageContract holds the Store to what certmagic.Storage asks for, and
// shows that the file store of standalone mode does the same.
func TestStorageContract(t *testing.T) {
	for name, make := range map[string]func(t *testing.T) certmagic.Storage{
		"Secrets": func(t *testing.T) certmagic.Storage { return newStore(t, apitest.New(t), "a") },
		"files":   func(t *testing.T) certmagic.Storage { return &certmagic.FileStorage{Path: t.TempDir()} },
	} {
		t.Run(name, func(t *testing.T) { contract(t, make(t)) })
	}
}

func contract(t *testing.T, s certmagic.Storage) {
	ctx := t.Context()
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	missing := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want fs.ErrNotExist", what, err)
		}
	}
	list := func(folder string, recursive bool, want ...string) {
		t.Helper()
		got, err := s.List(ctx, folder, recursive)
		check("list "+folder, err)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("list %s (recursive: %v): %q, want %q", folder, recursive, got, want)
		}
	}

	_, err := s.Load(ctx, crt)
	missing("load nothing", err)
	_, err = s.Stat(ctx, crt)
	missing("stat nothing", err)
	_, err = s.List(ctx, "certificates", true)
	missing("list nothing", err)
	check("delete nothing", s.Delete(ctx, crt))
	if s.Exists(ctx, crt) {
		t.Error("a file that nobody wrote exists")
	}

	user := "acme/acme.example/users/me@example.com/me.json"
	for _, f := range []string{crt, key, meta, user, site + "x/other.crt"} {
		check("store "+f, s.Store(ctx, f, []byte("first "+f)))
		check("store "+f+" again", s.Store(ctx, f, []byte(f)))
		got, err := s.Load(ctx, f)
		if check("load "+f, err); string(got) != f {
			t.Errorf("load %s: %q, want what was stored last", f, got)
		}
		info, err := s.Stat(ctx, f)
		if check("stat "+f, err); !info.IsTerminal || info.Key != f || info.Size != int64(len(f)) || info.Modified.IsZero() {
			t.Errorf("stat %s: %+v", f, info)
		}
	}
	for _, folder := range []string{"certificates", "certificates/acme.example", site, "acme"} {
		if info, err := s.Stat(ctx, folder); err != nil || info.IsTerminal || !s.Exists(ctx, folder) {
			t.Errorf("stat folder %s: %+v, %v", folder, info, err)
		}
	}
	missing("load a folder", errOf(s.Load(ctx, "certificates/acme")))
	list("certificates", false, "certificates/acme.example")
	list(site, false, crt, meta, key)
	list("acme", true, "acme/acme.example", "acme/acme.example/users", "acme/acme.example/users/me@example.com", user)
	list("certificates/acme.example", false, site, site+"x")

	check("delete a file", s.Delete(ctx, key))
	missing("load what was deleted", errOf(s.Load(ctx, key)))
	list(site, false, crt, meta)
	check("delete a folder", s.Delete(ctx, site))
	missing("load what was in the folder", errOf(s.Load(ctx, crt)))
	list("certificates", true, "certificates/acme.example", site+"x", site+"x/other.crt")
}

func errOf(_ []byte, err error) error { return err }

// TestWritersAtOnce has many write the files of one site: none is lost.
func TestWritersAtOnce(t *testing.T) {
	api := apitest.New(t)
	var all sync.WaitGroup
	for i := range 16 {
		s := newStore(t, api, fmt.Sprint(i))
		all.Go(func() {
			for range 4 {
				if err := s.Store(t.Context(), fmt.Sprintf("%s/shop.example.com.e%d", site, i), []byte{byte(i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	keys, err := newStore(t, api, "reader").List(t.Context(), site, false)
	if err != nil || len(keys) != 16 {
		t.Errorf("%d files, %v; want 16", len(keys), err)
	}
	if n := len(api.Names("Secret", "fairway-system")); n != 1 {
		t.Errorf("%d Secrets, want one for the site", n)
	}
}

// TestListsHaveNoContents holds the package's law.
func TestListsHaveNoContents(t *testing.T) {
	api := apitest.New(t)
	s := newStore(t, api, "a")
	if err := s.Store(t.Context(), key, []byte("secret")); err != nil {
		t.Fatal(err)
	}
	var accepts []string
	counting := api.Config()
	counting.Transport = accept{api, &accepts}
	s, err := New(counting, Options{Namespace: "fairway-system", Identity: "a", Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.List(t.Context(), "certificates", true); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stat(t.Context(), site); err != nil {
		t.Fatal(err)
	}
	for _, a := range accepts {
		if !strings.Contains(a, "as=PartialObjectMetadata") {
			t.Errorf("asked for %q: want metadata alone", a)
		}
	}
	if len(accepts) == 0 {
		t.Error("nothing was asked for")
	}
}

type accept struct {
	http.RoundTripper
	seen *[]string
}

func (a accept) RoundTrip(r *http.Request) (*http.Response, error) {
	*a.seen = append(*a.seen, r.Header.Get("Accept"))
	return a.RoundTripper.RoundTrip(r)
}

// TestSecretOfSomebodyElse: a Secret that is not what its name says holds nothing.
func TestSecretOfSomebodyElse(t *testing.T) {
	api := apitest.New(t)
	s := newStore(t, api, "a")
	api.Apply(`apiVersion: v1
kind: Secret
metadata:
  name: ` + SecretName(site) + `
  namespace: fairway-system
  labels: {fairway.dev/certstore: "true"}
  annotations: {fairway.dev/key: other, fairway.dev/file.crt: "nonsense"}
data: {crt: b3RoZXI=}`)
	if _, err := s.Load(t.Context(), crt); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("load: %v, want fs.ErrNotExist", err)
	}
	if _, err := s.List(t.Context(), "", true); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("list: %v, want fs.ErrNotExist", err)
	}
}

// TestErrorsNameTheFile: what the API server refuses is told with the file's key.
func TestErrorsNameTheFile(t *testing.T) {
	api := apitest.New(t)
	s := newStore(t, api, "a")
	api.Refuse(func(string, string) int { return http.StatusForbidden })
	ctx := context.Background()
	for what, err := range map[string]error{
		"store": s.Store(ctx, crt, nil), "load": errOf(s.Load(ctx, crt)), "delete": s.Delete(ctx, crt),
	} {
		if err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), crt) {
			t.Errorf("%s: %v, want an error that names %s", what, err, crt)
		}
	}
	if s.Exists(ctx, crt) {
		t.Error("exists, and nobody can say so")
	}
}

func FuzzPlaceOf(f *testing.F) {
	for _, key := range []string{crt, key, meta, "a", "a/a.value", "/a", "a//b", "../a", "a/../b", "", ".", "ocsp/x-1", "b/b.CRT", "b/b."} {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		at, err := placeOf(key)
		if err != nil {
			return
		}
		if got := pathOf(at.key, at.file); got != key {
			t.Errorf("placed at %+v, which is %q and not %q", at, got, key)
		}
		if problems := validation.IsDNS1123Subdomain(at.secret); problems != nil {
			t.Errorf("name of Secret %q: %v", at.secret, problems)
		}
		if problems := validation.IsConfigMapKey(at.file); problems != nil {
			t.Errorf("key of data %q: %v", at.file, problems)
		}
		if problems := validation.IsQualifiedName(at.annotation()); problems != nil {
			t.Errorf("annotation %q: %v", at.annotation(), problems)
		}
	})
}
