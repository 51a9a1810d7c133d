package main

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"fairway.dev/routing"
	"fairway.dev/routing/convert"
)

// convertManifests writes VirtualServices, Istio's Gateways, DestinationRules
// and ServiceEntries, and Ingresses anew in Gateway API: to out as YAML, and what
// does not translate to stderr, too. It returns errFound where a rule had to be
// closed.
func convertManifests(_ context.Context, args []string, out io.Writer) error {
	f := flags("convert", "[flags] [PATH...]   (no PATH: stdin)")
	class := f.String("class", "fairway", "the `GatewayClass` of the Gateways")
	gateway := f.String("gateway", "default/ingress", "the Gateway that Ingresses are attached to: `NAMESPACE/NAME`")
	if err := parse(f, args); err != nil {
		return err
	}
	ns, name, ok := strings.Cut(*gateway, "/")
	if !ok || ns == "" || name == "" {
		f.Usage()
		return errUsage
	}
	in, passed, err := readInput(f.Args())
	if err != nil {
		return err
	}
	result := convert.Convert(*in, convert.Options{Class: *class, Gateway: routing.ObjectKey{Kind: "Gateway", Namespace: ns, Name: name}})
	text, err := result.YAML()
	if err != nil {
		return err
	}
	if _, err := out.Write(text); err != nil {
		return err
	}
	reportConversion(os.Stderr, result, passed)
	if slices.ContainsFunc(result.Findings, func(p *routing.Problem) bool { return p.Level == routing.Error }) {
		return errFound
	}
	return nil
}

func reportConversion(out io.Writer, result *convert.Result, passed []string) {
	for _, p := range result.Findings {
		fmt.Fprintf(out, "%s: %s %s\n", levelName(p.Level), p.Origin.At(""), convert.Line(p))
	}
	if len(passed) > 0 {
		slices.Sort(passed)
		fmt.Fprintf(out, "passed over: %s\n", strings.Join(slices.Compact(passed), ", "))
	}
	fmt.Fprintf(out, "%d objects written, %d findings\n", len(result.Objects), len(result.Findings))
}

// readInput reads files, the manifests of folders, or stdin.
func readInput(paths []string) (*convert.Input, []string, error) {
	in := &convert.Input{}
	var passed []string
	read := func(from string, text []byte, err error) error {
		if err != nil {
			return err
		}
		more, err := in.Read(text)
		passed = append(passed, more...)
		if err != nil {
			return fmt.Errorf("%s: %w", from, err)
		}
		return nil
	}
	if len(paths) == 0 {
		text, err := io.ReadAll(os.Stdin)
		err = read("stdin", text, err)
		return in, passed, err
	}
	for _, p := range paths {
		err := filepath.WalkDir(p, func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || file != p && !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(file)) {
				return err
			}
			text, err := os.ReadFile(file)
			return read(file, text, err)
		})
		if err != nil {
			return nil, nil, err
		}
	}
	return in, passed, nil
}
