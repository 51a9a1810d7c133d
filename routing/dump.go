package routing

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Dump writes all that is in force as text for people: sorted, the same bytes
// for the same Spec, no keys.
func (s *Snapshot) Dump(w io.Writer) error {
	b := bufio.NewWriter(w)
	for _, p := range s.ports {
		p.dump(b)
	}
	for _, p := range byName(maps.Collect(s.doors.all())) {
		p.dump(b)
	}
	for _, r := range byName(maps.Collect(s.routes.all())) {
		r.dump(b)
	}
	for _, r := range byName(maps.Collect(s.defaults.all())) {
		r.dump(b)
	}
	for _, c := range slices.SortedFunc(s.Clusters(), func(a, b *Cluster) int { return cmp.Compare(a.Name, b.Name) }) {
		fmt.Fprintf(b, "cluster %s\n", details(c))
	}
	for _, e := range byName(maps.Collect(s.endpoints.all())) {
		fmt.Fprintf(b, "endpoints of %s\n", e.Cluster)
		for i := range e.List {
			fmt.Fprintf(b, "  %s\n", details(&e.List[i]))
		}
	}
	for _, c := range byName(maps.Collect(s.certificates.all())) {
		fmt.Fprintf(b, "certificate %s\n", c.Name)
	}
	for _, p := range byName(maps.Collect(s.policies.all())) {
		fmt.Fprintf(b, "policy %s\n", details(p))
	}
	for _, w := range byName(maps.Collect(s.workloads.all())) {
		fmt.Fprintf(b, "workload %s\n", details(w))
	}
	for _, c := range byName(maps.Collect(s.captures.all())) {
		fmt.Fprintf(b, "capture %s\n", details(c))
	}
	for _, p := range s.Problems() {
		level := cmp.Or(strings.ToLower(string(p.Level)), "problem")
		fmt.Fprintf(b, "%s %s: %s\n", level, p.Reason, p)
	}
	return b.Flush()
}

func (p *Port) dump(w io.Writer) {
	fmt.Fprintf(w, "port %s %s\n", p.Key, p.Protocol)
	for _, l := range p.listeners {
		fmt.Fprintf(w, "  listener %s\n", details(l))
		bound := p.bound.get(l.pattern())
		if bound.to != nil {
			fmt.Fprintf(w, "    all requests: %s\n", l.To)
		}
		tables := bound.hosts
		for _, pattern := range tables.patterns() {
			fmt.Fprintf(w, "    host %s\n", pattern)
			for _, c := range tables.get(pattern).candidates() {
				fmt.Fprintf(w, "      %s: %s rules[%d].matches[%d]\n", c, c.target.Route.Name, c.target.Index, c.index)
			}
		}
	}
}

func (r *compiledRoute) dump(w io.Writer) {
	fmt.Fprintf(w, "route %s\n", r.route.Name)
	for _, t := range r.targets {
		fmt.Fprintf(w, "  rules[%d]: %s\n", t.Index, details(t.Action))
	}
}

// details prints the fields of a part of a Spec that are not zero, by their
// names, on one line. Bytes show as their number, and a field that stays out of
// JSON stays out of here: it is a key. Of headers with the tag dump:"names" the
// values stay out: they may be passwords. Origins are for messages.
func details(part any) string {
	var b strings.Builder
	writeFields(&b, reflect.ValueOf(part).Elem())
	return b.String()
}

func writeFields(b *strings.Builder, v reflect.Value) {
	separator := ""
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if v.Field(i).IsZero() || field.Tag.Get("json") == "-" || field.Type == reflect.TypeFor[Origin]() {
			continue
		}
		fmt.Fprintf(b, "%s%s=", separator, field.Name)
		if list, ok := v.Field(i).Interface().([]Header); ok && field.Tag.Get("dump") == "names" {
			writeNames(b, list)
		} else {
			writeValue(b, v.Field(i))
		}
		separator = " "
	}
}

func writeValue(b *strings.Builder, v reflect.Value) {
	if s, ok := v.Interface().(fmt.Stringer); ok && v.Kind() != reflect.Pointer {
		b.WriteString(s.String())
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		writeValue(b, v.Elem())
	case reflect.Struct:
		b.WriteByte('{')
		writeFields(b, v)
		b.WriteByte('}')
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			fmt.Fprintf(b, "%d bytes", v.Len())
			return
		}
		writeList(b, v)
	case reflect.Map:
		writeMap(b, v)
	case reflect.String:
		fmt.Fprintf(b, "%q", v.String())
	default:
		fmt.Fprint(b, v.Interface())
	}
}

// writeMap prints entries in the order of their keys.
func writeMap(b *strings.Builder, v reflect.Value) {
	keys := v.MapKeys()
	slices.SortFunc(keys, func(x, y reflect.Value) int { return strings.Compare(x.String(), y.String()) })
	b.WriteByte('{')
	for i, key := range keys {
		if i > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(b, "%q=", key.String())
		writeValue(b, v.MapIndex(key))
	}
	b.WriteByte('}')
}

func writeNames(b *strings.Builder, list []Header) {
	names := make([]string, len(list))
	for i := range list {
		names[i] = list[i].Name
	}
	writeValue(b, reflect.ValueOf(names))
}

func writeList(b *strings.Builder, v reflect.Value) {
	b.WriteByte('[')
	for i := range v.Len() {
		if i > 0 {
			b.WriteByte(' ')
		}
		writeValue(b, v.Index(i))
	}
	b.WriteByte(']')
}
