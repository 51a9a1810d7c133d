package manifest

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Of a Pod it is read who and where it is: its addresses, too, which nobody else
// gives it without a cluster. Of what runs in it, the ports.

func defaultPod(o object) {
	p := o.(*corev1.Pod)
	if p.Spec.ServiceAccountName == "" {
		p.Spec.ServiceAccountName = "default"
	}
	if p.Status.Phase == "" {
		p.Status.Phase = corev1.PodPending
	}
	if len(p.Status.PodIPs) == 0 && p.Status.PodIP != "" {
		p.Status.PodIPs = []corev1.PodIP{{IP: p.Status.PodIP}}
	}
}

func validatePod(o object) (errs field.ErrorList) {
	p := o.(*corev1.Pod)
	spec, status := field.NewPath("spec"), field.NewPath("status")
	errs = append(errs, invalid(spec.Child("serviceAccountName"), p.Spec.ServiceAccountName, validation.IsDNS1123Subdomain(p.Spec.ServiceAccountName))...)
	if node := p.Spec.NodeName; node != "" {
		errs = append(errs, invalid(spec.Child("nodeName"), node, validation.IsDNS1123Subdomain(node))...)
	}
	switch p.Status.Phase {
	case corev1.PodPending, corev1.PodRunning, corev1.PodSucceeded, corev1.PodFailed, corev1.PodUnknown:
	default:
		errs = append(errs, field.NotSupported(status.Child("phase"), p.Status.Phase, []corev1.PodPhase{
			corev1.PodFailed, corev1.PodPending, corev1.PodRunning, corev1.PodSucceeded, corev1.PodUnknown,
		}))
	}
	if ip := p.Status.PodIP; ip != "" && ip != p.Status.PodIPs[0].IP {
		errs = append(errs, field.Invalid(status.Child("podIP"), ip, "must be the first of podIPs"))
	}
	return append(errs, validatePodIPs(p.Status.PodIPs, status.Child("podIPs"))...)
}

// validatePodIPs takes one address of each family at most.
func validatePodIPs(ips []corev1.PodIP, at *field.Path) (errs field.ErrorList) {
	families := map[bool]bool{}
	for i, ip := range ips {
		addr, err := netip.ParseAddr(ip.IP)
		switch is4 := addr.Is4(); {
		case err != nil || addr.Zone() != "" || addr.Is4In6():
			errs = append(errs, field.Invalid(at.Index(i).Child("ip"), ip.IP, "must be an IP address"))
		case families[is4]:
			errs = append(errs, field.Invalid(at.Index(i).Child("ip"), ip.IP, "must be of another family than the one before"))
		default:
			families[is4] = true
		}
	}
	return errs
}
