// Trim writes deploy/crds/istio: the CustomResourceDefinitions of Istio's kinds
// that Fairway reads, as the module istio.io/api has them, without the
// descriptions of their fields, which are more than half of them.
//
//	go run ./deploy/crds/trim -from "$(go list -m -f '{{.Dir}}' istio.io/api)/kubernetes/customresourcedefinitions.gen.yaml" -to deploy/crds/istio
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// kept are the names of the definitions that are written.
var kept = []string{
	"authorizationpolicies.security.istio.io",
	"destinationrules.networking.istio.io",
	"envoyfilters.networking.istio.io",
	"gateways.networking.istio.io",
	"peerauthentications.security.istio.io",
	"requestauthentications.security.istio.io",
	"serviceentries.networking.istio.io",
	"sidecars.networking.istio.io",
	"telemetries.telemetry.istio.io",
	"virtualservices.networking.istio.io",
	"wasmplugins.extensions.istio.io",
	"workloadentries.networking.istio.io",
}

func main() {
	from := flag.String("from", "", "the `file` with all definitions")
	to := flag.String("to", "", "the `folder` to write to")
	flag.Parse()
	if err := run(*from, *to); err != nil {
		fmt.Fprintln(os.Stderr, "trim:", err)
		os.Exit(1)
	}
}

func run(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	files, err := definitions(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(to, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

var named = regexp.MustCompile(`(?m)^  name: (\S+)$`)

// definitions returns what is kept of a text with all definitions, trimmed, by
// the names of files: "<group>_<plural>.yaml".
func definitions(all string) (map[string]string, error) {
	files := map[string]string{}
	for _, text := range strings.Split(all, "\n---\n") {
		name := named.FindStringSubmatch(text)
		if name == nil || !slices.Contains(kept, name[1]) {
			continue
		}
		plural, group, _ := strings.Cut(name[1], ".")
		files[group+"_"+plural+".yaml"] = trim(text)
	}
	if len(files) != len(kept) {
		return nil, fmt.Errorf("%d definitions of those that are kept: want %d", len(files), len(kept))
	}
	return files, nil
}

// described is a description of a field, which is a text, and not a field of
// that name, which would be a mapping. The columns of `kubectl get`, which
// begin with theirs, keep it.
var described = regexp.MustCompile(`^( *)description: \S`)

// trim leaves out comments and descriptions: a line, and those that go on with
// it, which are further in.
func trim(text string) string {
	var b strings.Builder
	deeper := "" // what lines begin with that belong to a description
	for line := range strings.Lines(strings.TrimRight(text, "\n") + "\n") {
		if deeper != "" && (strings.HasPrefix(line, deeper) || line == "\n") {
			continue
		}
		deeper = ""
		if m := described.FindStringSubmatch(line); m != nil {
			deeper = m[1] + " "
			continue
		}
		if !strings.HasPrefix(line, "#") {
			b.WriteString(line)
		}
	}
	return b.String()
}
