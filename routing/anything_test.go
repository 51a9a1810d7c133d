package routing

import (
	"net/netip"
	"reflect"
	"testing"
	"time"
)

// Odd values, and some that work, so that a few parts get far.
var (
	oddStrings = []string{
		"", "/", "/p", "*", "*.a", "x.a", "HTTP", "HTTPS", "TLS", "TCP", "UDP", "b", "ns/gw/http", "HTTPRoute/ns/r",
		"(", "a)|(b", ".*", "A", "a b", "\x00", "\xff", "//", "/?", "https://x.a", "%", "*.", ".", "*.*",
	}
	oddNumbers = []int64{0, 1, 80, 200, 302, 500, -1, 1 << 40}
)

// fill sets v, whatever it is, to something.
func (d *dice) fill(v reflect.Value) {
	switch p := v.Addr().Interface().(type) {
	case *netip.Addr:
		*p = choose(d, []netip.Addr{{}, netip.IPv4Unspecified(), netip.MustParseAddr("fe80::1%eth0")})
		return
	case *netip.AddrPort:
		*p = choose(d, []netip.AddrPort{{}, netip.MustParseAddrPort("10.0.0.1:80")})
		return
	case *netip.Prefix:
		*p = choose(d, []netip.Prefix{{}, netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::/0")})
		return
	case *PathKind:
		*p = PathKind(d.pick(7)) // the last is none
		return
	case *TextKind:
		*p = TextKind(d.pick(5))
		return
	case *time.Time:
		*p = choose(d, someCreated)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			d.fill(v.Field(i))
		}
	case reflect.Pointer:
		if d.pick(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			d.fill(v.Elem())
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), d.pick(3), 2))
		for i := range v.Len() {
			d.fill(v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range d.pick(4) {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			d.fill(key)
			d.fill(value)
			v.SetMapIndex(key, value)
		}
	case reflect.String:
		v.SetString(choose(d, oddStrings))
	case reflect.Bool:
		v.SetBool(d.pick(2) == 1)
	default:
		switch n := choose(d, oddNumbers); {
		case v.CanInt():
			v.SetInt(n)
		case v.CanFloat():
			v.SetFloat(float64(n))
		default:
			v.SetUint(uint64(n))
		}
	}
}

// checkAnything holds that no Spec and no Delta makes the package panic, and
// that Update is Compile for them too.
func checkAnything(t *testing.T, d *dice) {
	t.Helper()
	var spec Spec
	var delta Delta
	d.fill(reflect.ValueOf(&spec).Elem())
	d.fill(reflect.ValueOf(&delta).Elem())
	snap, _ := Compile(&spec)
	next, problems := snap.Update(&delta)
	for _, p := range problems {
		if p.Error() == "" || p.Reason == "" {
			t.Errorf("a problem that says nothing: %#v", p)
		}
	}
	again, _ := Compile(next.Spec())
	if got, want := dump(next), dump(again); got != want {
		t.Errorf("after Update:\n%s\nafter Compile:\n%s", got, want)
	}
	for _, p := range next.Ports() {
		for _, r := range d.requests() {
			checkExplanation(t, p, &r)
		}
	}
}

func TestAnythingCompiles(t *testing.T) {
	for seed := range uint64(2000) {
		checkAnything(t, &dice{randomBytes(seed, 3000)})
	}
}

func FuzzAnything(f *testing.F) {
	for seed := range uint64(4) {
		f.Add(randomBytes(seed, 3000))
	}
	f.Fuzz(func(t *testing.T, data []byte) { checkAnything(t, &dice{data}) })
}
