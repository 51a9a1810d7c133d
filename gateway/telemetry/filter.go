package telemetry

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/ext"

	"fairway.dev/gateway/message"
)

// A Filter says which exchanges are logged: an expression of CEL over Istio's
// attributes (Telemetry's accessLogging.filter.expression). A nil Filter lets
// all pass. It may be used by all loops.
//
// The attributes are those of Envoy that are known once an exchange is over:
//
//	request.path url_path host scheme method headers referer useragent id protocol duration size
//	response.code flags grpc_status size
//	connection.mtls
//	source.address port
//	upstream.address port
//	xds.cluster_name route_name
//
// flags is the text of the access log ("UH,URX"); Envoy's is a number.
type Filter struct{ program cel.Program }

// maxFilterCost bounds an evaluation, in CEL's units: about the number of
// operations.
const maxFilterCost = 10000

// What an expression sees. Names are Envoy's.
type (
	celRequest struct {
		Path      string            `cel:"path"`
		URLPath   string            `cel:"url_path"`
		Host      string            `cel:"host"`
		Scheme    string            `cel:"scheme"`
		Method    string            `cel:"method"`
		Headers   map[string]string `cel:"headers"`
		Referer   string            `cel:"referer"`
		UserAgent string            `cel:"useragent"`
		ID        string            `cel:"id"`
		Protocol  string            `cel:"protocol"`
		Duration  time.Duration     `cel:"duration"`
		Size      int64             `cel:"size"`
	}
	celResponse struct {
		Code       int64  `cel:"code"`
		Flags      string `cel:"flags"`
		GRPCStatus int64  `cel:"grpc_status"`
		Size       int64  `cel:"size"`
	}
	celConnection struct {
		MTLS bool `cel:"mtls"`
	}
	celPeer struct {
		Address string `cel:"address"`
		Port    int64  `cel:"port"`
	}
	celXDS struct {
		Cluster string `cel:"cluster_name"`
		Route   string `cel:"route_name"`
	}
)

// NewFilter compiles an expression. The error says what is wrong with it.
func NewFilter(expression string) (*Filter, error) {
	types := []any{ext.ParseStructTags(true)}
	object := func(name string, t reflect.Type) cel.EnvOption {
		types = append(types, t)
		return cel.Variable(name, cel.ObjectType(t.String()))
	}
	variables := []cel.EnvOption{
		object("request", reflect.TypeFor[celRequest]()), object("response", reflect.TypeFor[celResponse]()),
		object("connection", reflect.TypeFor[celConnection]()), object("source", reflect.TypeFor[celPeer]()),
		cel.Variable("upstream", cel.ObjectType(reflect.TypeFor[celPeer]().String())),
		object("xds", reflect.TypeFor[celXDS]()),
	}
	env, err := cel.NewEnv(append(variables, ext.NativeTypes(types...), ext.Strings())...)
	if err != nil {
		return nil, err
	}
	ast, issues := env.Compile(expression)
	if err := issues.Err(); err != nil {
		return nil, err
	}
	if ast.OutputType() != cel.BoolType {
		return nil, fmt.Errorf("an expression of type %s: want bool", ast.OutputType())
	}
	program, err := env.Program(ast, cel.CostLimit(maxFilterCost), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, err
	}
	return &Filter{program}, nil
}

// Passes reports whether an exchange is logged. One that the expression cannot
// be evaluated for is not, as with Envoy.
func (f *Filter) Passes(e *Exchanges, r *Record, scheme string, fields message.Fields) bool {
	if f == nil {
		return true
	}
	headers := make(map[string]string, len(fields))
	for i := range fields {
		headers[strings.ToLower(fields[i].Text)] = fields[i].Value
	}
	labels := e.Labels()
	out, _, err := f.program.Eval(map[string]any{
		"request": celRequest{
			Path: r.Path, URLPath: r.Path, Host: r.Authority, Scheme: scheme, Method: r.Method, Headers: headers,
			Referer: headers["referer"], UserAgent: r.UserAgent, ID: r.RequestID, Protocol: r.Proto.String(),
			Duration: r.Duration, Size: r.BytesReceived,
		},
		"response":   celResponse{int64(r.Status), string(r.Flags.Append(nil)), int64(r.GRPCStatus), r.BytesSent},
		"connection": celConnection{r.Client == VerifiedClient},
		"source":     peerOf(r.Remote), "upstream": peerOf(r.Endpoint),
		"xds": celXDS{labels.Cluster, labels.Route},
	})
	return err == nil && out.Value() == true
}

func peerOf(a netip.AddrPort) celPeer {
	if !a.IsValid() {
		return celPeer{}
	}
	return celPeer{a.Addr().String(), int64(a.Port())}
}
