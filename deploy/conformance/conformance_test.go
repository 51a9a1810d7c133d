package conformance

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/gateway-api/conformance"
	confv1 "sigs.k8s.io/gateway-api/conformance/apis/v1"
	"sigs.k8s.io/gateway-api/conformance/utils/suite"
	"sigs.k8s.io/gateway-api/pkg/features"
	"sigs.k8s.io/yaml"
)

// defaults are the suite's flags as they are for Fairway; the command line
// overrides each.
var defaults = map[string]string{
	"gateway-class":        "fairway",
	"conformance-profiles": "GATEWAY-HTTP,GATEWAY-TLS,GATEWAY-GRPC,GATEWAY-TCP,GATEWAY-UDP",
	"organization":         "fairway",
	"project":              "fairway",
	"url":                  "https://fairway.dev",
	"version":              "devel",
	"contact":              "maintainers@fairway.dev",
}

func init() {
	for name, value := range defaults {
		if err := flag.Set(name, value); err != nil {
			panic("bug: " + err.Error())
		}
	}
}

// meshFeatures are those of the mesh profiles, which are no gateway's.
func meshFeatures() []features.FeatureName {
	return features.SetsToNamesSet(features.MeshCoreFeatures, features.MeshExtendedFeatures).UnsortedList()
}

// TestConformance runs all tests of the gateway profiles with every feature
// and writes the standard report, unless -run-test asks for a single test.
func TestConformance(t *testing.T) {
	opts := conformance.DefaultOptions(t)
	if opts.RunTest != "" {
		conformance.RunConformanceWithOptions(t, opts)
		return
	}
	if len(opts.SupportedFeatures) == 0 {
		opts.EnableAllSupportedFeatures = true
		opts.ExemptFeatures = append(opts.ExemptFeatures, meshFeatures()...)
	}
	runWithReport(t, opts)
}

// runWithReport runs the suite, and judges its report.
func runWithReport(t *testing.T, opts suite.ConformanceOptions) {
	t.Helper()
	opts.ReportOutputPath = filepath.Join(t.TempDir(), "report.yaml")
	// The report is written when the suite's test is cleaned up, hence before Run returns.
	t.Run("Suite", func(t *testing.T) { conformance.RunConformanceWithOptions(t, opts) })
	checkReport(t, opts)
}

// checkReport keeps the report under the name that submissions have, and fails
// for what it says is not as it should be.
func checkReport(t *testing.T, opts suite.ConformanceOptions) {
	t.Helper()
	text, err := os.ReadFile(opts.ReportOutputPath)
	if err != nil {
		t.Fatal(err)
	}
	var report confv1.ConformanceReport
	if err := yaml.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	mode := report.Mode
	if strings.HasPrefix(report.ProfileReports[0].Name, "MESH") {
		mode += "-mesh"
	}
	name := fmt.Sprintf("%s-%s-%s-report.yaml", report.GatewayAPIChannel, report.Version, mode)
	if err := os.MkdirAll("reports", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("reports", name), text, 0o644); err != nil {
		t.Fatal(err)
	}
	if got, want := len(report.ProfileReports), len(opts.ConformanceProfiles); got != want {
		t.Errorf("the report has %d profiles, want %d", got, want)
	}
	for _, p := range report.ProfileReports {
		checkStatus(t, p.Name+" core", p.Core)
		if p.Extended == nil {
			continue
		}
		checkStatus(t, p.Name+" extended", p.Extended.Status)
		if u := p.Extended.UnsupportedFeatures; len(u) > 0 {
			t.Errorf("%s: features that were not run: %v", p.Name, u)
		}
	}
}

func checkStatus(t *testing.T, part string, s confv1.Status) {
	t.Helper()
	t.Logf("%-22s %-8s passed %d, skipped %d, failed %d", part, s.Result, s.Statistics.Passed, s.Statistics.Skipped, s.Statistics.Failed)
	if s.Result != confv1.Success || s.Statistics.Skipped > 0 || s.Statistics.Failed > 0 {
		t.Errorf("%s: failed %v, skipped %v", part, s.FailedTests, s.SkippedTests)
	}
}

// TestClassClaimsWhatIsTested holds the GatewayClass's status.supportedFeatures
// against the features that TestConformance runs: no claim without a proof, and
// no proof without its claim.
func TestClassClaimsWhatIsTested(t *testing.T) {
	opts := conformance.DefaultOptions(t)
	var class gatewayv1.GatewayClass
	key := types.NamespacedName{Name: opts.GatewayClassName}
	if err := opts.Client.Get(t.Context(), key, &class); err != nil {
		t.Fatal(err)
	}
	var claimed []string
	for _, f := range class.Status.SupportedFeatures {
		claimed = append(claimed, string(f.Name))
	}
	mesh := meshFeatures()
	for f := range features.AllFeatures {
		if slices.Contains(mesh, f.Name) == slices.Contains(claimed, string(f.Name)) {
			t.Errorf("feature %s of the class %s: claimed %v", f.Name, class.Name, strings.Join(claimed, " "))
		}
	}
}
