package routing

// Telemetry is what is told of the exchanges of a listener (Istio's Telemetry).
type Telemetry struct {
	AccessLog *AccessLog // nil: the process's own
	Tracing   *Tracing   // nil: none
	Metrics   *Metrics   // nil: all, as they are
}

// An AccessLog says which exchanges are logged.
type AccessLog struct {
	Off bool
	// Filter is an expression of CEL over Istio's attributes ("response.code >=
	// 400"); empty: all.
	Filter string
}

// Tracing is where spans go, and which requests have them.
type Tracing struct {
	// Cluster takes spans in OTLP: over gRPC, or over HTTP where Path is not
	// empty.
	Cluster   ClusterName
	Path      string
	Authority string   // that the collector is asked under, in HTTP
	Header    []Header // of each export
	Service   string   // resource attribute service.name
	Percent   float64  // of the requests whose caller has not decided
	Tags      []Tag
	Silent    bool // context is passed on, and no span is made
}

// A Tag is an attribute of each span: a literal, or a header's value.
type Tag struct{ Name, Literal, Header, Default string }

// Metrics says what is different about the metrics of a listener.
type Metrics struct {
	Overrides []MetricOverride
}

// A MetricOverride is of one metric, by Istio's name ("REQUEST_COUNT"), or of
// all where the name is empty.
type MetricOverride struct {
	Metric string
	Off    bool
	Remove []string // labels
}
