package istio

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
	"fairway.dev/routing/gatewayapi"
)

// A rule is what a DestinationRule asks for.
type rule struct {
	name     string
	host     string            // in full; "*" alone, or in front, for any
	selector map[string]string // labels of gateway pods; nil: all
	policy   *policy           // nil: nothing
	subsets  []subset
	found    complaints
}

// A subset is some of the endpoints of a host.
type subset struct {
	name   string
	labels map[string]string // none: all endpoints
	policy *policy           // nil: nothing besides the rule's
}

// rule reads a DestinationRule, and puts it among those for its host.
func (j *joint) rule(r *reading) dialect.Outcome {
	o := object[networkingv1.DestinationRule](r, KindDestinationRule, r.ID.NS, r.ID.Name)
	if o == nil {
		return dialect.Outcome{Gone: true}
	}
	spec := &o.Spec
	p := &specParser{}
	v := &rule{name: o.Name, host: j.fullName(spec.Host, o.Namespace)}
	if err := checkHostPattern(v.host); err != nil {
		p.refuse("spec.host", reasonInvalidHost, "%v", err)
		return dialect.Outcome{Value: &rule{name: o.Name, found: p.found}}
	}
	v.policy = p.policy("spec.trafficPolicy", spec.TrafficPolicy)
	for i, s := range spec.Subsets {
		field := fmt.Sprintf("spec.subsets[%d]", i)
		switch name := s.GetName(); {
		case !isLabel(name):
			p.refuse(field+".name", reasonInvalidSubset, "subset %q: want a name of letters, digits and '-'", name)
			continue
		case slices.ContainsFunc(v.subsets, func(t subset) bool { return t.name == name }):
			p.find(routing.Warning, field+".name", reasonDuplicateName, "give it another name",
				"subset %s is there already: the first one counts", name)
			continue
		}
		v.subsets = append(v.subsets, subset{s.Name, maps.Clone(s.Labels), p.policy(field+".trafficPolicy", s.TrafficPolicy)})
	}
	exportTo := exportList(spec.ExportTo, r.mesh().exportDestinationRules)
	if spec.WorkloadSelector != nil {
		v.selector = spec.WorkloadSelector.MatchLabels
		exportTo = "." // "Workload selectors do not apply across namespace boundaries."
		if v.selector == nil {
			v.selector = map[string]string{}
		}
	}
	v.found = p.found
	c := claim{selects: v.selector != nil, created: birth(o), ns: o.Namespace, name: o.Name, host: v.host, exportTo: exportTo}
	bag := dialect.ID{Kind: rulesOf, NS: o.Namespace, Name: v.host}
	if strings.HasPrefix(v.host, "*") {
		bag = dialect.ID{Kind: wildRulesIn, NS: o.Namespace}
	}
	return dialect.Outcome{Value: v, Gifts: []dialect.Gift{{To: bag, Item: c}}}
}

// checkHostPattern says what is wrong with a host, which may begin with "*".
func checkHostPattern(host string) error {
	name := host
	if host != "*" {
		name = strings.TrimPrefix(strings.TrimPrefix(host, "*"), ".")
	}
	if name == "*" {
		return nil
	}
	if len(name) > 253 {
		return fmt.Errorf("host of %d bytes: want at most 253", len(name))
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return fmt.Errorf("host %q: want the name of a host, which may begin with '*'", host)
		}
	}
	return nil
}

// isLabel reports whether a text is a label of DNS, in any case.
func isLabel(text string) bool {
	lower := strings.ToLower(text)
	return lower != "" && len(lower) <= 63 && strings.Trim(lower, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" &&
		lower[0] != '-' && lower[len(lower)-1] != '-'
}

// covers reports whether a pattern holds for a host. As in Istio the rest of
// a pattern is any suffix: "*.com" covers "*.example.com" as well.
func covers(pattern, host string) bool {
	suffix, wild := strings.CutPrefix(pattern, "*")
	return pattern == host || wild && strings.HasSuffix(strings.TrimPrefix(host, "*"), suffix)
}

// A shape is what the DestinationRules that count say of a host.
type shape struct {
	rules   []string // "namespace/name", in the order in which they count
	own     bool     // they are of the client's namespace
	policy  *policy
	subsets []subset
}

// subset returns the one of a name.
func (s *shape) subset(name string) (*subset, bool) {
	i := slices.IndexFunc(s.subsets, func(t subset) bool { return t.name == name })
	if i < 0 {
		return nil, false
	}
	return &s.subsets[i], true
}

// same reports whether two clients have the same rules for a host.
func (s *shape) same(t *shape) bool { return slices.Equal(s.rules, t.rules) }

// effective is the policy for a port of the host, or of a subset.
func (s *shape) effective(t target) *policy {
	p := s.policy.at(t.port)
	if sub, ok := s.subset(t.subset); ok && sub.policy != nil {
		return p.under(sub.policy, t.port)
	}
	return p
}

// hasCredential reports whether TLS to a target needs a Secret of the client's.
func (s *shape) hasCredential(t target) bool {
	p := s.effective(t)
	return t.use != uses[useTLS] && p != nil && p.tls != nil && p.tls.credential != ""
}

// shapeOf returns the rules that count for a host of a namespace, as a client
// has them.
func (r *reading) shapeOf(client, host, ns string) *shape {
	return r.Value(dialect.ID{Kind: shapeCell, NS: client, Name: host, Part: ns}).(*shape)
}

// shape finds the rules that count, and makes one of them: the subsets of all,
// and the trafficPolicy of the first that has one.
func (j *joint) shape(r *reading) dialect.Outcome {
	client, host, ns := r.ID.NS, r.ID.Name, r.ID.Part
	claims, own := r.countingRules(client, host, ns)
	s := &shape{own: own}
	for _, c := range claims {
		v, _ := r.Value(dialect.ID{Kind: ruleCell, NS: c.ns, Name: c.name}).(*rule)
		if v == nil {
			continue
		}
		s.rules = append(s.rules, c.ns+"/"+c.name)
		if s.policy == nil {
			s.policy = v.policy
		}
		for _, sub := range v.subsets {
			if _, there := s.subset(sub.name); !there {
				s.subsets = append(s.subsets, sub)
			}
		}
	}
	return dialect.Outcome{Value: s}
}

// countingRules looks for rules in the client's namespace, then in that of the
// host, then in the root namespace: the first that has any for the host
// decides, by those with the most specific host. A client in the root namespace
// begins with rules that are only for that namespace, as the others there are
// meant for everybody.
func (r *reading) countingRules(client, host, ns string) (rules []claim, own bool) {
	root := r.j.opts.RootNamespace
	visible := func(c claim) bool {
		return exported(c.exportTo, c.ns, client) && (!c.selects || r.selectsClient(c, client))
	}
	if client != everybody {
		rules = r.rulesIn(client, host, func(c claim) bool {
			private := c.exportTo == "." || c.exportTo == c.ns
			return visible(c) && (private || client != root)
		})
		if len(rules) > 0 {
			return rules, true
		}
	}
	if rules = r.rulesIn(ns, host, visible); len(rules) == 0 {
		rules = r.rulesIn(root, host, visible)
	}
	return rules, false
}

// rulesIn returns those of a namespace's rules that hold for a host, and of
// them those with the most specific host, which is the longest.
func (r *reading) rulesIn(ns, host string, visible func(claim) bool) []claim {
	hidden := func(c claim) bool { return !visible(c) || !covers(c.host, host) }
	exact := slices.DeleteFunc(r.claims(dialect.ID{Kind: rulesOf, NS: ns, Name: host}), hidden)
	if len(exact) > 0 {
		return exact
	}
	wild := slices.DeleteFunc(r.claims(dialect.ID{Kind: wildRulesIn, NS: ns}), hidden)
	longest := ""
	for _, c := range wild {
		if len(c.host) > len(longest) {
			longest = c.host
		}
	}
	return slices.DeleteFunc(wild, func(c claim) bool { return c.host != longest })
}

// fleetLabels tells which labels the pods of a Gateway of Gateway API have, by
// its own word: those of its parameters are not known here.
func (j *joint) fleetLabels(r *reading) dialect.Outcome {
	gw := object[gatewayv1.Gateway](r, "Gateway", r.ID.NS, r.ID.Name)
	if gw == nil {
		return dialect.Outcome{Gone: true}
	}
	return dialect.Outcome{
		Value: gatewayapi.PodLabels(gw, nil),
		Gifts: []dialect.Gift{{To: dialect.ID{Kind: podsIn, NS: r.ID.NS}, Item: r.ID.Name}},
	}
}

// selectsClient reports whether the workloadSelector of a rule picks the gateway
// pods of a namespace: those of one of its Gateways, as all share their clusters.
func (r *reading) selectsClient(c claim, client string) bool {
	if client == everybody || r.j.opts.AnySelector {
		return client != everybody
	}
	v, _ := r.Value(dialect.ID{Kind: ruleCell, NS: c.ns, Name: c.name}).(*rule)
	if v == nil {
		return false
	}
	// All are read, so that what is read has nothing to do with the bag's order.
	picked := false
	for name := range r.Bag(dialect.ID{Kind: podsIn, NS: client}) {
		labels, _ := r.Value(dialect.ID{Kind: fleetLabelsCell, NS: client, Name: name.(string)}).(map[string]string)
		picked = selects(labels, v.selector) || picked
	}
	return picked
}

// accepted is the condition of an object that is in order, or not.
func accepted(generation int64, invalid string) []metav1.Condition {
	c := metav1.Condition{Type: "Accepted", Status: metav1.ConditionTrue, Reason: "Accepted", ObservedGeneration: generation}
	if invalid != "" {
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, "Invalid", invalid
	}
	return []metav1.Condition{c}
}
