package istio

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	meshv1alpha1 "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"

	"fairway.dev/routing"
	"fairway.dev/routing/dialect"
)

// The ConfigMap with MeshConfig, in the root namespace.
const (
	meshName = "istio"
	meshKey  = "mesh"
)

// A mesh is what MeshConfig says that gateways honour. The zero mesh has the
// defaults of all of it.
type mesh struct {
	retry          *networking.HTTPRetry // defaultHttpRetryPolicy; nil: Istio's own
	connectTimeout time.Duration         // 0: 10 s
	keepAlive      *networking.ConnectionPoolSettings_TCPSettings_TcpKeepalive
	locality       *networking.LocalityLoadBalancerSetting // nil: on, once there is outlier detection
	upgradeHTTP2   bool                                    // h2UpgradePolicy: UPGRADE
	// Whom objects are exported to that do not say it; empty: all.
	exportServices, exportVirtualServices, exportDestinationRules []string

	collectors      map[string]collector  // extensionProviders that take spans
	authorizers     map[string]authorizer // and those that say who may pass
	tracingProvider string                // defaultProviders.tracing
	sampling        *float64              // defaultConfig.tracing.sampling, in percent; nil: Istio's own
}

// honoured are the fields of MeshConfig that a mesh has.
var honoured = []string{
	"defaultHttpRetryPolicy", "connectTimeout", "tcpKeepalive", "localityLbSetting", "h2UpgradePolicy",
	"defaultServiceExportTo", "defaultVirtualServiceExportTo", "defaultDestinationRuleExportTo",
	"extensionProviders", "defaultProviders",
	"rootNamespace", "trustDomain", "trustDomainAliases", "pathNormalization", // which are looked at
	"defaultConfig", // of Envoy's process, but for gatewayTopology
}

// missed are fields whose absence matters, and what is done in their place.
var missed = map[string]string{
	"tlsDefaults": "versions and suites are those of each server",
}

// harmless are fields of MeshConfig that say nothing to gateways: they are
// about sidecars, or about Istio's own control plane.
var harmless = []string{
	"proxyListenPort", "proxyInboundListenPort", "proxyHttpPort", "ingressClass", "ingressService", "ingressControllerMode", "ingressSelector",
	"configSources", "certificates", "ca", "caCertificates", "discoverySelectors", "inboundTrafficPolicy", "outboundTrafficPolicy",
	"protocolDetectionTimeout", "disableEnvoyListenerLog", "enablePrometheusMerge", "inboundClusterStatName", "outboundClusterStatName",
	"serviceScopeConfigs", "serviceEntryVisibility", "dnsRefreshRate", "enableAutoMtls", "hboneIdleTimeout", "meshMTLS",
}

// A meshState is a mesh and what is wrong with it.
type meshState struct {
	mesh
	found complaints
}

// mesh reads MeshConfig.
func (r *reading) mesh() mesh {
	return r.Value(dialect.ID{Kind: meshCell, NS: r.j.opts.RootNamespace, Name: meshName}).(meshState).mesh
}

// plantMesh has the ConfigMap reported.
func (j *joint) plantMesh(s *dialect.Sheet) {
	s.Plant("ConfigMap", func(k routing.ObjectKey) []dialect.ID {
		if k.Namespace != j.opts.RootNamespace || k.Name != meshName {
			return nil
		}
		return []dialect.ID{cellOf(meshReportCell, k)}
	})
}

// meshConfig parses MeshConfig. Where it is not valid, none of it holds.
func (j *joint) meshConfig(r *reading) dialect.Outcome {
	o := object[corev1.ConfigMap](r, "ConfigMap", r.ID.NS, r.ID.Name)
	if o == nil {
		return dialect.Outcome{Value: meshState{}}
	}
	var state meshState
	config, err := parseMesh(o.Data[meshKey], &state.found)
	if err != nil {
		state.found.wrong("data."+meshKey, reasonInvalidMeshConfig, "correct it: until then the defaults hold", "%v", err)
		return dialect.Outcome{Value: state}
	}
	j.checkTrust(config, &state.found)
	if p := config.GetPathNormalization().GetNormalization(); p == meshv1alpha1.MeshConfig_ProxyPathNormalization_MERGE_SLASHES ||
		p == meshv1alpha1.MeshConfig_ProxyPathNormalization_DECODE_AND_MERGE_SLASHES {
		state.found.wrong("data."+meshKey+".pathNormalization", reasonUnsupportedField, "have policies name what backends take for the same path, too",
			"%s is not honoured: of paths dot segments are resolved, but slashes are neither decoded nor merged: a policy about /a does not hold for //a", p)
	}
	if root := config.GetRootNamespace(); root != "" && root != j.opts.RootNamespace {
		state.found.warn("data."+meshKey+".rootNamespace", reasonIneffectiveField, "tell Fairway the same by its own option",
			"rootNamespace %s: Fairway's is %s", root, j.opts.RootNamespace)
	}
	state.mesh = mesh{
		retry:                  config.GetDefaultHttpRetryPolicy(),
		connectTimeout:         config.GetConnectTimeout().AsDuration(),
		keepAlive:              config.GetTcpKeepalive(),
		locality:               config.GetLocalityLbSetting(),
		upgradeHTTP2:           config.GetH2UpgradePolicy() == meshv1alpha1.MeshConfig_UPGRADE,
		exportServices:         config.GetDefaultServiceExportTo(),
		exportVirtualServices:  config.GetDefaultVirtualServiceExportTo(),
		exportDestinationRules: config.GetDefaultDestinationRuleExportTo(),
	}
	state.readProviders(config, &state.found)
	for _, f := range setFields(config, slices.Concat(honoured, harmless)...) {
		field := "data." + meshKey + "." + f
		if why := missed[f]; why != "" {
			state.found.warn(field, reasonUnsupportedField, "", "%s is not honoured: %s", f, why)
		} else {
			state.found.note(field, reasonUnsupportedField, "", "%s is not honoured", f)
		}
	}
	if config.GetDefaultConfig().GetGatewayTopology() != nil {
		state.found.warn("data."+meshKey+".defaultConfig.gatewayTopology", reasonUnsupportedField, "use the PROXY protocol in front of the gateway",
			"gatewayTopology is not honoured: what clients say of themselves in X-Forwarded-For is not believed")
	}
	return dialect.Outcome{Value: state}
}

// checkTrust compares whom MeshConfig believes with whom Fairway does.
func (j *joint) checkTrust(config *meshv1alpha1.MeshConfig, found *complaints) {
	const fix = "tell Fairway the same by its own option"
	if d := config.GetTrustDomain(); d != "" && d != j.opts.TrustDomain {
		found.warn("data."+meshKey+".trustDomain", reasonIneffectiveField, fix, "trustDomain %s: Fairway's is %s", d, j.opts.TrustDomain)
	}
	for i, d := range config.GetTrustDomainAliases() {
		if d != j.opts.TrustDomain && !slices.Contains(j.opts.TrustDomainAliases, d) {
			found.warn(field("data."+meshKey+".trustDomainAliases", i), reasonIneffectiveField, fix, "alias %s: Fairway does not believe it", d)
		}
	}
}

// parseMesh parses the text of a MeshConfig, and tells of fields that it does
// not have.
func parseMesh(text string, found *complaints) (*meshv1alpha1.MeshConfig, error) {
	config := &meshv1alpha1.MeshConfig{}
	var tree map[string]any
	if err := yaml.Unmarshal([]byte(text), &tree); err != nil {
		return nil, err
	}
	if len(tree) == 0 {
		return config, nil
	}
	data, err := json.Marshal(tree)
	if err != nil {
		return nil, fmt.Errorf("not an object of JSON: %w", err)
	}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, config); err != nil {
		// The package puts one of two kinds of space into its messages.
		return nil, fmt.Errorf("%s", strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\u00a0", " "), "proto: "))
	}
	findStrange("data."+meshKey, tree, config.ProtoReflect().Descriptor(), found)
	return config, nil
}

// findStrange tells of the keys of a tree that a message has no field for.
func findStrange(field string, tree map[string]any, of protoreflect.MessageDescriptor, found *complaints) {
	for _, key := range slices.Sorted(maps.Keys(tree)) {
		f := of.Fields().ByJSONName(key)
		if f == nil {
			f = of.Fields().ByName(protoreflect.Name(key))
		}
		if f == nil {
			found.warn(field+"."+key, reasonUnknownField, "take it out, or correct it", "MeshConfig has no field %s here", key)
			continue
		}
		below, _ := tree[key].(map[string]any)
		if m := f.Message(); m != nil && !f.IsMap() && !f.IsList() && m.ParentFile().Package() != "google.protobuf" {
			findStrange(field+"."+key, below, m, found)
		}
	}
}

// reportMesh reports the ConfigMap with MeshConfig.
func (j *joint) reportMesh(r *reading) dialect.Outcome {
	if object[corev1.ConfigMap](r, "ConfigMap", r.ID.NS, r.ID.Name) == nil {
		return dialect.Outcome{Gone: true}
	}
	state := r.Value(dialect.ID{Kind: meshCell, NS: r.ID.NS, Name: r.ID.Name}).(meshState)
	report := &dialect.Report{Object: routing.ObjectKey{Kind: "ConfigMap", Namespace: r.ID.NS, Name: r.ID.Name}}
	state.found.report(report)
	return dialect.Outcome{Report: report}
}
