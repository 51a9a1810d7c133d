package gatewayapi

import (
	"regexp"
	"testing"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

func TestParseDuration(t *testing.T) {
	tests := []struct {
		text string
		want time.Duration
		ok   bool
	}{
		{"0s", 0, true},
		{"500ms", 500 * time.Millisecond, true},
		{"1h30m5s1ms", time.Hour + 30*time.Minute + 5*time.Second + time.Millisecond, true},
		{"10s10s", 20 * time.Second, true}, // odd, and allowed
		{"99999h", 99999 * time.Hour, true},
		{"", 0, false},
		{"1", 0, false},
		{"s", 0, false},
		{"1.5s", 0, false}, // Go's, not GEP-2257's
		{"-1s", 0, false},
		{"100000ms", 0, false}, // six digits
		{"1us", 0, false},
		{"1s1s1s1s1s", 0, false}, // five parts
		{"1s ", 0, false},
	}
	for _, tt := range tests {
		got, err := parseDuration(gatewayv1.Duration(tt.text))
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("parseDuration(%q) = %v, %v, want %v, ok %t", tt.text, got, err, tt.want, tt.ok)
		}
	}
}

// FuzzParseDuration reads GEP-2257 as it is written: a pattern, and then what
// Go's time.ParseDuration makes of it.
func FuzzParseDuration(f *testing.F) {
	for _, seed := range []string{"1h", "1h30m", "500ms", "0s", "1m1ms", "mm", "5mss"} {
		f.Add(seed)
	}
	gep := regexp.MustCompile(`^([0-9]{1,5}(h|m|s|ms)){1,4}$`)
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseDuration(gatewayv1.Duration(text))
		want, wantErr := time.ParseDuration(text)
		if !gep.MatchString(text) || wantErr != nil {
			want, wantErr = 0, errMalformed
		}
		if got != want || (err == nil) != (wantErr == nil) {
			t.Errorf("parseDuration(%q) = %v, %v, want %v, %v", text, got, err, want, wantErr)
		}
	})
}
