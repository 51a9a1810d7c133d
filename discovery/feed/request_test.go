package feed

import (
	"strconv"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"fairway.dev/routing"
)

// A stolen certificate opens streams: what comes on them is measured before it
// is unpacked.
func TestRequestsAreBounded(t *testing.T) {
	numbered := func(n int) []string {
		list := make([]string, n)
		for i := range list {
			list[i] = strconv.Itoa(i)
		}
		return list
	}
	versions := func(n int) map[string]string {
		m := make(map[string]string, n)
		for _, name := range numbered(n) {
			m[name] = ""
		}
		return m
	}
	var problems []*routing.Problem
	for range maxProblems {
		text := strings.Repeat("x", maxText)
		problems = append(problems, &routing.Problem{
			Origin: routing.Origin{Kind: text, Namespace: text, Name: text, Field: text}, Reason: routing.Reason(text), Err: errTest(text),
		})
	}
	worst := &corev3.Node{Id: strings.Repeat("a", maxName), Metadata: metadataOf(problems, []string{"*"})}
	empty := &structpb.ListValue{Values: make([]*structpb.Value, maxNode/2)} // two bytes each, and sixty in memory
	for i := range empty.Values {
		empty.Values[i] = &structpb.Value{}
	}
	tests := []struct {
		name string
		r    *discoveryv3.DeltaDiscoveryRequest
		want string
	}{
		{"nothing", &discoveryv3.DeltaDiscoveryRequest{}, ""},
		{"all that a pod may have to say", &discoveryv3.DeltaDiscoveryRequest{
			Node: worst, TypeUrl: PartType, ResourceNamesSubscribe: []string{"*"}, ResponseNonce: "1",
			ErrorDetail: &rpcstatus.Status{Message: strings.Repeat("x", maxText)},
		}, ""},
		{"many versions", &discoveryv3.DeltaDiscoveryRequest{InitialResourceVersions: versions(maxHas)}, ""},
		{"too many versions", &discoveryv3.DeltaDiscoveryRequest{InitialResourceVersions: versions(maxHas + 1)}, "versions"},
		{"many names", &discoveryv3.DeltaDiscoveryRequest{ResourceNamesSubscribe: numbered(maxNames)}, ""},
		{"too many names", &discoveryv3.DeltaDiscoveryRequest{ResourceNamesSubscribe: numbered(maxNames), ResourceNamesUnsubscribe: []string{"a"}}, "names"},
		{"a long name", &discoveryv3.DeltaDiscoveryRequest{ResourceNamesSubscribe: []string{strings.Repeat("a", maxNameBytes)}}, "a name of"},
		{"a large node", &discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{UserAgentName: strings.Repeat("a", maxNode)}}, "a node of"},
		{"a node of many small things", &discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Metadata: &structpb.Struct{
			Fields: map[string]*structpb.Value{"a": structpb.NewListValue(empty)},
		}}}, "a node of"},
		{"a long error", &discoveryv3.DeltaDiscoveryRequest{ErrorDetail: &rpcstatus.Status{Message: strings.Repeat("a", maxRest)}}, "more than"},
	}
	for _, tt := range tests {
		text, err := proto.Marshal(tt.r)
		if err != nil {
			t.Fatal(err)
		}
		got := &discoveryv3.DeltaDiscoveryRequest{}
		err = newCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(text[:len(text)/2]), mem.SliceBuffer(text[len(text)/2:])}, got)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if err == nil && !proto.Equal(got, tt.r) {
			t.Errorf("%s: came as something else", tt.name)
		}
	}
}

type errTest string

func (e errTest) Error() string { return string(e) }

// What is no message is an error, and what is within bounds is read as
// Protocol Buffers are.
func FuzzRequest(f *testing.F) {
	whole, err := proto.Marshal(&discoveryv3.DeltaDiscoveryRequest{
		Node: &corev3.Node{Id: "shop/edge-1"}, TypeUrl: PartType, ResourceNamesSubscribe: []string{"*"}, InitialResourceVersions: map[string]string{"a": "1"},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add([]byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, text []byte) {
		got, want := &discoveryv3.DeltaDiscoveryRequest{}, &discoveryv3.DeltaDiscoveryRequest{}
		err := newCodec().Unmarshal(mem.BufferSlice{mem.SliceBuffer(text)}, got)
		wantErr := proto.Unmarshal(text, want)
		if err == nil && (wantErr != nil || !proto.Equal(got, want)) {
			t.Errorf("%q: read as %v, want %v, %v", text, got, want, wantErr)
		}
		if err != nil && wantErr == nil && len(text) < maxNameBytes {
			t.Errorf("%q: %v", text, err)
		}
	})
}

// A name that no resource has is taken for any: nothing is believed.
func TestLongRefusedNames(t *testing.T) {
	m := metadataOf(nil, []string{"cluster/a", strings.Repeat("a", maxNameBytes+1)})
	if _, refused, ok := problemsOf(m); !ok || len(refused) != 2 || refused[0] != "cluster/a" || refused[1] != wildcard {
		t.Errorf("refused %q, want cluster/a and any", refused)
	}
}
