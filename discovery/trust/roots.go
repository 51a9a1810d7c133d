package trust

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"fairway.dev/tlsmgr/identity"
)

// RootsName is the ConfigMap with the roots that are believed, in control's
// namespace.
const RootsName = "fairway-roots"

// historyKey is the key of the ConfigMap with what is known of each root.
const historyKey = "history.json"

const (
	// spread is how long it may take until all know of a root: a replica looks
	// once a minute, the leader writes the pods' ConfigMaps when it does, and a
	// kubelet may take two minutes to bring one to a pod.
	spread = 5 * time.Minute
	// overlap is how long a root is believed that is listed no more. The last
	// certificates that lead to it are issued a spread later.
	overlap = identity.MaxTTL + 2*spread
)

// A part is a root, or a revocation list, that is believed.
type part struct {
	PEM   string    `json:"pem"`
	Since time.Time `json:"since,omitzero"` // since when others hear of it; zero: from the start
	Until time.Time `json:"until,omitzero"` // zero: as long as the Secret lists it
}

// A history is the parts that are believed.
type history []part

// followed returns the history that comes after h at a time at which the Secret
// lists those parts. Without a history nobody believes anything yet.
func (h history) followed(listed []string, now time.Time) history {
	now = now.UTC().Truncate(time.Second)
	next := history{}
	for _, text := range listed {
		i := slices.IndexFunc(h, func(p part) bool { return p.PEM == text })
		switch {
		case i >= 0:
			next = append(next, part{PEM: text, Since: h[i].Since})
		case len(h) == 0:
			next = append(next, part{PEM: text})
		default:
			next = append(next, part{PEM: text, Since: now})
		}
	}
	for _, p := range h {
		if slices.Contains(listed, p.PEM) {
			continue
		}
		if p.Until.IsZero() {
			p.Until = now.Add(overlap)
		}
		if now.Before(p.Until) {
			next = append(next, p)
		}
	}
	return next
}

// bundle is what is believed.
func (h history) bundle() (*identity.Bundle, error) {
	return h.bundleOf(func(part) bool { return true })
}

// known is what everybody knows of by now; nil where that is nothing.
func (h history) known(now time.Time) *identity.Bundle {
	b, err := h.bundleOf(func(p part) bool { return !now.Before(p.Since.Add(spread)) })
	if err != nil {
		return nil
	}
	return b
}

func (h history) bundleOf(which func(part) bool) (*identity.Bundle, error) {
	var text strings.Builder
	for _, p := range h {
		if which(p) {
			text.WriteString(p.PEM)
		}
	}
	return identity.ParseBundle([]byte(text.String()))
}

// configMap is the history as it is kept.
func (h history) configMap(namespace string) (*corev1.ConfigMap, error) {
	b, err := h.bundle()
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Name: RootsName, Namespace: namespace,
			Labels: map[string]string{"app.kubernetes.io/name": "fairway", "app.kubernetes.io/managed-by": "fairway"},
		},
		Data: map[string]string{rootsKey: string(b.PEM()), historyKey: string(data)},
	}, nil
}

// A ledger keeps the history in the cluster, for all replicas.
type ledger struct {
	configMaps rest.Interface
	namespace  string
}

// follow notes which parts the Secret lists, and returns what is believed. Of
// replicas that do so at once one is first, and the others go by what it wrote.
func (l *ledger) follow(ctx context.Context, listed []string) (history, error) {
	const tries = 4
	var h history
	err := error(nil)
	for range tries {
		if h, err = l.followOnce(ctx, listed); !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("ConfigMap %s/%s: %w", l.namespace, RootsName, err)
	}
	return h, nil
}

func (l *ledger) followOnce(ctx context.Context, listed []string) (history, error) {
	live := &corev1.ConfigMap{}
	err := l.configMaps.Get().Namespace(l.namespace).Resource("configmaps").Name(RootsName).Do(ctx).Into(live)
	there := err == nil
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, err
	}
	var h history
	if text := live.Data[historyKey]; text != "" {
		if err := json.Unmarshal([]byte(text), &h); err != nil {
			return nil, fmt.Errorf("%s: %w; mend the ConfigMap, or delete it to have only the Secret's roots believed", historyKey, err)
		}
	}
	next := h.followed(listed, time.Now())
	wanted, err := next.configMap(l.namespace)
	if err != nil {
		return nil, err
	}
	switch {
	case !there:
		return next, l.configMaps.Post().Namespace(l.namespace).Resource("configmaps").Body(wanted).Do(ctx).Error()
	case live.Data[historyKey] == wanted.Data[historyKey] && live.Data[rootsKey] == wanted.Data[rootsKey]:
		return next, nil
	}
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": live.ResourceVersion}, // nobody else has written since
		"data":     wanted.Data,
	})
	if err != nil {
		return nil, err
	}
	return next, l.configMaps.Verb(http.MethodPatch).SetHeader("Content-Type", string(types.MergePatchType)).
		Namespace(l.namespace).Resource("configmaps").Name(RootsName).Body(body).Do(ctx).Error()
}
