package dashboards

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// sources is all that the program says in the rooms that name metrics.
func sources(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	err := filepath.WalkDir("../../gateway", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		data, err := os.ReadFile(path)
		text.Write(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// A renamed metric leaves an empty panel, which nobody sees until it is needed.
func TestMetricsExist(t *testing.T) {
	program := sources(t)
	name := regexp.MustCompile(`\b(fairway|istio)_[a-z_]+`)
	entries, err := Files.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := Files.ReadFile(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		var board struct {
			Title  string
			Panels []struct {
				Title   string
				Targets []struct{ Expr string }
			}
		}
		if err := json.Unmarshal(data, &board); err != nil || board.Title == "" || len(board.Panels) == 0 {
			t.Fatalf("%s: %q with %d panels, %v", e.Name(), board.Title, len(board.Panels), err)
		}
		for _, p := range board.Panels {
			for _, target := range p.Targets {
				metrics := name.FindAllString(target.Expr, -1)
				if len(metrics) == 0 {
					t.Errorf("%s: %s asks for no metric: %s", e.Name(), p.Title, target.Expr)
				}
				for _, m := range metrics {
					if m = strings.TrimSuffix(m, "_bucket"); !strings.Contains(program, `"`+m+`"`) {
						t.Errorf("%s: %s asks for %s, which the program does not have", e.Name(), p.Title, m)
					}
				}
			}
		}
	}
}
