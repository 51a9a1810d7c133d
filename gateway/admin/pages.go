package admin

import (
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/netip"
	"strings"

	"fairway.dev/routing"
)

func live(w http.ResponseWriter, _ *http.Request) {
	text(w)
	io.WriteString(w, "ok\n")
}

// ready answers 200, or 503 and one line for each thing that is not done.
func (o *Options) ready(w http.ResponseWriter, _ *http.Request) {
	ready, unfinished := o.Ready()
	text(w)
	if ready {
		io.WriteString(w, "ok\n")
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	io.WriteString(w, "not ready\n")
	for _, task := range unfinished {
		fmt.Fprintf(w, "- %s\n", task)
	}
}

func (o *Options) snapshot(w http.ResponseWriter, r *http.Request) {
	snap := o.Snapshot()
	if snap == nil {
		http.Error(w, "nothing is in force yet", http.StatusServiceUnavailable)
		return
	}
	switch format := r.URL.Query().Get("format"); format {
	case "json":
		writeJSON(w, snap.Spec())
	case "", "text":
		text(w)
		// The only error is that nobody reads any more.
		_ = snap.Dump(w)
	default:
		http.Error(w, fmt.Sprintf("format %q: want text or json", format), http.StatusBadRequest)
	}
}

// problem is the JSON form of a routing.Problem.
type problem struct {
	Reason routing.Reason `json:"reason"`
	Origin routing.Origin `json:"origin"`
	Text   string         `json:"text"`
	Level  routing.Level  `json:"level,omitempty"`
	Fix    string         `json:"fix,omitempty"`
}

func (o *Options) problems(w http.ResponseWriter, r *http.Request) {
	all := o.Problems()
	if r.URL.Query().Get("format") == "json" {
		list := make([]problem, 0, len(all))
		for _, p := range all {
			list = append(list, problem{p.Reason, p.Origin, p.Err.Error(), p.Level, p.Fix})
		}
		writeJSON(w, list)
		return
	}
	text(w)
	fmt.Fprintf(w, "%d problems\n", len(all))
	for _, p := range all {
		if p.Level != routing.Error {
			fmt.Fprintf(w, "%s: ", strings.ToLower(string(p.Level)))
		}
		fmt.Fprintf(w, "%s: %s", p.Reason, p)
		if place := p.Origin.Place(); place != "" {
			fmt.Fprintf(w, " (%s)", place)
		}
		fmt.Fprintln(w)
	}
}

func (o *Options) explain(w http.ResponseWriter, r *http.Request) {
	snap := o.Snapshot()
	if snap == nil {
		http.Error(w, "nothing is in force yet", http.StatusServiceUnavailable)
		return
	}
	q := r.URL.Query()
	question := Question{Method: q.Get("method"), URL: q.Get("url"), Headers: q["header"], Source: q.Get("source")}
	if text := q.Get("address"); text != "" {
		var err error
		if question.Address, err = netip.ParseAddr(text); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	explanation, err := Explain(snap, question)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	text(w)
	io.WriteString(w, explanation)
}

// index is self-contained: it must show where no network is.
var index = template.Must(template.New("index").Parse(`<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Fairway</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50em; margin: 2em auto; padding: 0 1em; color: #222; background: #fff }
td { padding: .2em 1em .2em 0; vertical-align: top }
a { color: #0645ad }
.no { color: #a00 }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818 } a { color: #8ab4f8 } .no { color: #f88 } }
</style>
<h1>Fairway</h1>
{{with .Ready}}<p>{{if .Yes}}Ready.{{else}}<span class="no">Not ready:</span> {{range $i, $t := .Unfinished}}{{if $i}}, {{end}}{{$t}}{{end}}.{{end}}</p>{{end}}
{{with .Problems}}<p class="no">{{.}} parts of the configuration are not in force.</p>{{end}}
<table>
{{range .Pages}}<tr><td><a href="{{.Path}}">{{.Path}}</a><td>{{.Text}}
{{end}}</table>
`))

// readiness is what the index shows of Options.Ready.
type readiness struct {
	Yes        bool
	Unfinished []string
}

func (o *Options) index(w http.ResponseWriter, _ *http.Request) {
	var data struct {
		Ready    *readiness
		Problems int
		Pages    []page
	}
	for _, p := range pages {
		if o.has(p) {
			data.Pages = append(data.Pages, p)
		}
	}
	if o.Ready != nil {
		data.Ready = &readiness{}
		data.Ready.Yes, data.Ready.Unfinished = o.Ready()
	}
	if o.Problems != nil {
		for _, p := range o.Problems() {
			if p.Level == routing.Error {
				data.Problems++
			}
		}
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	// As with snapshot: nobody is left to tell.
	_ = index.Execute(w, data)
}

// has reports whether p is served.
func (o *Options) has(p page) bool {
	path, _, _ := strings.Cut(p.Path, "?")
	switch path {
	case "/readyz":
		return o.Ready != nil
	case "/metrics":
		return o.Metrics != nil
	case "/debug/snapshot", "/debug/explain":
		return o.Snapshot != nil
	case "/debug/problems":
		return o.Problems != nil
	case "/debug/upstream":
		return o.Upstream != nil
	case "/debug/identity":
		return o.Identity != nil
	case "/debug/fleet":
		return o.Fleet != nil
	}
	return true
}

func text(w http.ResponseWriter) { w.Header().Set("Content-Type", "text/plain; charset=utf-8") }

func writeJSON(w http.ResponseWriter, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(b, '\n'))
}
