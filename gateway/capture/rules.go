package capture

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// A Family is that of addresses.
type Family uint8

const (
	IPv4 Family = 4
	IPv6 Family = 6
)

var families = []Family{IPv4, IPv6}

// has reports whether addr, unmapped, is of the family.
func (f Family) has(addr netip.Addr) bool {
	if f == IPv4 {
		return addr.Is4()
	}
	return addr.Is6()
}

// word is how nft names the header that addresses are in.
func (f Family) word() string {
	if f == IPv4 {
		return "ip"
	}
	return "ip6"
}

// A Ruleset is what the table is to hold.
type Ruleset struct {
	Chains map[string]*Chain
	Sets   map[string]*Set
}

// A Chain is a list of rules that are looked through from the first on.
type Chain struct {
	Name  string
	Hook  Hook // of a base chain, where packets come in; empty: others go to it
	Rules []Rule
}

// A Hook is where a base chain looks at packets. Those that no rule decides on
// pass.
type Hook string

const (
	HookCheck   Hook = "type filter hook prerouting priority dstnat - 6"
	HookCapture Hook = "type nat hook prerouting priority dstnat - 5"
	HookStrict  Hook = "type filter hook forward priority filter - 5"
)

// A Rule says what happens with a packet of TCP whose Key is in Set.
type Rule struct {
	Family Family
	Key    Key
	Set    string
	Test   Test
	Do     Verdict
	Chain  string // that Goto goes to
	// Pods is the map that Translate takes the address from: by a random number
	// under Modulus. The port is what Set has.
	Pods    string
	Modulus uint32
	Label   string // of what Log logs
}

// A Key is what of a packet is looked for in a set.
type Key uint8

const (
	NoKey       Key = iota
	Source          // the address that it is from
	Destination     // the address that it is to
	Service         // the address and port that it is to
)

// A Test is what else has to be so.
type Test uint8

const (
	NoTest   Test = iota
	Known         // the packet is not the first of a connection
	NoPort        // Set, a map to ports, has 0 there
	SomePort      // Set, a map to ports, has one there, or 0
)

// A Verdict is what becomes of a packet.
type Verdict uint8

const (
	Accept    Verdict = iota // it passes this hook
	Goto                     // Chain decides
	Ask                      // the chain that Set, a map to chains, has there decides
	Translate                // its connection goes to another address and port
	Log                      // it is logged, if there is not too much of it; the next rule decides
	Reject                   // it is counted, dropped, and answered with a reset
	Drop                     // it is counted, and dropped: TCP sends it again
)

// Bounds of what Log logs, of each label.
const (
	logRate  = 20 // a second
	logBurst = 50
)

// logGroup is the group of nfnetlink_log that Log logs to.
const logGroup = 15008

// String is nft's way to write a rule.
func (r Rule) String() string {
	var b strings.Builder
	key := map[Key]string{Source: r.Family.word() + " saddr", Destination: r.Family.word() + " daddr", Service: r.Family.word() + " daddr . tcp dport"}[r.Key]
	switch {
	case r.Test == Known:
		b.WriteString("ct state != new,untracked ")
	case r.Test == NoPort:
		fmt.Fprintf(&b, "%s map @%s == 0 ", key, r.Set)
	case r.Test == SomePort:
		fmt.Fprintf(&b, "%s map @%s >= 0 ", key, r.Set)
	case r.Key != NoKey && r.Do != Ask && r.Do != Translate:
		fmt.Fprintf(&b, "%s @%s ", key, r.Set)
	}
	switch r.Do {
	case Accept:
		b.WriteString("accept")
	case Goto:
		b.WriteString("goto " + r.Chain)
	case Ask:
		fmt.Fprintf(&b, "%s vmap @%s", key, r.Set)
	case Translate:
		fmt.Fprintf(&b, "dnat %s to numgen random mod %d map @%s : %s map @%s", r.Family.word(), r.Modulus, r.Pods, key, r.Set)
	case Log:
		fmt.Fprintf(&b, "limit rate %d/second burst %d packets log prefix %q group %d", logRate, logBurst, r.Label, logGroup)
	case Reject:
		b.WriteString("counter reject with tcp reset")
	case Drop:
		b.WriteString("counter drop")
	}
	return b.String()
}

// A Set is a set of keys, or a map from them.
type Set struct {
	Name     string
	Family   Family
	Key      SetKey
	Value    SetValue
	Elements map[Element]Value
}

// A SetKey is what keys are made of.
type SetKey uint8

const (
	ByAddress SetKey = iota
	ByService        // an address and a port
	ByNumber
)

// A SetValue is what keys lead to.
type SetValue uint8

const (
	ToNothing SetValue = iota
	ToChain
	ToPort
	ToAddress
)

// An Element is a key of a Set. What the set's keys do not have is zero.
type Element struct {
	Addr   netip.Addr
	Port   uint16
	Number uint32
}

// A Value is what an Element leads to. What the set has no values of is zero.
type Value struct {
	Chain string
	Port  uint16
	Addr  netip.Addr
}

// String lists what is in the ruleset, in the order of names.
func (r *Ruleset) String() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(r.Sets)) {
		fmt.Fprintf(&b, "set %s\n", name)
		var lines []string
		for key, value := range r.Sets[name].Elements {
			lines = append(lines, "\t"+key.String()+value.String()+"\n")
		}
		slices.Sort(lines)
		b.WriteString(strings.Join(lines, ""))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Chains)) {
		c := r.Chains[name]
		fmt.Fprintf(&b, "chain %s\n", name)
		if c.Hook != "" {
			fmt.Fprintf(&b, "\t%s\n", c.Hook)
		}
		for _, rule := range c.Rules {
			fmt.Fprintf(&b, "\t%s\n", rule)
		}
	}
	return b.String()
}

func (e Element) String() string {
	switch {
	case !e.Addr.IsValid():
		return fmt.Sprint(e.Number)
	case e.Port != 0:
		return fmt.Sprintf("%s . %d", e.Addr, e.Port)
	default:
		return e.Addr.String()
	}
}

func (v Value) String() string {
	switch {
	case v == Value{}:
		return ""
	case v.Chain != "":
		return " : goto " + v.Chain
	case v.Addr.IsValid():
		return " : " + v.Addr.String()
	default:
		return fmt.Sprintf(" : %d", v.Port)
	}
}
