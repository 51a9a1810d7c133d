package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
)

// A rateService is a server of Envoy's rate limit service that lets the first two
// requests of each descriptor pass.
type rateService struct {
	mu    sync.Mutex
	seen  map[string]uint32 // requests, by domain and descriptor
	limit uint32
}

// ShouldRateLimit implements RateLimitServiceServer.
func (s *rateService) ShouldRateLimit(_ context.Context, req *ratelimitv3.RateLimitRequest) (*ratelimitv3.RateLimitResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	resp := &ratelimitv3.RateLimitResponse{OverallCode: ratelimitv3.RateLimitResponse_OK}
	for _, d := range req.Descriptors {
		words := []string{req.Domain}
		for _, e := range d.Entries {
			words = append(words, e.Key+"="+e.Value)
		}
		key := strings.Join(words, " ")
		s.seen[key]++
		status := &ratelimitv3.RateLimitResponse_DescriptorStatus{
			Code:           ratelimitv3.RateLimitResponse_OK,
			CurrentLimit:   &ratelimitv3.RateLimitResponse_RateLimit{RequestsPerUnit: s.limit},
			LimitRemaining: s.limit - min(s.seen[key], s.limit),
		}
		if s.seen[key] > s.limit {
			status.Code = ratelimitv3.RateLimitResponse_OVER_LIMIT
			resp.OverallCode = status.Code
		}
		resp.Statuses = append(resp.Statuses, status)
	}
	return resp, nil
}

// RateLimitPolicySpec.shared.service: Envoy's rate limit service is asked as Envoy
// asks it, with a descriptor for each rule that counts the request.
func TestRateLimitService(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	service := &rateService{seen: map[string]uint32{}, limit: 2}
	server := grpc.NewServer()
	ratelimitv3.RegisterRateLimitServiceServer(server, service)
	go server.Serve(ln)
	t.Cleanup(server.Stop)
	r := startRig(t, nil, map[string]string{
		"edge.yaml":    edge,
		"service.yaml": serviceWith("web", "http", startBackend(t, named("web"))) + serviceWith("rates", "grpc", ln.Addr().(*net.TCPAddr).Port),
		"route.yaml":   route("web", "a.test", "  - {backendRefs: [{name: web, port: 80}]}"),
		"limit.yaml": rateLimit("each", "HTTPRoute", "name: web",
			"  rules: [{name: each, requests: 2, per: 1h, by: ['header:X-User']}]\n  failClosed: true\n"+
				"  shared: {timeout: 1s, service: {domain: shop, backendRef: {name: rates, port: 80}}}"),
	})
	last := r.wantEach(r.url("/"), []int{200, 200, 429}, "Host: a.test", "X-User: me")
	if got := fmt.Sprint(last.Header["X-Ratelimit-Limit"], last.Header["X-Ratelimit-Remaining"]); got != "[2, 2;w=3600] [0]" {
		t.Errorf("who is over the limit is told %s", got)
	}
	r.wantEach(r.url("/"), []int{200}, "Host: a.test", "X-User: you")
	r.wantEach(r.url("/"), []int{200, 200, 200}, "Host: a.test") // which no rule counts
	service.mu.Lock()
	if got, want := fmt.Sprint(service.seen), "map[shop rule=each header:X-User=me:3 shop rule=each header:X-User=you:1]"; got != want {
		t.Errorf("the service has counted %s, want %s", got, want)
	}
	service.mu.Unlock()
	server.Stop()
	r.wantEach(r.url("/"), []int{503}, "Host: a.test", "X-User: you")
	r.awaitAccess(`"policy":"RateLimitPolicy/shop/each"`)
}
