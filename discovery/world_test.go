package discovery

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairway.dev/routing"
)

func service(namespace, name string, port int32) (routing.ObjectKey, *corev1.Service) {
	return routing.ObjectKey{Kind: "Service", Namespace: namespace, Name: name}, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: port}}},
	}
}

func TestWorldTellsWhatChanges(t *testing.T) {
	var w World
	k, first := service("shop", "cart", 80)
	_, equal := service("shop", "cart", 80)
	_, other := service("shop", "cart", 81)
	_, same := service("shop", "cart", 81)
	if got := w.Get(k); got != nil {
		t.Errorf("Get in an empty World = %v, want nil", got)
	}
	steps := []struct {
		name string
		do   func() bool
		want bool
		then any
	}{
		{"delete what is not there", func() bool { return w.Delete(k) }, false, nil},
		{"set", func() bool { return w.Set(k, first) }, true, first},
		{"set the same", func() bool { return w.Set(k, first) }, false, first},
		{"set an equal one", func() bool { return w.Set(k, equal) }, false, first}, // the old one stays: who has it need not look again
		{"set another", func() bool { return w.Set(k, other) }, true, other},
		{"put an equal one", func() bool { w.Put(k, same); return true }, true, same}, // who puts does not ask
		{"delete", func() bool { return w.Delete(k) }, true, nil},
		{"delete again", func() bool { return w.Delete(k) }, false, nil},
	}
	for _, s := range steps {
		if got := s.do(); got != s.want {
			t.Errorf("%s: changed %v, want %v", s.name, got, s.want)
		}
		if got := w.Get(k); got != s.then {
			t.Errorf("%s: Get = %v, want %v", s.name, got, s.then)
		}
	}
}

func TestEachGoesByNamespaceThenName(t *testing.T) {
	var w World
	for _, n := range [][2]string{{"shop", "web"}, {"shop", "cart"}, {"admin", "z"}, {"tools", "a"}, {"shop", "db"}} {
		k, o := service(n[0], n[1], 80)
		w.Set(k, o)
	}
	each := func() (names []string) {
		w.Each("Service", func(k routing.ObjectKey, o any) {
			if o != w.Get(k) {
				t.Errorf("Each gives %v for %v, Get %v", o, k, w.Get(k))
			}
			names = append(names, k.Namespace+"/"+k.Name)
		})
		return names
	}
	if got, want := each(), []string{"admin/z", "shop/cart", "shop/db", "shop/web", "tools/a"}; !slices.Equal(got, want) {
		t.Errorf("Each = %v, want %v", got, want)
	}
	k, o := service("shop", "cafe", 80)
	w.Set(k, o)
	gone, _ := service("shop", "db", 80)
	w.Delete(gone)
	if got, want := each(), []string{"admin/z", "shop/cafe", "shop/cart", "shop/web", "tools/a"}; !slices.Equal(got, want) {
		t.Errorf("Each after an edit = %v, want %v", got, want)
	}
	if n := w.Len("Service"); n != 5 {
		t.Errorf("Len = %d, want 5", n)
	}
	w.Each("Secret", func(k routing.ObjectKey, _ any) { t.Errorf("Each finds %v, want nothing", k) })
}
