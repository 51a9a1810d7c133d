package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

// zeros is a body without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestWhatBreaksOffIsGivenBack has exchanges that end in the middle, in each
// way and between each pair of protocols: the backend hears of it, and
// nothing is left of them.
func TestWhatBreaksOffIsGivenBack(t *testing.T) {
	const times = 10
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			begun, ended := make(chan struct{}, times), make(chan struct{}, times)
			manifests := toBackend(t, way.appProtocol, func(w http.ResponseWriter, req *http.Request) {
				switch req.URL.Path {
				case "/download":
					io.Copy(w, zeros{})
				case "/upload":
					io.CopyN(io.Discard, req.Body, 1<<20)
					begun <- struct{}{}
					io.Copy(io.Discard, req.Body)
				case "/hang":
					<-req.Context().Done()
				case "/hang-midway":
					w.(http.Flusher).Flush()
					<-req.Context().Done()
				default:
					return
				}
				ended <- struct{}{}
			})
			manifests["all.yaml"] = strings.Replace(manifests["all.yaml"], "rules:\n", `rules:
  - matches: [{path: {value: /hang}}, {path: {value: /hang-midway}}]
    timeouts: {request: 100ms}
    backendRefs: [{name: a, port: 80}]
`, 1)
			r := startRig(t, nil, manifests)
			before := r.sockets()
			c := r.client()
			ask := func(method, path string, body io.Reader) (status int, err error) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if method == http.MethodPost {
					go func() {
						<-begun
						cancel()
					}()
				}
				req, err := http.NewRequestWithContext(ctx, method, r.shop(way.scheme, path), body)
				if err != nil {
					t.Fatal(err)
				}
				resp, err := c.Do(req)
				if err != nil {
					return 0, err
				}
				defer resp.Body.Close()
				_, err = io.CopyN(io.Discard, resp.Body, 1<<20)
				return resp.StatusCode, err
			}
			for range times {
				if status, err := ask(http.MethodGet, "/download", nil); status != 200 || err != nil {
					t.Errorf("download: %d, %v; want the first part", status, err)
				}
				<-ended
				if _, err := ask(http.MethodPost, "/upload", zeros{}); err == nil {
					t.Error("an upload without end has ended")
				}
				<-ended
				if status, err := ask(http.MethodGet, "/hang", nil); status != 504 || err != io.EOF {
					t.Errorf("a backend that hangs: %d, %v; want a whole 504", status, err)
				}
				<-ended
				if status, err := ask(http.MethodGet, "/hang-midway", nil); status != 200 || err == nil || err == io.EOF {
					t.Errorf("a backend that hangs midway: %d, %v; want 200 and a cut", status, err)
				}
				<-ended
			}
			c.CloseIdleConnections()
			r.settles(before)
		})
	}
}
