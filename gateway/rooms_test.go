package main

import (
	"bufio"
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// module is the module path.
const module = "fairway.dev"

// A room is a part of the tree with its own rules of what it may import.
type room struct {
	path string // under the module; "x/..." covers all below x
	may  []string
	why  string
}

// rooms are looked through from the top: the first that covers a package holds.
// A package may import the standard library and itself in any case.
var rooms = []room{
	{"routing", nil, "it decides where requests go, and must be usable by anything"},
	{"routing/istio", []string{module + "/routing", "k8s.io/api/", "k8s.io/apimachinery/", "sigs.k8s.io/gateway-api/apis/", "istio.io/api/", "istio.io/client-go/pkg/apis/",
		"google.golang.org/protobuf/", "go.yaml.in/yaml/v3"}, "Istio's objects are protobuf, and MeshConfig is YAML in a ConfigMap"},
	{"routing/convert", []string{module + "/routing", "k8s.io/api/", "k8s.io/apimachinery/", "sigs.k8s.io/gateway-api/apis/", "istio.io/api/", "istio.io/client-go/pkg/apis/", "go.yaml.in/yaml/v3"},
		"manifests into manifests"},
	{"routing/dialecttest", []string{module + "/routing", "k8s.io/apimachinery/", "go.yaml.in/yaml/v3"}, "worlds for tests of the dialects"},
	{"routing/...", []string{module + "/routing", "k8s.io/api/", "k8s.io/apimachinery/", "sigs.k8s.io/gateway-api/apis/", "sigs.k8s.io/gateway-api/apisx/", "istio.io/api/", "istio.io/client-go/pkg/apis/", "google.golang.org/protobuf/types/known/"},
		"dialects turn API objects into a Spec: no client, no data plane"},
	{"tlsmgr/identity", []string{"google.golang.org/grpc", "istio.io/api/security/v1alpha1"}, "it proves who peers are to gRPC; Kubernetes is somebody else's matter"},
	{"tlsmgr/...", []string{module + "/tlsmgr", "github.com/caddyserver/certmagic"}, "certificates know nothing of routes and clusters"},
	{"gateway/policy/jwt", []string{module + "/gateway/message", module + "/gateway/policy", module + "/routing", "github.com/go-jose/go-jose/v4"}, "tokens, and nobody else reads them"},
	{"gateway/resolve", []string{"golang.org/x/net/dns/dnsmessage"}, "names into addresses, for whoever needs them"},
	{"gateway/capture", []string{module + "/routing", "github.com/google/nftables", "github.com/mdlayher/netlink", "golang.org/x/sys/unix"}, "the node's rules: it forwards no byte itself"},
	{"gateway/...", []string{module + "/gateway/", module + "/routing", module + "/tlsmgr",
		"github.com/prometheus/", "github.com/google/cel-go/", "google.golang.org/protobuf/proto", "google.golang.org/protobuf/encoding/protowire", "golang.org/x/net/http2", "golang.org/x/sys/unix"},
		"the data plane knows the Spec and nothing of where it came from: no Kubernetes types"},
	{"discovery/feed/...", []string{module + "/discovery/feed", module + "/routing", module + "/tlsmgr/identity", "google.golang.org/grpc", "google.golang.org/protobuf/",
		"google.golang.org/genproto/googleapis/rpc/status", "github.com/envoyproxy/go-control-plane/envoy/"}, "the Spec on the wire: neither Kubernetes nor the data plane"},
	{"discovery/certstore", []string{"github.com/caddyserver/certmagic", "k8s.io/"}, "certificates, accounts and locks of ACME, in Kubernetes"},
	{"discovery/trust", []string{module + "/tlsmgr/identity", "google.golang.org/grpc/codes", "google.golang.org/grpc/status", "k8s.io/"}, "the CA and tokens, in Kubernetes"},
	{"discovery/meshports", []string{module + "/routing", "k8s.io/"}, "it writes one ConfigMap"},
	{"discovery/apitest", []string{"k8s.io/", "sigs.k8s.io/gateway-api/", "gopkg.in/evanphx/json-patch.v4"}, "an API server for tests: it knows no room"},
	{"discovery/...", []string{module + "/discovery", module + "/routing", module + "/deploy/crds", "k8s.io/", "sigs.k8s.io/", "istio.io/api/", "istio.io/client-go/pkg/apis/", "google.golang.org/protobuf/proto",
		"go.yaml.in/yaml/v3", "github.com/google/cel-go/", "golang.org/x/sys/unix"}, "what there is, for the dialects: it never sees the data plane"},
	{"deploy/...", nil, "files that are embedded, and programs that know Fairway from outside"},
	{"bench", []string{}, "it measures from outside"},
	{"bench/cluster", []string{"k8s.io/", "sigs.k8s.io/gateway-api/"}, "it measures from outside, as a client of the API server can"},
}

// exact are the packages of the module that the rule of a wider room does not cover.
func ruleFor(pkg string) *room {
	rel := strings.TrimPrefix(pkg, module+"/")
	if rel == "gateway" {
		return nil // the program may import everything
	}
	for i := range rooms {
		r := &rooms[i]
		base, below := strings.CutSuffix(r.path, "/...")
		if rel == r.path || below && (rel == base || strings.HasPrefix(rel, base+"/")) {
			return r
		}
	}
	return &room{path: rel, why: "every package belongs to a room of the table"}
}

// goList runs go list and returns its lines.
func goList(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var lines []string
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		lines = append(lines, s.Text())
	}
	return lines
}

func TestRoomsImportOnlyWhatTheyMay(t *testing.T) {
	for _, line := range goList(t, "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...") {
		words := strings.Fields(line)
		pkg, imports := words[0], words[1:]
		rule := ruleFor(pkg)
		if rule == nil {
			continue
		}
		for _, path := range imports {
			if !allowed(rule, pkg, path) {
				t.Errorf("%s imports %s: %s", pkg, path, rule.why)
			}
		}
	}
}

func allowed(rule *room, pkg, path string) bool {
	first, _, _ := strings.Cut(path, "/")
	if !strings.Contains(first, ".") || path == pkg {
		return true // the standard library
	}
	if path == module+"/gateway" {
		return false // nobody imports the program
	}
	for _, may := range rule.may {
		if path == strings.TrimSuffix(may, "/") || strings.HasPrefix(path, strings.TrimSuffix(may, "/")+"/") {
			return true
		}
	}
	return false
}

func TestEachPackageHasOneDocument(t *testing.T) {
	for _, line := range goList(t, "-f", `{{.Dir}} {{join .GoFiles " "}}`, "./...") {
		words := strings.Fields(line)
		var documented []string
		for _, name := range words[1:] {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(words[0], name), nil, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				t.Fatal(err)
			}
			if hasDoc(file) {
				documented = append(documented, name)
			}
		}
		if len(documented) != 1 {
			t.Errorf("%s: package documentation in %v, want it in exactly one file", words[0], documented)
		}
	}
}

func hasDoc(f *ast.File) bool { return f.Doc != nil && strings.TrimSpace(f.Doc.Text()) != "" }
