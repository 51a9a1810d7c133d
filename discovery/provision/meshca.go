package provision

import corev1 "k8s.io/api/core/v1"

// A MeshCA signs who gateways are in the mesh, in control's place: istiod, or who
// speaks as it does.
type MeshCA struct {
	Address     string // "istiod.istio-system.svc:15012"
	ClusterID   string // that it knows the cluster by: "Kubernetes"
	TrustDomain string // of the identities that it signs
}

// What the pods of who takes certificates from istiod have, as Istio's own.
const (
	istioAudience      = "istio-ca"
	istioTokenLifetime = 43200 // seconds
	istioRoots         = "istio-ca-root-cert"
	meshVolume         = "mesh"
	meshDir            = "/var/run/secrets/fairway-mesh"
)

// meshCA is who signs for the pods; nil where control does, or nobody has to, as
// a node proxy speaks for them.
func (w *Wanted) meshCA(o *Options) *MeshCA {
	if w.captured() {
		return nil
	}
	return o.MeshCA
}

// meshArgs say to "fairway serve" who signs.
func (w *Wanted) meshArgs(o *Options) []string {
	ca := w.meshCA(o)
	if ca == nil {
		return nil
	}
	return []string{
		"-mesh-ca=" + ca.Address,
		"-mesh-ca-cluster=" + ca.ClusterID,
		"-mesh-ca-token=" + meshDir + "/" + tokenFile,
		"-mesh-ca-roots=" + meshDir + "/" + rootsKey,
		"-mesh-id=spiffe://" + ca.TrustDomain + "/ns/" + w.Gateway.Namespace + "/sa/" + w.name(),
	}
}

// meshVolumes are the token for who signs, and the roots that it has spread. A
// namespace where these are not there yet, or never, keeps no pod from starting:
// the pod says what it lacks, in its log and as long as it is not ready.
func (w *Wanted) meshVolumes(o *Options) []corev1.Volume {
	if w.meshCA(o) == nil {
		return nil
	}
	lifetime, mode, optional := int64(istioTokenLifetime), int32(0o440), true
	return []corev1.Volume{{Name: meshVolume, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		DefaultMode: &mode,
		Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: istioAudience, ExpirationSeconds: &lifetime, Path: tokenFile}},
			{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: istioRoots},
				Items:                []corev1.KeyToPath{{Key: rootsKey, Path: rootsKey}},
				Optional:             &optional,
			}},
		},
	}}}}
}

func (w *Wanted) meshMounts(o *Options) []corev1.VolumeMount {
	if w.meshCA(o) == nil {
		return nil
	}
	return []corev1.VolumeMount{{Name: meshVolume, MountPath: meshDir, ReadOnly: true}}
}
