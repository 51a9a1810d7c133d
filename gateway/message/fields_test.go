package message

import (
	"strings"
	"testing"
)

func TestNamesHashApart(t *testing.T) {
	for n := Other + 1; n < numNames; n++ {
		text := nameText[n]
		if text == "" || text != strings.ToLower(text) || !IsToken(text) {
			t.Errorf("name %d is %q, want a token in lower case", n, text)
			continue
		}
		if got := namesByHash[nameHash(text)]; got != n {
			t.Errorf("%s shares its slot with %s", text, got)
		}
		for _, s := range []string{text, strings.ToUpper(text), strings.ToUpper(text[:1]) + text[1:]} {
			if got := Lookup(s); got != n {
				t.Errorf("Lookup(%q) = %q", s, got)
			}
		}
	}
}

func FuzzLookup(f *testing.F) {
	f.Add("Content-Length")
	f.Add("content\rlength")
	f.Add("cooKie")
	f.Fuzz(func(t *testing.T, s string) {
		want := Other
		for n := Other + 1; n < numNames; n++ {
			if ascii(s) && strings.EqualFold(nameText[n], s) {
				want = n
			}
		}
		if got := Lookup(s); got != want {
			t.Errorf("Lookup(%q) = %q, want %q", s, got, want)
		}
		if got, want := EqualFold("x-k", s), ascii(s) && strings.EqualFold("x-k", s); got != want {
			t.Errorf("EqualFold(x-k, %q) = %v, want %v", s, got, want)
		}
	})
}

// ascii keeps strings.EqualFold from folding letters that only look like
// ASCII's: the Kelvin sign.
func ascii(s string) bool { return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0 }

func fields(pairs ...string) (f Fields) {
	for i := 0; i < len(pairs); i += 2 {
		f.Append(pairs[i], pairs[i+1])
	}
	return f
}

func text(f Fields) string {
	var b strings.Builder
	for _, x := range f {
		b.WriteString(x.Text + "=" + x.Value + " ")
	}
	return strings.TrimSpace(b.String())
}

func TestFieldsEdits(t *testing.T) {
	const all = "Via=1 X-A=2 via=3 x-a=4 Date=5"
	tests := []struct {
		what string
		edit func(f *Fields)
		want string
	}{
		{"nothing", func(*Fields) {}, all},
		{"Add", func(f *Fields) { f.Add(Vary, "6") }, all + " vary=6"},
		{"Append", func(f *Fields) { f.Append("X-B", "6") }, all + " X-B=6"},
		{"Set one that is there", func(f *Fields) { f.Set(Via, "6") }, "X-A=2 x-a=4 Date=5 via=6"},
		{"Set one that is not", func(f *Fields) { f.Set(Vary, "6") }, all + " vary=6"},
		{"SetNamed", func(f *Fields) { f.SetNamed("x-a", "6") }, "Via=1 via=3 Date=5 x-a=6"},
		{"SetNamed, well known", func(f *Fields) { f.SetNamed("date", "6") }, "Via=1 X-A=2 via=3 x-a=4 date=6"},
		{"Remove the first and another", func(f *Fields) { f.Remove(Via) }, "X-A=2 x-a=4 Date=5"},
		{"Remove the last", func(f *Fields) { f.Remove(Date) }, "Via=1 X-A=2 via=3 x-a=4"},
		{"Remove one that is not there", func(f *Fields) { f.Remove(Vary) }, all},
		{"RemoveNamed", func(f *Fields) { f.RemoveNamed("x-a") }, "Via=1 via=3 Date=5"},
		{"RemoveNamed, well known", func(f *Fields) { f.RemoveNamed("via") }, "X-A=2 x-a=4 Date=5"},
		{"RemoveNamed, not there", func(f *Fields) { f.RemoveNamed("x-c") }, all},
	}
	for _, tt := range tests {
		f := fields("Via", "1", "X-A", "2", "via", "3", "x-a", "4", "Date", "5")
		tt.edit(&f)
		if got := text(f); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.what, got, tt.want)
		}
	}
}

func TestFieldsValues(t *testing.T) {
	f := fields("Via", "1", "X-A", "2", "via", "3", "x-a", "4", "Date", "5")
	tests := []struct {
		lower, first, all string
		found             bool
	}{
		{"via", "1", "1, 3", true},
		{"x-a", "2", "2, 4", true}, // RFC 9110 section 5.3
		{"date", "5", "5", true},
		{"vary", "", "", false},
		{"x-b", "", "", false},
	}
	for _, tt := range tests {
		all, found := f.Value(tt.lower)
		if all != tt.all || found != tt.found {
			t.Errorf("Value(%q) = %q, %v; want %q, %v", tt.lower, all, found, tt.all, tt.found)
		}
		id := Lookup(tt.lower)
		if id == Other {
			continue
		}
		first, found := f.Get(id)
		if first != tt.first || found != tt.found || f.Has(id) != tt.found {
			t.Errorf("Get(%s) = %q, %v; want %q, %v", id, first, found, tt.first, tt.found)
		}
	}
}

func TestFieldsDoNotAllocate(t *testing.T) {
	f := make(Fields, 0, 16)
	n := testing.AllocsPerRun(100, func() {
		f = f[:0]
		f.Append("Content-Type", "text/plain")
		f.Append("X-Custom", "1")
		f.Add(Via, "1.1 fairway")
		f.Set(Via, "1.1 fairway")
		f.SetNamed("x-custom", "2")
		f.Value("x-custom")
		f.Get(ContentType)
		f.Remove(ContentType)
		f.RemoveNamed("x-custom")
	})
	if n != 0 {
		t.Errorf("edits allocate %v times, want 0", n)
	}
}

func BenchmarkLookup(b *testing.B) {
	names := []string{"Host", "User-Agent", "Accept", "Accept-Encoding", "X-Forwarded-For", "x-request-id", "X-Custom", "Content-Type"}
	for b.Loop() {
		for _, n := range names {
			Lookup(n)
		}
	}
}
