package gatewayapi

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"fairway.dev/routing"
)

// DefaultMeshPorts is where control keeps the ports that stand for those of
// Services: a ConfigMap with a number for each MeshPortKey.
const DefaultMeshPorts = "fairway-system/fairway-mesh-ports"

// The ports that may stand for those of Services: above those that pods use as
// servers mostly, and below those that Linux gives to clients at first.
const (
	FirstMeshPort = 20000
	LastMeshPort  = 59999
)

// MeshPortKey is the key in the ConfigMap of a port of a Service,
// "cart.shop.80" for "shop/cart:80", or of a ServiceEntry,
// "ServiceEntry.cart.shop.80" for "ServiceEntry/shop/cart:80".
func MeshPortKey(name routing.CaptureName) string {
	rest, port, _ := strings.Cut(string(name), ":")
	words := strings.Split(rest, "/")
	last := len(words) - 1
	if last < 1 {
		return ""
	}
	key := words[last] + "." + words[last-1] + "." + port
	if last > 1 {
		key = words[0] + "." + key
	}
	return key
}

// A meshShard is some of the entries of the ConfigMap: whoever reads one entry
// runs again when another of the same shard changes, and no other.
type meshShard map[string]uint16

const meshShards = 256

func shardOf(key string) int {
	h := fnv.New32a()
	h.Write([]byte(key))
	return int(h.Sum32() % meshShards)
}

// meshPorts reads the ConfigMap. Its value is a *[meshShards]meshShard.
func (t *Translator) meshPorts(r *reading) outcome {
	ns, name, _ := strings.Cut(cmp.Or(t.opts.MeshPorts, DefaultMeshPorts), "/")
	shards := &[meshShards]meshShard{}
	o := object[corev1.ConfigMap](r, "ConfigMap", ns, name)
	if o == nil {
		return outcome{Value: shards}
	}
	report := newReport("ConfigMap", o)
	taken := map[uint16]string{}
	for _, key := range slices.Sorted(maps.Keys(o.Data)) {
		port, err := parseMeshPort(o.Data[key])
		if other, twice := taken[port]; err == nil && twice {
			err = fmt.Errorf("port %d: it is that of %s, want one of its own", port, other)
		}
		if err != nil {
			report.Problem("data["+key+"]", reasonUnsupportedValue, err.Error())
			continue
		}
		taken[port] = key
		i := shardOf(key)
		if shards[i] == nil {
			shards[i] = meshShard{}
		}
		shards[i][key] = port
	}
	if len(report.Problems) == 0 {
		return outcome{Value: shards}
	}
	return outcome{Value: shards, Report: report}
}

func parseMeshPort(text string) (uint16, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port < FirstMeshPort || port > LastMeshPort {
		return 0, fmt.Errorf("port %q: want %d-%d", text, FirstMeshPort, LastMeshPort)
	}
	return uint16(port), nil
}

func (t *Translator) meshShard(r *reading) outcome {
	i, err := strconv.Atoi(r.ID.Part)
	if err != nil {
		panic("bug: a shard without a number")
	}
	return outcome{Value: r.Value(cellID{Kind: meshPortsCell}).(*[meshShards]meshShard)[i]}
}

// meshPort returns the port that stands for another; 0: there is none yet.
func (r *reading) meshPort(key string) uint16 {
	return r.Value(cellID{Kind: meshShardCell, Part: itoa(shardOf(key))}).(meshShard)[key]
}
