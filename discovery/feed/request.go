package feed

import (
	"errors"
	"fmt"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Bounds of a request, which is looked at before it is unpacked: a few bytes
// on the wire become a hundred in memory.
const (
	maxNode      = 512 << 10 // bytes of Node: a hundred Problems and their texts
	maxNames     = 1 << 12   // that a stream may subscribe to one by one, or a request names
	maxHas       = 1 << 17   // entries of initial_resource_versions
	maxRest      = 64 << 10  // bytes of all other fields
	maxNameBytes = 1 << 10   // of a name
)

// The fields of DeltaDiscoveryRequest that have bounds of their own.
const (
	nodeNumber        protowire.Number = 1
	subscribeNumber   protowire.Number = 3
	unsubscribeNumber protowire.Number = 4
	versionsNumber    protowire.Number = 5
)

// codec is Protocol Buffers, with bounds on requests of the feed.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

// Unmarshal implements encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	r, ok := v.(*discoveryv3.DeltaDiscoveryRequest)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	text := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer text.Free()
	if err := bounded(text.ReadOnlyData()); err != nil {
		return err
	}
	return proto.Unmarshal(text.ReadOnlyData(), r)
}

// bounded returns an error unless a request, as it came, is within bounds.
func bounded(text []byte) error {
	var node, names, has, rest int
	for len(text) > 0 {
		number, _, n := protowire.ConsumeField(text)
		if n < 0 {
			return fmt.Errorf("request: %w", protowire.ParseError(n))
		}
		switch number {
		case nodeNumber:
			node += n
		case subscribeNumber, unsubscribeNumber:
			names++
			if n > maxNameBytes {
				return fmt.Errorf("request with a name of %d bytes: want at most %d", n, maxNameBytes)
			}
		case versionsNumber:
			has++
		default:
			rest += n
		}
		text = text[n:]
	}
	switch {
	case node > maxNode:
		return fmt.Errorf("request with a node of %d bytes: want at most %d", node, maxNode)
	case names > maxNames:
		return fmt.Errorf("request with %d names: want at most %d, or \"*\"", names, maxNames)
	case has > maxHas:
		return fmt.Errorf("request with %d versions: want at most %d", has, maxHas)
	case rest > maxRest:
		return errors.New("request with more than names, versions and a node")
	}
	return nil
}
