package manifest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
)

// folderOf writes files into a new directory and loads them.
func folderOf(t *testing.T, files map[string]string) (*Folder, string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		write(t, filepath.Join(dir, name), text)
	}
	f := &Folder{Paths: []string{dir}}
	f.Load()
	return f, dir
}

// ports lists the Services and their first ports: "shop/cart:80".
func ports(f *Folder) string {
	var list []string
	f.World().Each("Service", func(k routing.ObjectKey, o any) {
		list = append(list, fmt.Sprintf("%s/%s:%d", k.Namespace, k.Name, o.(*corev1.Service).Spec.Ports[0].Port))
	})
	return strings.Join(list, " ")
}

// reasons lists the reasons of Problems with their places, without dir.
func reasons(problems []*routing.Problem, dir string) string {
	var list []string
	for _, p := range problems {
		list = append(list, strings.TrimPrefix(p.Origin.Place(), dir+"/")+" "+string(p.Reason))
	}
	return strings.Join(list, ", ")
}

func TestWhatCannotBeUsedChangesNothing(t *testing.T) {
	const dashes = "---\n"
	two := serviceText("shop", "cart", 80) + dashes + serviceText("shop", "web", 80)
	bad := strings.Replace(serviceText("shop", "cart", 81), "80", "x", 1)
	tests := []struct {
		name, edit  string // of the file a.yaml, that has two
		ports, says string
	}{
		{"a syntax error", two + "---\na: b: c\n", "shop/cart:80 shop/web:80", "a.yaml:11 SyntaxError"},
		{"only garbage", "\x00\x7f\xff", "shop/cart:80 shop/web:80", "a.yaml:1 SyntaxError"},
		{"an alias bomb", bomb(), "shop/cart:80 shop/web:80", "a.yaml:1 TooComplex"},
		{"emptied", "", "shop/cart:80 shop/web:80", "a.yaml FileEmpty"},
		{"emptied but for space", "\n\n", "shop/cart:80 shop/web:80", "a.yaml FileEmpty"},
		{"too large", strings.Repeat("#", 2000), "shop/cart:80 shop/web:80", "a.yaml FileTooLarge"},
		{"cut in the middle of an object", two[:len(two)-20], "shop/cart:80 shop/web:80", "a.yaml:8 SyntaxError"},
		{
			"one object refused, the other edited",
			strings.Replace(strings.Replace(two, "port: 80", "port: 70000", 1), "port: 80", "port: 90", 1),
			"shop/cart:80 shop/web:90", "a.yaml:4 InvalidObject, a.yaml:4 InvalidObject", // the default of targetPort is the port
		},
		{"one object refused", strings.Replace(two, "port: 80", "prt: 80", 1), "shop/cart:80 shop/web:80", "a.yaml:4 UnknownField"},
		{"a kind that is no more known", strings.Replace(two, "kind: Service", "kind: Servce", 1), "shop/cart:80 shop/web:80", "a.yaml:2 UnknownKind"},
		{"a name that is gone", strings.Replace(two, "name: web", "nam: web", 1), "shop/cart:80 shop/web:80", "a.yaml:8 UnknownField"},
		{"a name that is no name", strings.Replace(two, "name: web", "name: [web]", 1), "shop/cart:80 shop/web:80", "a.yaml:8 InvalidObject"},
		{"a document that is no object", serviceText("shop", "cart", 80) + "---\njust text\n", "shop/cart:80 shop/web:80", "a.yaml:6 InvalidObject"},

		{"an object taken out", serviceText("shop", "cart", 80), "shop/cart:80", ""},
		{"all commented out", "# " + strings.ReplaceAll(two, "\n", "\n# "), "", ""},
		{"a list without items", "apiVersion: v1\nkind: List\nitems: []\n", "", ""},
		{"renamed", strings.Replace(two, "web", "www", 1), "shop/cart:80 shop/www:80", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, dir := folderOf(t, map[string]string{"a.yaml": two, "b.yaml": serviceText("other", "rest", 1)})
			f.MaxFileSize = 1000
			want := "other/rest:1 " + tt.ports
			path := filepath.Join(dir, "a.yaml")
			write(t, path, tt.edit)
			c := f.reload(t)
			if got := ports(f); got != strings.TrimSpace(want) {
				t.Errorf("in force %q, want %q", got, want)
			}
			if got := reasons(c.Problems, dir); got != tt.says {
				t.Errorf("problems %q, want %q", got, tt.says)
			}
			if c := f.reload(t); len(c.Keys) > 0 || reasons(c.Problems, dir) != tt.says {
				t.Errorf("looking again: changed %v, problems %q", c.Keys, reasons(c.Problems, dir))
			}
			// The second edit of a file that is bad still keeps the good version.
			write(t, path, tt.edit, "\n")
			f.reload(t)
			if got := ports(f); tt.says != "" && got != strings.TrimSpace(want) {
				t.Errorf("after another edit in force %q, want %q", got, want)
			}
			write(t, path, two, "---\n", bad)
			if c := f.reload(t); ports(f) != "other/rest:1 shop/cart:80 shop/web:80" || reasons(c.Problems, dir) != "a.yaml:11 DuplicateObject" {
				t.Errorf("mended: in force %q, problems %q", ports(f), reasons(c.Problems, dir))
			}
		})
	}
}

func TestBadAtFirstLoadCountsAsEmpty(t *testing.T) {
	f, dir := folderOf(t, map[string]string{
		"a.yaml": serviceText("shop", "cart", 80) + "---\na: b: c\n",
		"b.yaml": serviceText("shop", "web", 0) + "---\n" + serviceText("shop", "db", 80),
		"c.yaml": "",
	})
	if got := ports(f); got != "shop/db:80" {
		t.Errorf("in force %q, want shop/db:80 alone", got)
	}
	write(t, filepath.Join(dir, "a.yaml"), serviceText("shop", "cart", 80))
	if c := f.reload(t); ports(f) != "shop/cart:80 shop/db:80" || len(c.Problems) == 0 {
		t.Errorf("mended: in force %q, problems %q", ports(f), reasons(c.Problems, dir))
	}
}

func TestFirstFileHasTheObject(t *testing.T) {
	f, dir := folderOf(t, map[string]string{"b.yaml": "# text\n" + serviceText("shop", "cart", 2)})
	os.Mkdir(filepath.Join(dir, "sub"), 0o755)
	write(t, filepath.Join(dir, "sub/a.yaml"), serviceText("shop", "cart", 3))
	c := f.reload(t)
	if len(c.Problems) != 1 || ports(f) != "shop/cart:2" {
		t.Fatalf("in force %q, problems %q, want b.yaml's and one", ports(f), reasons(c.Problems, dir))
	}
	p := c.Problems[0]
	if want := dir + "/b.yaml:2"; !strings.Contains(p.Err.Error(), want) || p.Origin.Place() != dir+"/sub/a.yaml:1" || p.Origin.Name != "cart" {
		t.Errorf("problem %q at %s, want both places", p, p.Origin.Place())
	}
	write(t, filepath.Join(dir, "a.yaml"), serviceText("shop", "cart", 1))
	if c = f.reload(t); len(c.Problems) != 2 || ports(f) != "shop/cart:1" {
		t.Errorf("an earlier file: in force %q, problems %q", ports(f), reasons(c.Problems, dir))
	}
	os.Remove(filepath.Join(dir, "a.yaml"))
	os.Remove(filepath.Join(dir, "b.yaml"))
	if c = f.reload(t); len(c.Problems) != 0 || ports(f) != "shop/cart:3" {
		t.Errorf("the last file: in force %q, problems %q", ports(f), reasons(c.Problems, dir))
	}
}

func TestHundredMegabytesAreRefusedUnread(t *testing.T) {
	f, dir := folderOf(t, map[string]string{"a.yaml": serviceText("shop", "cart", 80)})
	path := filepath.Join(dir, "large.yaml")
	write(t, path, "")
	if err := os.Truncate(path, 100<<20); err != nil { // sparse: it costs no disk
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c := f.reload(t)
	runtime.ReadMemStats(&after)
	if got := reasons(c.Problems, dir); got != "large.yaml FileTooLarge" || ports(f) != "shop/cart:80" {
		t.Errorf("in force %q, problems %q", ports(f), got)
	}
	if spent := after.TotalAlloc - before.TotalAlloc; spent > 1<<20 {
		t.Errorf("%d bytes allocated for a file that is not to be read", spent)
	}
}

func TestUnreadableKeepsWhatWasKnown(t *testing.T) {
	// Files may be read by root whatever their permissions are: this thread
	// looks at them as somebody else.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if os.Geteuid() == 0 {
		if err := unix.Setfsuid(65534); err != nil {
			t.Fatal(err)
		}
		defer unix.Setfsuid(0)
	}
	f := &Folder{}
	f.Paths = []string{sharedDir(t)}
	dir := f.Paths[0]
	write(t, filepath.Join(dir, "a.yaml"), serviceText("shop", "cart", 80))
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "sub/b.yaml"), serviceText("shop", "web", 80))
	f.Load()
	steps := []struct {
		name  string
		mode  os.FileMode
		says  string
		after string
	}{
		{"a.yaml", 0, "a.yaml FileUnreadable", "shop/cart:80 shop/web:80"},
		{"a.yaml", 0o644, "", "shop/cart:80 shop/web:80"},
		{"sub", 0, "sub FileUnreadable", "shop/cart:80 shop/web:80"},
		{"sub", 0o755, "", "shop/cart:80 shop/web:80"},
	}
	for _, s := range steps {
		if err := os.Chmod(filepath.Join(dir, s.name), s.mode); err != nil {
			t.Fatal(err)
		}
		c := f.reload(t)
		if got := strings.ReplaceAll(reasons(c.Problems, dir), dir+"/", ""); got != s.says || ports(f) != s.after {
			t.Errorf("%s with mode %o: in force %q, problems %q, want %q, %q", s.name, s.mode, ports(f), got, s.after, s.says)
		}
	}
}

// sharedDir returns a new directory in which the current file system user may
// write, whoever the process is.
func sharedDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "manifest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestPathsThatDisappear(t *testing.T) {
	dir := t.TempDir()
	folder, single := filepath.Join(dir, "folder"), filepath.Join(dir, "single")
	fill := func() {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(folder, "a.yaml"), serviceText("shop", "cart", 80))
		write(t, single, serviceText("shop", "web", 80)) // asked for by name: any name will do
	}
	fill()
	f := &Folder{Paths: []string{folder, single, filepath.Join(dir, "never")}}
	c := f.Load()
	if got := reasons(c.Problems, dir); got != "never PathMissing" || ports(f) != "shop/cart:80 shop/web:80" {
		t.Errorf("in force %q, problems %q", ports(f), got)
	}
	os.RemoveAll(folder)
	os.Remove(single)
	c = f.reload(t)
	if got := reasons(c.Problems, dir); got != "folder PathMissing, never PathMissing, single PathMissing" || ports(f) != "shop/cart:80 shop/web:80" {
		t.Errorf("without them: in force %q, problems %q", ports(f), got)
	}
	fill()
	if c = f.reload(t); len(c.Keys) != 0 || len(c.Problems) != 1 {
		t.Errorf("back again: changed %v, problems %q", c.Keys, reasons(c.Problems, dir))
	}
	os.Remove(filepath.Join(folder, "a.yaml"))
	if f.reload(t); ports(f) != "shop/web:80" {
		t.Errorf("a file of the folder deleted: in force %q", ports(f))
	}
}

func TestLinks(t *testing.T) {
	dir := t.TempDir()
	link := func(target, name string) {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	os.MkdirAll(filepath.Join(dir, "..2024"), 0o755)
	write(t, filepath.Join(dir, "..2024/a.yaml"), serviceText("shop", "mounted", 80))
	link("..2024", "..data") // as kubelet mounts a ConfigMap
	link("..data/a.yaml", "a.yaml")
	link("a.yaml", "again.yaml") // the same file
	link(".", "circle")
	link("nowhere", "dangling.yaml")
	link("loop.yaml", "loop.yaml")
	link("/dev/null", "device.yaml")
	write(t, filepath.Join(dir, ".hidden.yaml"), serviceText("shop", "hidden", 80))
	write(t, filepath.Join(dir, "notes.txt"), "a: b: c")
	f := &Folder{Paths: []string{dir, filepath.Join(dir, "a.yaml")}} // and once more
	c := f.Load()
	if got := reasons(c.Problems, dir); got != "dangling.yaml FileUnreadable, loop.yaml FileUnreadable" || ports(f) != "shop/mounted:80" {
		t.Errorf("in force %q, problems %q", ports(f), got)
	}
}

func TestGenerationsCountSpecs(t *testing.T) {
	route := func(weight int, label string) string {
		return fmt.Sprintf("apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: shop, labels: {a: %q}}\nspec: {rules: [{backendRefs: [{name: cart, port: 80, weight: %d}]}]}\n", label, weight)
	}
	f, dir := folderOf(t, map[string]string{"a.yaml": route(1, "x")})
	k := routing.ObjectKey{Kind: "HTTPRoute", Namespace: "default", Name: "shop"}
	generation := func() int64 { return f.World().Get(k).(*gatewayv1.HTTPRoute).Generation }
	first := f.World().Get(k)
	steps := []struct {
		name, text string
		changed    bool
		generation int64
	}{
		{"as it was", route(1, "x"), false, 1},
		{"a comment", "# text\n" + route(1, "x"), false, 1},
		{"a label", route(1, "y"), true, 1},
		{"the spec", route(2, "y"), true, 2},
		{"refused", route(-1, "y"), false, 2},
		{"the spec again", route(3, "y"), true, 3},
		{"back", route(1, "x"), true, 4},
	}
	for _, s := range steps {
		write(t, filepath.Join(dir, "a.yaml"), s.text)
		c := f.reload(t)
		if changed := slices.Contains(c.Keys, k); changed != s.changed || generation() != s.generation {
			t.Errorf("%s: changed %v, generation %d, want %v, %d", s.name, changed, generation(), s.changed, s.generation)
		}
	}
	if g := first.(*gatewayv1.HTTPRoute).Generation; g != 1 {
		t.Errorf("the first object's generation became %d: objects must not change", g)
	}
}

func TestOneObjectOfAListIsReadAlone(t *testing.T) {
	list := func(port int) string {
		var b bytes.Buffer
		b.WriteString("apiVersion: v1\nkind: List\nitems:\n")
		for i := range 3 {
			fmt.Fprintf(&b, "- apiVersion: v1\n  kind: Service\n  metadata: {name: s%d}\n  spec: {ports: [{port: %d}]}\n", i, port+i/2*port)
		}
		return b.String()
	}
	f, dir := folderOf(t, map[string]string{"a.yaml": list(1)})
	write(t, filepath.Join(dir, "a.yaml"), strings.Replace(list(1), "port: 2", "port: 3", 1))
	c := f.reload(t)
	if fmt.Sprint(c.Keys) != "[Service default/s2]" || ports(f) != "default/s0:1 default/s1:1 default/s2:3" {
		t.Errorf("changed %v, in force %q", c.Keys, ports(f))
	}
	write(t, filepath.Join(dir, "a.yaml"), strings.Replace(list(1), "port: 2", "port: 0", 1))
	c = f.reload(t)
	if got := reasons(c.Problems, dir); len(c.Keys) > 0 || ports(f) != "default/s0:1 default/s1:1 default/s2:3" || !strings.HasPrefix(got, "a.yaml:15 InvalidObject") {
		t.Errorf("changed %v, in force %q, problems %q", c.Keys, ports(f), got)
	}
}
