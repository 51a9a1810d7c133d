package telemetry

import (
	"strings"
	"testing"
)

func TestFlagsHaveEnvoysCodes(t *testing.T) {
	tests := []struct {
		flags Flags
		want  string
	}{
		{0, "-"},
		{NoRoute, "NR"},
		{UpstreamFailure | UpstreamRetryLimit, "UF,URX"},
		{StreamIdle, "SI"},
		{DurationTimeout, "DT"},
		{NoHealthyUpstream | NameFailure, "UH,DF"},
		{DownstreamReset, "DR"},
		{1 << 31, ""}, // no such flag: nothing to say, and no panic
	}
	for _, tt := range tests {
		if got := tt.flags.String(); got != tt.want {
			t.Errorf("Flags(%#x) = %q, want %q", uint32(tt.flags), got, tt.want)
		}
	}
}

// Each flag has a code of its own: the codes are a table by bit, which a new
// constant would shift.
func TestEachFlagHasItsOwnCode(t *testing.T) {
	if last := Flags(1) << (len(flagText) - 1); last != DownstreamReset {
		t.Fatalf("the last code belongs to %#x, want that of DownstreamReset, %#x", uint32(last), uint32(DownstreamReset))
	}
	seen := map[string]bool{}
	for _, code := range flagText {
		if code == "" || strings.ToUpper(code) != code || seen[code] {
			t.Errorf("code %q is empty, not in upper case, or there twice", code)
		}
		seen[code] = true
	}
}

func TestFlagsAppendDoesNotAllocate(t *testing.T) {
	buf := make([]byte, 0, 64)
	flags := UpstreamFailure | UpstreamRetryLimit | DownstreamClosed
	if n := testing.AllocsPerRun(100, func() { buf = flags.Append(buf[:0]) }); n != 0 {
		t.Errorf("Append allocates %v times, want 0", n)
	}
	if string(buf) != "UF,URX,DC" {
		t.Errorf("Append = %q, want UF,URX,DC", buf)
	}
}
