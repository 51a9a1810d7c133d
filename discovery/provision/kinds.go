package provision

import (
	"context"

	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// A kind is how objects of one kind are read and written.
type kind struct {
	name     string
	informer func(informers.SharedInformerFactory) cache.SharedIndexInformer
	get      func(ctx context.Context, ns, name string) (v1.Object, error)
	apply    func(ctx context.Context, ns, name string, data []byte, force bool) (v1.Object, error)
	remove   func(ctx context.Context, ns, name string, uid types.UID) error
}

// typed is what the clients of all kinds have.
type typed[T v1.Object] interface {
	Get(context.Context, string, v1.GetOptions) (T, error)
	Delete(context.Context, string, v1.DeleteOptions) error
	Patch(context.Context, string, types.PatchType, []byte, v1.PatchOptions, ...string) (T, error)
}

func kindOf[T v1.Object, C typed[T]](name string, in func(ns string) C, informer func(informers.SharedInformerFactory) cache.SharedIndexInformer) *kind {
	return &kind{
		name:     name,
		informer: informer,
		get: func(ctx context.Context, ns, name string) (v1.Object, error) {
			return in(ns).Get(ctx, name, v1.GetOptions{})
		},
		apply: func(ctx context.Context, ns, name string, data []byte, force bool) (v1.Object, error) {
			return in(ns).Patch(ctx, name, types.ApplyPatchType, data, v1.PatchOptions{FieldManager: program, Force: &force})
		},
		remove: func(ctx context.Context, ns, name string, uid types.UID) error {
			background := v1.DeletePropagationBackground
			return in(ns).Delete(ctx, name, v1.DeleteOptions{
				Preconditions:     &v1.Preconditions{UID: &uid},
				PropagationPolicy: &background,
			})
		},
	}
}

// kindsOf are the kinds that provisioning writes, in the order of writing.
func kindsOf(c kubernetes.Interface) []*kind {
	type factory = informers.SharedInformerFactory
	type informer = cache.SharedIndexInformer
	return []*kind{
		kindOf(kindServiceAccount, c.CoreV1().ServiceAccounts, func(f factory) informer { return f.Core().V1().ServiceAccounts().Informer() }),
		kindOf(kindConfigMap, c.CoreV1().ConfigMaps, func(f factory) informer { return f.Core().V1().ConfigMaps().Informer() }),
		kindOf(kindService, c.CoreV1().Services, func(f factory) informer { return f.Core().V1().Services().Informer() }),
		kindOf(kindDeployment, c.AppsV1().Deployments, func(f factory) informer { return f.Apps().V1().Deployments().Informer() }),
		kindOf(kindBudget, c.PolicyV1().PodDisruptionBudgets, func(f factory) informer { return f.Policy().V1().PodDisruptionBudgets().Informer() }),
		kindOf(kindAutoscaler, c.AutoscalingV2().HorizontalPodAutoscalers, func(f factory) informer {
			return f.Autoscaling().V2().HorizontalPodAutoscalers().Informer()
		}),
	}
}
