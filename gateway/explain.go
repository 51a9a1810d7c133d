package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"fairway.dev/gateway/admin"
	"fairway.dev/routing/gatewayapi"
)

// headerFlags are the -H flags, each "Name: value".
type headerFlags []string

func (h *headerFlags) String() string { return strings.Join(*h, ", ") }

func (h *headerFlags) Set(s string) error {
	if !strings.Contains(s, ":") {
		return fmt.Errorf("%q: want Name: value", s)
	}
	*h = append(*h, s)
	return nil
}

// explain says which rule takes a request and why each better-looking one
// does not: of manifests, or of a running gateway.
func explain(ctx context.Context, args []string, out io.Writer) error {
	f := flags("explain", "[flags] METHOD URL [-H 'Name: value' ...]")
	manifests := f.String("manifests", "", "explain what this `folder` would do, offline")
	running := f.String("admin", "127.0.0.1:9090", "explain what the gateway with this admin `address` does")
	source := f.String("source", "", "who the client is in the mesh, spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT: its `identity`")
	address := f.String("address", "", "the `address` that the client connects from")
	var headers headerFlags
	f.Var(&headers, "H", "a request `header`, \"Name: value\"; may be repeated")
	words, err := parseMixed(f, args)
	if err != nil {
		return err
	}
	if len(words) != 2 {
		f.Usage()
		return errUsage
	}
	method, target := words[0], words[1]
	question := admin.Question{Method: method, URL: target, Headers: headers, Source: *source}
	if *address != "" {
		if question.Address, err = netip.ParseAddr(*address); err != nil {
			return fmt.Errorf("-address: %w", err)
		}
	}
	if *manifests == "" {
		return explainRunning(ctx, *running, question, *address, out)
	}
	_, delta, err := translateOffline([]string{*manifests}, gatewayapi.Options{})
	if err != nil {
		return err
	}
	snap, _ := compileOffline(delta)
	text, err := admin.Explain(snap, question)
	if err != nil {
		return err
	}
	_, err = io.WriteString(out, text)
	return err
}

func explainRunning(ctx context.Context, at string, q admin.Question, address string, out io.Writer) error {
	query := url.Values{"method": {q.Method}, "url": {q.URL}, "header": q.Headers, "source": {q.Source}, "address": {address}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at+"/debug/explain?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask the running gateway (or name a folder with -manifests): %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the gateway at %s: %s: %s", at, resp.Status, strings.TrimSpace(string(text)))
	}
	_, err = out.Write(text)
	return err
}
