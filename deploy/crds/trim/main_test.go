package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What is in the repository is what "make crds" writes of the module in go.mod.
func TestDefinitionsAreOfTheModule(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "istio.io/api").Output()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "kubernetes", "customresourcedefinitions.gen.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := definitions(string(text))
	if err != nil {
		t.Fatal(err)
	}
	have, err := filepath.Glob("../istio/*.yaml")
	if err != nil || len(have) != len(want) {
		t.Errorf("%d definitions, %v: want %d", len(have), err, len(want))
	}
	for name := range want {
		have, err := os.ReadFile(filepath.Join("../istio", name))
		if err != nil || string(have) != want[name] {
			t.Errorf("%s, %v: want what make crds writes", name, err)
		}
	}
}

func TestTrimKeepsAllButDescriptions(t *testing.T) {
	const text = `# made by a program
spec:
  columns:
  - description: 'of kubectl
      get'
    name: Age
  properties:
    description:
      description: A field of that name.
      type: string
    port:
      description: |-
        Several lines.

        And more of them.
      type: integer
    text:
      description: 'quoted

        with a gap'
      type: string
`
	const want = `spec:
  columns:
  - description: 'of kubectl
      get'
    name: Age
  properties:
    description:
      type: string
    port:
      type: integer
    text:
      type: string
`
	if got := trim(text); got != want {
		t.Errorf("trim = %s\nwant %s", got, want)
	}
}
