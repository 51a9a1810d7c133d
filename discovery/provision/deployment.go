package provision

import (
	"fmt"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"fairway.dev/routing/v1alpha1"
)

// Defaults of pods.
const (
	replicas     = 2
	drainSeconds = 25
	// drainDelay is how long kube-proxy and load balancers have to learn that
	// a pod leaves.
	drainDelay    = 5
	afterDrain    = 35 // seconds of the grace period that are left for leaving one after the other
	minReady      = 5  // seconds that a pod is ready before an old one goes: load balancers learn it
	nobody        = 65532
	audience      = "fairway" // of the pod's token
	tokenLifetime = 3600      // seconds; the kubelet renews it at 80 %
	stateSize     = "256Mi"   // at most, of the last good Spec

	// A gateway at rest takes next to nothing, and a namespace may have many. An
	// autoscaler counts in parts of the request: that has to be worth a pod.
	cpuRequest       = "25m"
	cpuRequestScaled = "250m"

	adminPort  = 15021
	secretsDir = "/var/run/secrets/fairway" // the token, and the roots
	tokenFile  = "token"
	stateDir   = "/var/run/fairway" // in memory: the last good Spec holds keys
)

// deployment is the Gateway's pods. replicas is nil where the number is not
// ours to say.
func (w *Wanted) deployment(o *Options, replicas *int32) *appsv1.Deployment {
	none, quarter := intstr.FromInt32(0), intstr.FromString("25%")
	return &appsv1.Deployment{
		ObjectMeta: w.meta(w.name()),
		Spec: appsv1.DeploymentSpec{
			Replicas:        replicas,
			Selector:        &metav1.LabelSelector{MatchLabels: w.selector()},
			MinReadySeconds: minReady,
			Strategy: appsv1.DeploymentStrategy{
				Type: appsv1.RollingUpdateDeploymentStrategyType,
				// No pod goes before another has taken its place.
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: &none, MaxSurge: &quarter},
			},
			Template: w.podTemplate(o),
		},
	}
}

// replicas is how many pods parameters ask for; nil where they leave it open.
func (w *Wanted) replicas() *int32 {
	if w.spec().Autoscaling != nil {
		return nil
	}
	return w.pods().Replicas
}

// firstReplicas is how many pods a Deployment begins with where parameters
// leave it open.
func (w *Wanted) firstReplicas() int32 {
	if w.spec().Autoscaling != nil {
		least, _ := w.replicaBounds()
		return least
	}
	return replicas
}

func (w *Wanted) podTemplate(o *Options) corev1.PodTemplateSpec {
	p := w.pods()
	no := false
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{
			Labels: w.podLabels(),
			Annotations: w.annotations(map[string]string{
				"prometheus.io/scrape": "true",
				"prometheus.io/port":   strconv.Itoa(adminPort),
				"prometheus.io/path":   "/metrics",
			}, p.Annotations),
		},
		Spec: corev1.PodSpec{
			ServiceAccountName:            w.name(),
			AutomountServiceAccountToken:  &no,
			EnableServiceLinks:            &no, // a variable for each Service of the namespace helps nobody
			TerminationGracePeriodSeconds: w.gracePeriod(),
			SecurityContext:               w.podSecurity(),
			Containers:                    []corev1.Container{w.container(o)},
			Volumes:                       append(w.volumes(), w.meshVolumes(o)...),
			NodeSelector:                  p.NodeSelector,
			Tolerations:                   p.Tolerations,
			Affinity:                      w.affinity(),
			TopologySpreadConstraints:     w.spread(),
			PriorityClassName:             or(p.PriorityClassName, ""),
			ImagePullSecrets:              p.ImagePullSecrets,
		},
	}
}

func (w *Wanted) drain() int32 { return or(w.spec().DrainSeconds, drainSeconds) }

func (w *Wanted) gracePeriod() *int64 {
	if s := w.pods().TerminationGracePeriodSeconds; s != nil {
		return s
	}
	s := int64(w.drain()) + afterDrain
	return &s
}

func (w *Wanted) podSecurity() *corev1.PodSecurityContext {
	nonRoot, user, group := true, int64(nobody), int64(nobody)
	s := &corev1.PodSecurityContext{
		RunAsNonRoot:   &nonRoot,
		RunAsUser:      &user,
		RunAsGroup:     &group,
		FSGroup:        &group, // who may read the token
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	if w.lowPorts() == v1alpha1.LowPortsSysctl {
		s.Sysctls = []corev1.Sysctl{{Name: "net.ipv4.ip_unprivileged_port_start", Value: "0"}}
	} else {
		// Of another user the kernel keeps the capability back: Kubernetes has
		// no ambient ones, and those of files are void where privileges may not
		// be escalated.
		nonRoot, user = false, 0
	}
	return s
}

func (w *Wanted) lowPorts() v1alpha1.LowPorts { return or(w.pods().LowPorts, v1alpha1.LowPortsSysctl) }

func (w *Wanted) container(o *Options) corev1.Container {
	p := w.pods()
	yes, no := true, false
	security := &corev1.SecurityContext{
		AllowPrivilegeEscalation: &no,
		ReadOnlyRootFilesystem:   &yes,
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
	if w.lowPorts() == v1alpha1.LowPortsCapability {
		security.Capabilities.Add = []corev1.Capability{"NET_BIND_SERVICE"}
	}
	resources := w.resources()
	return corev1.Container{
		Name:            program,
		Image:           or(p.Image, o.Image),
		ImagePullPolicy: or(p.ImagePullPolicy, o.ImagePullPolicy),
		Args:            w.args(o),
		Env:             w.env(resources.Limits.Memory()),
		// Listeners' ports are not here: they come and go without a restart.
		Ports:          []corev1.ContainerPort{{Name: "admin", ContainerPort: adminPort, Protocol: corev1.ProtocolTCP}},
		Resources:      resources,
		StartupProbe:   probe("/livez", 1, 60),
		LivenessProbe:  probe("/livez", 10, 3),
		ReadinessProbe: probe("/readyz", 2, 2),
		VolumeMounts: append([]corev1.VolumeMount{
			{Name: "secrets", MountPath: secretsDir, ReadOnly: true},
			{Name: "state", MountPath: stateDir},
		}, w.meshMounts(o)...),
		SecurityContext: security,
	}
}

func probe(path string, period, failures int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:     corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromString("admin")}},
		PeriodSeconds:    period,
		FailureThreshold: failures,
	}
}

// args are those of "fairway serve".
func (w *Wanted) args(o *Options) []string {
	s := w.spec()
	args := []string{
		"serve",
		"-control=" + o.Control,
		"-control-id=" + o.ControlID,
		"-gateway=" + w.Gateway.Namespace + "/" + w.Gateway.Name,
		"-token=" + secretsDir + "/" + tokenFile,
		"-roots=" + secretsDir + "/" + rootsKey,
		"-state=" + stateDir,
		fmt.Sprintf("-admin=:%d", adminPort),
		fmt.Sprintf("-drain=%ds", w.drain()),
		fmt.Sprintf("-drain-delay=%ds", drainDelay),
	}
	args = append(args, w.meshArgs(o)...)
	if w.captured() {
		args = append(args, "-captured")
	}
	if s.AccessLog != nil {
		switch or(s.AccessLog.Format, v1alpha1.AccessLogJSON) {
		case v1alpha1.AccessLogOff:
			args = append(args, "-access-log=off")
		case v1alpha1.AccessLogText:
			args = append(args, "-log-format=text")
		}
	}
	if s.LogLevel != nil {
		args = append(args, "-log-level="+*s.LogLevel)
	}
	if s.TrustedHops != nil {
		args = append(args, fmt.Sprintf("-trusted-hops=%d", *s.TrustedHops))
	}
	if s.MaxConnections != nil {
		args = append(args, fmt.Sprintf("-max-connections=%d", *s.MaxConnections))
	}
	return args
}

func (w *Wanted) env(memory *resource.Quantity) []corev1.EnvVar {
	field := func(name, path string) corev1.EnvVar {
		return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}}}
	}
	env := []corev1.EnvVar{
		field("POD_NAME", "metadata.name"),
		field("POD_NAMESPACE", "metadata.namespace"),
		field("POD_IP", "status.podIP"),
		field("NODE_NAME", "spec.nodeName"),
	}
	if limit := memory.Value(); limit > 0 {
		env = append(env, corev1.EnvVar{Name: "GOMEMLIMIT", Value: strconv.FormatInt(limit/10*9, 10)})
	}
	return append(env, w.pods().Env...)
}

// resources are the parameters', and defaults that do not contradict them.
func (w *Wanted) resources() corev1.ResourceRequirements {
	p := orZero(w.pods().Resources).DeepCopy()
	out := corev1.ResourceRequirements{Requests: p.Requests, Limits: p.Limits}
	if out.Requests == nil {
		out.Requests = corev1.ResourceList{}
	}
	if out.Limits == nil {
		out.Limits = corev1.ResourceList{}
	}
	cpu := cpuRequest
	if w.spec().Autoscaling != nil {
		cpu = cpuRequestScaled
	}
	for name, value := range map[corev1.ResourceName]string{corev1.ResourceCPU: cpu, corev1.ResourceMemory: "128Mi"} {
		if _, ok := out.Requests[name]; ok {
			continue
		}
		request := resource.MustParse(value)
		if limit, ok := out.Limits[name]; ok && limit.Cmp(request) < 0 {
			request = limit
		}
		out.Requests[name] = request
	}
	if _, ok := out.Limits[corev1.ResourceMemory]; !ok {
		limit := resource.MustParse("1Gi")
		if request := out.Requests[corev1.ResourceMemory]; limit.Cmp(request) < 0 {
			limit = request
		}
		out.Limits[corev1.ResourceMemory] = limit
	}
	return out
}

func (w *Wanted) volumes() []corev1.Volume {
	lifetime, mode, size := int64(tokenLifetime), int32(0o440), resource.MustParse(stateSize)
	return []corev1.Volume{
		{Name: "secrets", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
			DefaultMode: &mode,
			Sources: []corev1.VolumeProjection{
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: audience, ExpirationSeconds: &lifetime, Path: tokenFile}},
				{ConfigMap: &corev1.ConfigMapProjection{
					LocalObjectReference: corev1.LocalObjectReference{Name: w.name()},
					Items:                []corev1.KeyToPath{{Key: rootsKey, Path: rootsKey}},
				}},
			},
		}}},
		{Name: "state", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{
			Medium: corev1.StorageMediumMemory, SizeLimit: &size,
		}}},
	}
}

// spread keeps pods apart: over nodes where parameters say nothing. It has no word
// about zones: the scheduler passes over nodes that lack one of the keys, which is
// all of them where there are no zones. See affinity.
func (w *Wanted) spread() []corev1.TopologySpreadConstraint {
	own := &metav1.LabelSelector{MatchLabels: w.selector()}
	if given := w.pods().TopologySpreadConstraints; given != nil {
		out := make([]corev1.TopologySpreadConstraint, len(given))
		for i := range given {
			given[i].DeepCopyInto(&out[i])
			if out[i].LabelSelector == nil {
				out[i].LabelSelector = own
			}
		}
		return out
	}
	return []corev1.TopologySpreadConstraint{{
		MaxSkew:           1,
		TopologyKey:       corev1.LabelHostname,
		WhenUnsatisfiable: corev1.ScheduleAnyway,
		LabelSelector:     own,
		MatchLabelKeys:    []string{"pod-template-hash"}, // the pods of an update are spread among themselves
	}}
}

// affinity keeps pods apart over zones, where parameters say nothing of the matter.
func (w *Wanted) affinity() *corev1.Affinity {
	if p := w.pods(); p.Affinity != nil || p.TopologySpreadConstraints != nil {
		return p.Affinity
	}
	return &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
		PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{
			Weight: 100,
			PodAffinityTerm: corev1.PodAffinityTerm{
				TopologyKey: corev1.LabelTopologyZone, LabelSelector: &metav1.LabelSelector{MatchLabels: w.selector()},
			},
		}},
	}}
}
