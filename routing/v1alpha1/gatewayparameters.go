package v1alpha1

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// GatewayParameters say how the pods of a Gateway, and the Service in front of
// them, are made. A GatewayClass (spec.parametersRef) gives defaults for all its
// Gateways, a Gateway (spec.infrastructure.parametersRef) its own. Who may write
// those of a class may run any pods in the namespaces of its Gateways. A Gateway's
// own are for whoever may write Gateways: what would give them more than that is
// refused, unless the class's delegate it.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:categories=gateway-api,shortName=gwparams
// +kubebuilder:printcolumn:name="Service",type=string,JSONPath=`.spec.service.type`
// +kubebuilder:printcolumn:name="Replicas",type=integer,JSONPath=`.spec.pods.replicas`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type GatewayParameters struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec GatewayParametersSpec `json:"spec,omitempty"`
}

// GatewayParametersList is a list of GatewayParameters.
//
// +kubebuilder:object:root=true
type GatewayParametersList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []GatewayParameters `json:"items"`
}

// GatewayParametersSpec is what can be said. Of a class's parameters and a
// Gateway's, the Gateway's hold field by field: maps are merged by key, lists
// and disruption are taken as a whole, overlays are applied after those of the
// class, and delegated is the class's.
//
// +kubebuilder:validation:XValidation:message="pods.terminationGracePeriodSeconds: want more than drainSeconds, or connections are cut before they have drained",rule="!has(self.drainSeconds) || !has(self.pods) || !has(self.pods.terminationGracePeriodSeconds) || self.pods.terminationGracePeriodSeconds > self.drainSeconds"
type GatewayParametersSpec struct {
	// The Service in front of the pods, which has the Gateway's address.
	// +optional
	Service *Service `json:"service,omitempty"`

	// The pods, and the Deployment that they belong to.
	// +optional
	Pods *Pods `json:"pods,omitempty"`

	// A HorizontalPodAutoscaler for the Deployment. Without this field there is
	// none. With it pods.replicas says nothing: the autoscaler decides.
	// +optional
	Autoscaling *Autoscaling `json:"autoscaling,omitempty"`

	// How many pods a PodDisruptionBudget lets be evicted at once. Default:
	// maxUnavailable 1.
	// +optional
	Disruption *Disruption `json:"disruption,omitempty"`

	// Whether connections of clients begin with a PROXY protocol header (version
	// 1 or 2), as load balancers in front can be told to send. Default: Off.
	// +optional
	ProxyProtocol *ProxyProtocol `json:"proxyProtocol,omitempty"`

	// The log with a line for each request.
	// +optional
	AccessLog *AccessLog `json:"accessLog,omitempty"`

	// What else is logged: this and what is more severe. Default: info.
	// +optional
	// +kubebuilder:validation:Enum=debug;info;warn;error
	LogLevel *string `json:"logLevel,omitempty"`

	// How many proxies in front are trusted: so many of the last entries of
	// X-Forwarded-For are believed, and the client's address is the one before
	// them. Default: 0, the header is not believed and is replaced.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=32
	TrustedHops *int32 `json:"trustedHops,omitempty"`

	// How many seconds requests under way get to finish when a pod is stopped.
	// Default: 25.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=3600
	DrainSeconds *int32 `json:"drainSeconds,omitempty"`

	// How many connections of clients a pod holds at once; more are closed at
	// once. Default: what the container's file descriptors are enough for.
	// +optional
	// +kubebuilder:validation:Minimum=1
	MaxConnections *int32 `json:"maxConnections,omitempty"`

	// Changes of the objects that are made for a Gateway, for what no other field
	// can say. They are applied last, in their order.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Overlays []Overlay `json:"overlays,omitempty"`

	// What a class leaves to those who write Gateways, beyond what is safe in
	// everybody's hands. Image: pods.image of their own parameters. Environment:
	// pods.env of values from Secrets and ConfigMaps. PriorityClass:
	// pods.priorityClassName. Overlays: overlays, by which their pods can have any
	// privilege. ExternalIPs: addresses of the Gateway as externalIPs of a Service
	// of type ClusterIP or NodePort, also those of others. In a Gateway's own
	// parameters it says nothing. Default: nothing.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	Delegated []Delegation `json:"delegated,omitempty"`
}

// Service is the Service in front of the pods.
//
// +kubebuilder:validation:XValidation:message="loadBalancerClass and loadBalancerSourceRanges: want type LoadBalancer",rule="!has(self.type) || self.type == 'LoadBalancer' || (!has(self.loadBalancerClass) && !has(self.loadBalancerSourceRanges))"
// +kubebuilder:validation:XValidation:message="externalTrafficPolicy and nodePorts: want type LoadBalancer or NodePort",rule="!has(self.type) || self.type != 'ClusterIP' || (!has(self.externalTrafficPolicy) && !has(self.nodePorts))"
type Service struct {
	// LoadBalancer: the Gateway's addresses are the load balancer's. ClusterIP:
	// the Service's own, for clients inside the cluster. NodePort: those of the
	// nodes. Default: LoadBalancer.
	// +optional
	// +kubebuilder:validation:Enum=LoadBalancer;ClusterIP;NodePort
	Type *corev1.ServiceType `json:"type,omitempty"`

	// Labels of the Service, besides those of spec.infrastructure.labels.
	// +optional
	Labels map[string]string `json:"labels,omitempty"`

	// Annotations of the Service, besides those of
	// spec.infrastructure.annotations: what a cloud's load balancer is told by.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`

	// Local keeps the client's address and sends a connection to a pod of the
	// node that it came to. Cluster balances over all pods, and pods see the
	// node's address. Default: Cluster. Type ClusterIP has none.
	// +optional
	// +kubebuilder:validation:Enum=Cluster;Local
	ExternalTrafficPolicy *corev1.ServiceExternalTrafficPolicy `json:"externalTrafficPolicy,omitempty"`

	// Which implementation of load balancers is meant. The API server lets it be
	// set when a Service is created, and not changed.
	// +optional
	// +kubebuilder:validation:MinLength=1
	LoadBalancerClass *string `json:"loadBalancerClass,omitempty"`

	// The clients that the load balancer lets through, as CIDRs. Default: all.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	LoadBalancerSourceRanges []string `json:"loadBalancerSourceRanges,omitempty"`

	// Ports of the nodes that stand for listeners' ports. Default: the API server
	// picks them.
	// +optional
	// +listType=map
	// +listMapKey=port
	// +listMapKey=protocol
	// +kubebuilder:validation:MaxItems=64
	NodePorts []NodePort `json:"nodePorts,omitempty"`

	// Whether the Service has addresses of one family or of both. Default: the
	// cluster's.
	// +optional
	// +kubebuilder:validation:Enum=SingleStack;PreferDualStack;RequireDualStack
	IPFamilyPolicy *corev1.IPFamilyPolicy `json:"ipFamilyPolicy,omitempty"`

	// The families, the first of which is that of the Service's main address.
	// Default: the cluster's.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:items:Enum=IPv4;IPv6
	IPFamilies []corev1.IPFamily `json:"ipFamilies,omitempty"`
}

// NodePort is the port of the nodes that stands for a listener's port.
type NodePort struct {
	// The listener's port.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`

	// TCP, or UDP for a listener of protocol UDP. Default: TCP.
	// +optional
	// +kubebuilder:default=TCP
	// +kubebuilder:validation:Enum=TCP;UDP
	Protocol corev1.Protocol `json:"protocol,omitempty"`

	// The port of the nodes, of the cluster's range for them.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	NodePort int32 `json:"nodePort"`
}

// Pods are the Gateway's pods, and the Deployment that they belong to.
type Pods struct {
	// How many pods there are. Default: 2, so that neither a node that fails nor
	// an update is an outage. With autoscaling this says nothing.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Replicas *int32 `json:"replicas,omitempty"`

	// Labels of the pods, besides those of spec.infrastructure.labels.
	// +optional
	Labels map[string]string `json:"labels,omitempty"`

	// Annotations of the pods, besides those of spec.infrastructure.annotations.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`

	// The image. Default: the one that the control plane runs.
	// +optional
	// +kubebuilder:validation:MinLength=1
	Image *string `json:"image,omitempty"`

	// When the image is pulled. Default: Kubernetes' own.
	// +optional
	// +kubebuilder:validation:Enum=Always;IfNotPresent;Never
	ImagePullPolicy *corev1.PullPolicy `json:"imagePullPolicy,omitempty"`

	// Secrets of the Gateway's namespace that hold credentials for the registry.
	// +optional
	// +listType=atomic
	ImagePullSecrets []corev1.LocalObjectReference `json:"imagePullSecrets,omitempty"`

	// Requests and limits of the container. Default: requests of 25m CPU (250m with
	// autoscaling, which counts in parts of it) and 128Mi of memory, a limit of 1Gi
	// of memory and none of CPU. Go's collector is told to stay under nine tenths
	// of the memory limit.
	// +optional
	Resources *Resources `json:"resources,omitempty"`

	// Environment variables of the container, besides its own.
	// +optional
	// +listType=atomic
	Env []corev1.EnvVar `json:"env,omitempty"`

	// The nodes that pods may run on, by their labels.
	// +optional
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`

	// The nodes' taints that the pods tolerate.
	// +optional
	// +listType=atomic
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`

	// Rules about nodes and other pods for where the pods run.
	// +optional
	Affinity *corev1.Affinity `json:"affinity,omitempty"`

	// How pods are spread. A constraint without a labelSelector is about the
	// Gateway's own pods. Default: over nodes and over zones, where that is
	// possible (ScheduleAnyway).
	// +optional
	// +listType=atomic
	TopologySpreadConstraints []corev1.TopologySpreadConstraint `json:"topologySpreadConstraints,omitempty"`

	// The priority of the pods.
	// +optional
	PriorityClassName *string `json:"priorityClassName,omitempty"`

	// How many seconds a pod has from SIGTERM to SIGKILL. Default: 35 more than
	// drainSeconds, which is 60.
	// +optional
	// +kubebuilder:validation:Minimum=1
	TerminationGracePeriodSeconds *int64 `json:"terminationGracePeriodSeconds,omitempty"`

	// How the program may listen on ports under 1024. Sysctl: by
	// net.ipv4.ip_unprivileged_port_start, which Kubernetes counts among the safe
	// ones. Capability: by NET_BIND_SERVICE, for clusters that forbid the other;
	// the program runs as root then, with that one capability. Default: Sysctl.
	// +optional
	// +kubebuilder:validation:Enum=Sysctl;Capability
	LowPorts *LowPorts `json:"lowPorts,omitempty"`
}

// Resources are what the container asks for and may use at most.
type Resources struct {
	// What is set aside for each pod.
	// +optional
	Requests corev1.ResourceList `json:"requests,omitempty"`

	// What a pod uses at most.
	// +optional
	Limits corev1.ResourceList `json:"limits,omitempty"`
}

// LowPorts is how the program may listen on ports under 1024.
type LowPorts string

// The values of pods.lowPorts.
const (
	LowPortsSysctl     LowPorts = "Sysctl"
	LowPortsCapability LowPorts = "Capability"
)

// Autoscaling is a HorizontalPodAutoscaler.
//
// +kubebuilder:validation:XValidation:message="minReplicas: want maxReplicas or fewer",rule="!has(self.minReplicas) || !has(self.maxReplicas) || self.minReplicas <= self.maxReplicas"
type Autoscaling struct {
	// The fewest pods. Default: 2, or maxReplicas where that is less.
	// +optional
	// +kubebuilder:validation:Minimum=1
	MinReplicas *int32 `json:"minReplicas,omitempty"`

	// The most pods. Default: 10, or minReplicas where that is more.
	// +optional
	// +kubebuilder:validation:Minimum=1
	MaxReplicas *int32 `json:"maxReplicas,omitempty"`

	// The part, in percent, of the CPU requested that pods are to use on average.
	// Default: 80, where metrics has nothing.
	// +optional
	// +kubebuilder:validation:Minimum=1
	TargetCPUUtilization *int32 `json:"targetCPUUtilization,omitempty"`

	// What else is measured: metrics of autoscaling/v2, as they stand there.
	// +optional
	// +listType=atomic
	Metrics []autoscalingv2.MetricSpec `json:"metrics,omitempty"`

	// How fast the number of pods may change, as it stands in autoscaling/v2.
	// +optional
	Behavior *autoscalingv2.HorizontalPodAutoscalerBehavior `json:"behavior,omitempty"`
}

// Disruption is a PodDisruptionBudget: how many pods may be evicted at once, a
// number or a part in percent ("25%").
//
// +kubebuilder:validation:XValidation:message="want one of minAvailable and maxUnavailable",rule="!has(self.minAvailable) || !has(self.maxUnavailable)"
type Disruption struct {
	// How many pods must be left.
	// +optional
	MinAvailable *intstr.IntOrString `json:"minAvailable,omitempty"`

	// How many pods may be away.
	// +optional
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`
}

// ProxyProtocolMode says whether connections begin with a PROXY protocol header.
type ProxyProtocolMode string

// The values of proxyProtocol.mode.
const (
	ProxyProtocolOff      ProxyProtocolMode = "Off"
	ProxyProtocolRequired ProxyProtocolMode = "Required"
	ProxyProtocolOptional ProxyProtocolMode = "Optional"
)

// ProxyProtocol says on which ports connections begin with a PROXY protocol
// header. Datagrams have none: UDP listeners are not meant.
type ProxyProtocol struct {
	// Of all ports that are not listed. Required: a connection without a header is
	// closed. Optional: a header is believed where there is one, which is only for
	// ports that no stranger reaches. Off: a header is a malformed request.
	// Default: Off.
	// +optional
	// +kubebuilder:validation:Enum=Required;Optional;Off
	Mode *ProxyProtocolMode `json:"mode,omitempty"`

	// Ports with a mode of their own.
	// +optional
	// +listType=map
	// +listMapKey=port
	// +kubebuilder:validation:MaxItems=64
	Ports []PortProxyProtocol `json:"ports,omitempty"`
}

// PortProxyProtocol is the mode of one port.
type PortProxyProtocol struct {
	// The listeners' port.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port"`

	// Required, Optional or Off.
	// +kubebuilder:validation:Enum=Required;Optional;Off
	Mode ProxyProtocolMode `json:"mode"`
}

// AccessLogFormat is how a request is logged.
type AccessLogFormat string

// The values of accessLog.format.
const (
	AccessLogJSON AccessLogFormat = "JSON"
	AccessLogText AccessLogFormat = "Text"
	AccessLogOff  AccessLogFormat = "Off"
)

// AccessLog is the log with a line for each request, on standard output.
type AccessLog struct {
	// JSON, Text, or Off for none. Default: JSON.
	// +optional
	// +kubebuilder:validation:Enum=JSON;Text;Off
	Format *AccessLogFormat `json:"format,omitempty"`
}

// Overlay is a change of one of the objects that are made for a Gateway.
type Overlay struct {
	// The kind of the object.
	// +kubebuilder:validation:Enum=Deployment;Service;ServiceAccount;ConfigMap;PodDisruptionBudget;HorizontalPodAutoscaler
	Kind string `json:"kind"`

	// A strategic merge patch of the object, as "kubectl patch" takes it: the
	// container's name is "fairway". Names, namespaces, owners and the labels by
	// which pods are selected stay as they are.
	// +kubebuilder:pruning:PreserveUnknownFields
	// +kubebuilder:validation:Type=object
	// +kubebuilder:validation:Schemaless
	Patch runtime.RawExtension `json:"patch"`
}
