package main

import (
	"encoding/json"
	"io"

	"fairway.dev/routing"
)

// A findingState is a Problem as `fairway check -o json` prints it. Its names
// are stable; what is empty is left out.
type findingState struct {
	Code      routing.Reason `json:"code"`
	Level     string         `json:"level"` // error, warning, info
	Kind      string         `json:"kind"`
	Namespace string         `json:"namespace,omitempty"`
	Name      string         `json:"name,omitempty"`
	Field     string         `json:"field,omitempty"`
	File      string         `json:"file,omitempty"`
	Line      int            `json:"line,omitempty"`
	Text      string         `json:"text"`
	Fix       string         `json:"fix,omitempty"`
}

// writeFindingsJSON prints {"findings": [...]}.
func writeFindingsJSON(out io.Writer, problems []*routing.Problem) error {
	findings := make([]findingState, len(problems))
	for i, p := range problems {
		o := p.Origin
		findings[i] = findingState{
			Code: p.Reason, Level: levelName(p.Level), Kind: o.Kind, Namespace: o.Namespace, Name: o.Name,
			Field: o.Field, File: o.File, Line: o.Line, Text: p.Err.Error(), Fix: p.Fix,
		}
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(map[string]any{"findings": findings})
}
