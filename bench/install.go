package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A tool is a program that the bench runs.
type tool struct {
	path    string
	version string
}

// packages are the Debian packages that bring what cannot be built with Go.
var packages = map[string]string{
	"nginx": "nginx", "haproxy": "haproxy", "wrk": "wrk", "h2load": "nghttp2-client", "taskset": "util-linux",
}

// Versions of the peers that are built from their modules.
const (
	caddyVersion   = "v2.11.9"
	traefikVersion = "v3.6.12"
)

// install finds or gets the load generators and the chosen peers. A peer that
// cannot be had is left out, and said so.
func install(ctx context.Context, chosen []string, fairway, cache string) (map[string]tool, error) {
	tools := map[string]tool{}
	for _, name := range []string{"taskset", "wrk", "h2load", "nginx"} {
		path, err := debian(ctx, name)
		if err != nil {
			return nil, err // nginx is the h2c backend too
		}
		if name == "nginx" && slices.Contains(chosen, name) {
			tools[name] = tool{path, versionOf(ctx, path, "-v")}
		}
	}
	cache, err := filepath.Abs(cache)
	if err != nil {
		return nil, err
	}
	for _, name := range chosen {
		var t tool
		switch name {
		case "fairway":
			t.path, err = filepath.Abs(fairway)
			if err == nil {
				t.version = versionOf(ctx, t.path, "version")
			}
		case "nginx":
			continue
		case "haproxy":
			t.path, err = debian(ctx, name)
			if err == nil {
				t.version = versionOf(ctx, t.path, "-v")
			}
		case "caddy":
			t.version = "caddy " + caddyVersion
			t.path, err = goInstall(ctx, cache, "github.com/caddyserver/caddy/v2/cmd/caddy@"+caddyVersion)
		case "traefik":
			t.version = "traefik " + traefikVersion
			t.path, err = buildTraefik(ctx, cache)
		default:
			err = fmt.Errorf("unknown peer %q", name)
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s is left out: %v\n", name, err)
			continue
		}
		tools[name] = t
	}
	if len(tools) == 0 {
		return nil, errors.New("nobody to measure")
	}
	return tools, nil
}

// debian finds a program, or installs its package.
func debian(ctx context.Context, name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	fmt.Fprintf(os.Stderr, "installing %s\n", packages[name])
	if err := output(ctx, "apt-get", "install", "-y", "--no-install-recommends", packages[name]); err != nil {
		return "", err
	}
	return exec.LookPath(name)
}

func output(ctx context.Context, name string, args ...string) error {
	text, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, lastLines(string(text), 5))
	}
	return nil
}

// goInstall builds a program of a public module into cache, once.
func goInstall(ctx context.Context, cache, pkg string) (string, error) {
	path, version, _ := strings.Cut(pkg, "@")
	binary := filepath.Join(cache, filepath.Base(path)+"-"+version)
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	fmt.Fprintf(os.Stderr, "building %s\n", pkg)
	cmd := exec.CommandContext(ctx, "go", "install", pkg)
	cmd.Env = append(os.Environ(), "GOBIN="+cache, "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go install %s: %w: %s", pkg, err, lastLines(string(text), 5))
	}
	return binary, os.Rename(filepath.Join(cache, filepath.Base(path)), binary)
}

// buildTraefik builds Traefik from its module's files: they lack the web page
// that the program embeds, so an empty one is put in its place.
func buildTraefik(ctx context.Context, cache string) (string, error) {
	binary := filepath.Join(cache, "traefik-"+traefikVersion)
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	fmt.Fprintf(os.Stderr, "building traefik %s\n", traefikVersion)
	const module = "github.com/traefik/traefik/v3"
	if err := output(ctx, "go", "mod", "download", module+"@"+traefikVersion); err != nil {
		return "", err
	}
	found, err := exec.CommandContext(ctx, "go", "env", "GOMODCACHE").Output()
	if err != nil {
		return "", err
	}
	source := filepath.Join(cache, "traefik-source")
	if err := os.RemoveAll(source); err != nil {
		return "", err
	}
	if err := copyTree(source, filepath.Join(strings.TrimSpace(string(found)), module+"@"+traefikVersion)); err != nil {
		return "", err
	}
	page := filepath.Join(source, "webui", "static", "index.html")
	if err := os.MkdirAll(filepath.Dir(page), 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(page, []byte("<!doctype html>"), 0o644); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/traefik")
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build traefik: %w: %s", err, lastLines(string(text), 5))
	}
	return binary, os.RemoveAll(source)
}

// copyTree copies a module's read-only tree to one that can be written.
func copyTree(to, from string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, text, 0o644)
	})
}

func versionOf(ctx context.Context, path, flag string) string {
	text, err := exec.CommandContext(ctx, path, flag).CombinedOutput()
	if err != nil {
		return filepath.Base(path)
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	return line
}
