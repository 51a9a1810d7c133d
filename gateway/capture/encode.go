package capture

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Registers of the kernel's virtual machine: each of the first four has 16
// bytes, and the ones after that are quarters of these.
const (
	keyRegister   = unix.NFT_REG_1    // a key begins here
	port4Register = unix.NFT_REG32_01 // behind an IPv4 address
	port6Register = unix.NFT_REG_2    // behind an IPv6 address
	portRegister  = unix.NFT_REG_3    // what a map to ports has
)

// Bits of what `ct state` is, as include/net/netfilter/nf_conntrack_common.h of Linux has them.
const (
	stateNew       = 1 << 3
	stateUntracked = 1 << 6
)

// exprs is a rule as the kernel has it.
func (r Rule) exprs() []expr.Any {
	var out []expr.Any
	if r.Test == Known {
		out = append(out,
			&expr.Ct{Key: expr.CtKeySTATE, Register: keyRegister},
			&expr.Bitwise{SourceRegister: keyRegister, DestRegister: keyRegister, Len: 4,
				Mask: binaryutil.NativeEndian.PutUint32(stateNew | stateUntracked), Xor: make([]byte, 4)},
			&expr.Cmp{Op: expr.CmpOpEq, Register: keyRegister, Data: make([]byte, 4)},
		)
	}
	if r.Key != NoKey {
		out = append(out, r.load()...)
	}
	switch r.Do {
	case Accept:
		out = append(out, r.lookup(), &expr.Verdict{Kind: expr.VerdictAccept})
	case Goto:
		out = append(out, r.lookup(), r.port(), &expr.Verdict{Kind: expr.VerdictGoto, Chain: r.Chain})
	case Ask:
		out = append(out, &expr.Lookup{SourceRegister: keyRegister, SetName: r.Set, IsDestRegSet: true}) // register 0 is the verdict
	case Translate:
		out = append(out, r.translate()...)
	case Log:
		out = append(out,
			&expr.Limit{Type: expr.LimitTypePkts, Rate: logRate, Unit: expr.LimitTimeSecond, Burst: logBurst},
			&expr.Log{Key: 1<<unix.NFTA_LOG_GROUP | 1<<unix.NFTA_LOG_PREFIX | 1<<unix.NFTA_LOG_SNAPLEN, Group: logGroup, Snaplen: logBytes, Data: []byte(r.Label)},
		)
	case Reject:
		out = append(out, &expr.Counter{}, &expr.Reject{Type: unix.NFT_REJECT_TCP_RST})
	case Drop:
		out = append(out, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop})
	}
	return withoutNil(out)
}

// withoutNil leaves out what a rule has not.
func withoutNil(list []expr.Any) []expr.Any {
	out := list[:0]
	for _, e := range list {
		if e != nil {
			out = append(out, e)
		}
	}
	return out
}

// load puts the key of a packet of TCP into registers.
func (r Rule) load() []expr.Any {
	proto, source, destination, size, port := byte(unix.NFPROTO_IPV4), uint32(12), uint32(16), uint32(4), uint32(port4Register)
	if r.Family == IPv6 {
		proto, source, destination, size, port = unix.NFPROTO_IPV6, 8, 24, 16, port6Register
	}
	out := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: keyRegister},
		&expr.Cmp{Op: expr.CmpOpEq, Register: keyRegister, Data: []byte{proto}},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: keyRegister},
		&expr.Cmp{Op: expr.CmpOpEq, Register: keyRegister, Data: []byte{unix.IPPROTO_TCP}},
	}
	offset := destination
	if r.Key == Source {
		offset = source
	}
	out = append(out, &expr.Payload{DestRegister: keyRegister, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size})
	if r.Key == Service {
		out = append(out, &expr.Payload{DestRegister: port, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2})
	}
	return out
}

// lookup finds the key in the set; nil where there is none.
func (r Rule) lookup() expr.Any {
	switch {
	case r.Set == "":
		return nil
	case r.Test == NoPort || r.Test == SomePort:
		return &expr.Lookup{SourceRegister: keyRegister, SetName: r.Set, DestRegister: portRegister, IsDestRegSet: true}
	default:
		return &expr.Lookup{SourceRegister: keyRegister, SetName: r.Set}
	}
}

// port compares the port that the set has; nil where it is not asked for.
func (r Rule) port() expr.Any {
	switch r.Test {
	case NoPort:
		return &expr.Cmp{Op: expr.CmpOpEq, Register: portRegister, Data: make([]byte, 2)}
	case SomePort:
		return &expr.Cmp{Op: expr.CmpOpGte, Register: portRegister, Data: make([]byte, 2)}
	default:
		return nil
	}
}

func (r Rule) translate() []expr.Any {
	family := uint32(unix.NFPROTO_IPV4)
	if r.Family == IPv6 {
		family = unix.NFPROTO_IPV6
	}
	return []expr.Any{
		&expr.Lookup{SourceRegister: keyRegister, SetName: r.Set, DestRegister: portRegister, IsDestRegSet: true},
		&expr.Numgen{Register: keyRegister, Modulus: r.Modulus, Type: unix.NFT_NG_RANDOM},
		&expr.Lookup{SourceRegister: keyRegister, SetName: r.Pods, DestRegister: keyRegister, IsDestRegSet: true},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: family, RegAddrMin: keyRegister, RegAddrMax: keyRegister,
			RegProtoMin: portRegister, RegProtoMax: portRegister, Specified: true},
	}
}

// wire is a rule's expressions in one form, whoever has made them. What they
// count is left out.
func wire(exprs []expr.Any) ([]byte, error) {
	var out []byte
	for _, e := range exprs {
		if _, ok := e.(*expr.Counter); ok {
			e = &expr.Counter{}
		}
		b, err := expr.Marshal(unix.NFPROTO_INET, e)
		if err != nil {
			return nil, err
		}
		out = append(out, b...)
	}
	return out, nil
}

// is reports whether the kernel's rules are those of c.
func (c *Chain) is(rules []*nftables.Rule) bool {
	if len(rules) != len(c.Rules) {
		return false
	}
	for i, r := range rules {
		have, err := wire(r.Exprs)
		if err != nil {
			return false // an expression that is none of ours
		}
		want, err := wire(c.Rules[i].exprs())
		if err != nil || !bytes.Equal(have, want) {
			return false
		}
	}
	return true
}

// declare is a set as the kernel has it, without elements.
func (s *Set) declare(t *nftables.Table) *nftables.Set {
	address := nftables.TypeIPAddr
	if s.Family == IPv6 {
		address = nftables.TypeIP6Addr
	}
	out := &nftables.Set{Table: t, Name: s.Name, IsMap: s.Value != ToNothing}
	switch s.Key {
	case ByAddress:
		out.KeyType = address
	case ByService:
		out.KeyType, out.Concatenation = nftables.MustConcatSetType(address, nftables.TypeInetService), true
	case ByNumber:
		out.KeyType, out.KeyByteOrder = nftables.TypeInteger, binaryutil.NativeEndian
	}
	switch s.Value {
	case ToChain:
		out.DataType = nftables.TypeVerdict
	case ToPort:
		out.DataType = nftables.TypeInetService
	case ToAddress:
		out.DataType = address
	}
	return out
}

// portBytes is a port in a register of its own: keys are padded to whole ones.
func portBytes(port uint16) []byte { return []byte{byte(port >> 8), byte(port), 0, 0} }

// encode is an element of s as the kernel has it.
func (s *Set) encode(key Element, value Value) nftables.SetElement {
	out := nftables.SetElement{}
	switch s.Key {
	case ByAddress:
		out.Key = key.Addr.AsSlice()
	case ByService:
		out.Key = append(key.Addr.AsSlice(), portBytes(key.Port)...)
	case ByNumber:
		out.Key = binaryutil.NativeEndian.PutUint32(key.Number)
	}
	switch s.Value {
	case ToChain:
		out.VerdictData = &expr.Verdict{Kind: expr.VerdictGoto, Chain: value.Chain}
	case ToPort:
		out.Val = portBytes(value.Port)[:2]
	case ToAddress:
		out.Val = value.Addr.AsSlice()
	}
	return out
}

// decode is encode the other way.
func (s *Set) decode(e nftables.SetElement) (key Element, value Value, err error) {
	switch {
	case s.Key == ByNumber && len(e.Key) == 4:
		key.Number = binaryutil.NativeEndian.Uint32(e.Key)
	case s.Key == ByService && len(e.Key) == s.Family.bytes()+4:
		key.Addr, _ = netip.AddrFromSlice(e.Key[:s.Family.bytes()])
		key.Port = binary.BigEndian.Uint16(e.Key[s.Family.bytes():])
	case s.Key == ByAddress && len(e.Key) == s.Family.bytes():
		key.Addr, _ = netip.AddrFromSlice(e.Key)
	default:
		return key, value, fmt.Errorf("set %s: a key of %d bytes", s.Name, len(e.Key))
	}
	switch {
	case s.Value == ToNothing:
	case s.Value == ToChain:
		value.Chain, err = gotoChain(e.Val)
	case s.Value == ToPort && len(e.Val) >= 2:
		value.Port = binary.BigEndian.Uint16(e.Val)
	case s.Value == ToAddress && len(e.Val) == s.Family.bytes():
		value.Addr, _ = netip.AddrFromSlice(e.Val)
	default:
		err = fmt.Errorf("set %s: a value of %d bytes", s.Name, len(e.Val))
	}
	return key, value, err
}

// bytes is how many an address has.
func (f Family) bytes() int {
	if f == IPv4 {
		return 4
	}
	return 16
}

// gotoChain returns the chain that a verdict goes to; empty for other verdicts.
func gotoChain(verdict []byte) (string, error) {
	ad, err := netlink.NewAttributeDecoder(verdict)
	if err != nil {
		return "", err
	}
	ad.ByteOrder = binary.BigEndian
	var chain string
	var code uint32
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_VERDICT_CODE:
			code = ad.Uint32()
		case unix.NFTA_VERDICT_CHAIN:
			chain = ad.String()
		}
	}
	if int32(code) != unix.NFT_GOTO {
		chain = ""
	}
	return chain, ad.Err()
}
