package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

const (
	manySets     = 2500
	routesPerSet = 16
)

// manyListenerSets makes many ListenerSets with an HTTPS listener each, and
// routes on each; those of a namespace share one Secret.
func manyListenerSets(ctx context.Context, l *lab, t *table) error {
	e, err := l.openEdge(ctx, "bench-listenersets")
	if err != nil {
		return err
	}
	s := &sets{lab: l, edge: e, count: l.count(manySets), programmed: map[string]time.Time{}}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	c := &crowd{lab: l, edge: e, editOne: s.edit, moveOne: s.move}
	c.create = func(ctx context.Context) error { return s.createAll(ctx, t) }
	return c.measure(ctx, t)
}

// sets are ListenerSets in many namespaces, with their routes and backends.
type sets struct {
	*lab
	edge  *edge
	count int

	mu         sync.Mutex
	programmed map[string]time.Time // since when, by namespace/name
}

func (s *sets) spaces() int { return min(crowdNamespaces, s.count) }

func (s *sets) namespace(i int) string { return crowdNamespace(i % s.spaces()) }

// prepare makes the namespaces and their Secrets.
func (s *sets) prepare(ctx context.Context) error {
	if err := s.namespaces(ctx, crowdNames(s.spaces())...); err != nil {
		return err
	}
	return all(ctx, s.spaces(), func(ctx context.Context, i int) error {
		secret, err := wildcard(crowdNamespace(i))
		if err != nil {
			return err
		}
		_, err = s.core.CoreV1().Secrets(secret.Namespace).Create(ctx, secret, metav1.CreateOptions{})
		return err
	})
}

// wildcard is a Secret with a certificate for every host of the scenario.
func wildcard(namespace string) (*corev1.Secret, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: namespace}, DNSNames: []string{"*.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "wildcard"},
		Type:       corev1.SecretTypeTLS,
		Data: map[string][]byte{
			corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
			corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
		},
	}, nil
}

// watch takes down when ListenerSets are programmed.
func (s *sets) watch(ctx context.Context, cancel context.CancelCauseFunc) error {
	api := s.gateways.GatewayV1().ListenerSets("")
	now, err := api.List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return err
	}
	w, err := api.Watch(ctx, metav1.ListOptions{ResourceVersion: now.ResourceVersion})
	if err != nil {
		return err
	}
	go func() {
		defer w.Stop()
		for event := range w.ResultChan() {
			o, ok := event.Object.(*gatewayv1.ListenerSet)
			if ok && event.Type != watch.Deleted && isTrue(o.Status.Conditions, string(gatewayv1.ListenerSetConditionProgrammed), o.Generation) {
				s.note(o)
			}
		}
		cancel(fmt.Errorf("the watch of ListenerSets broke off"))
	}()
	return nil
}

func (s *sets) note(o *gatewayv1.ListenerSet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := o.Namespace + "/" + o.Name
	if s.programmed[name].IsZero() && string(o.Spec.ParentRef.Name) == s.edge.name {
		s.programmed[name] = time.Now()
	}
}

func (s *sets) ready() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.programmed)
}

// last is when the last ListenerSet was programmed.
func (s *sets) last() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	var last time.Time
	for _, at := range s.programmed {
		if at.After(last) {
			last = at
		}
	}
	return last
}

// createAll makes all ListenerSets with their routes, and waits until they are
// programmed.
func (s *sets) createAll(ctx context.Context, t *table) error {
	watching, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if err := s.watch(watching, stop); err != nil {
		return err
	}
	began := time.Now()
	if err := all(watching, s.count, s.create); err != nil {
		return err
	}
	created := time.Now()
	t.found("ListenerSets, routes", "%d, %d in %d namespaces, created in %s",
		s.count, s.count*routesPerSet, s.spaces(), short(created.Sub(began)))
	err := await(watching, 10*time.Minute, 100*time.Millisecond, "all ListenerSets are programmed", func() bool { return s.ready() == s.count })
	if err != nil {
		return fmt.Errorf("%d are: %w", s.ready(), err)
	}
	t.found("the last one created until all are programmed", "%s", short(max(0, s.last().Sub(created))))
	stop(nil)
	took, err := s.lastInForce(ctx, s.edge)
	if err != nil {
		return err
	}
	t.found("one more route, right after them, is answered after", "%s", short(took))
	return s.served(ctx, t)
}

// create makes a ListenerSet, a backend, and routes.
func (s *sets) create(ctx context.Context, i int) error {
	namespace := s.namespace(i)
	if err := s.backend(ctx, namespace, app(i), crowdPorts, nowhere(i)); err != nil {
		return err
	}
	if _, err := s.gateways.GatewayV1().ListenerSets(namespace).Create(ctx, s.set(i), metav1.CreateOptions{}); err != nil {
		return err
	}
	for n := range routesPerSet {
		if err := s.createRoute(ctx, s.route(i, n, 0)); err != nil {
			return err
		}
	}
	return nil
}

func (s *sets) host(i int) string { return app(i) + ".example.com" }

func (s *sets) set(i int) *gatewayv1.ListenerSet {
	host, mode := gatewayv1.Hostname(s.host(i)), gatewayv1.TLSModeTerminate
	namespace := gatewayv1.Namespace(s.edge.namespace)
	return &gatewayv1.ListenerSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace(i), Name: app(i)},
		Spec: gatewayv1.ListenerSetSpec{
			ParentRef: gatewayv1.ParentGatewayReference{Namespace: &namespace, Name: gatewayv1.ObjectName(s.edge.name)},
			Listeners: []gatewayv1.ListenerEntry{{
				Name: "https", Hostname: &host, Port: 443, Protocol: gatewayv1.HTTPSProtocolType,
				TLS: &gatewayv1.ListenerTLSConfig{Mode: &mode, CertificateRefs: []gatewayv1.SecretObjectReference{{Name: "wildcard"}}},
			}},
		},
	}
}

// route is one of those of a ListenerSet, after a number of edits.
func (s *sets) route(i, n, edit int) *gatewayv1.HTTPRoute {
	kind := gatewayv1.Kind("ListenerSet")
	parent := gatewayv1.ParentReference{Kind: &kind, Name: gatewayv1.ObjectName(app(i))}
	return route(s.namespace(i), fmt.Sprintf("%s-%d", app(i), n), s.host(i), parent, rule(fmt.Sprintf("/%d/%d", n, edit), app(i), 80))
}

func (s *sets) edit(ctx context.Context, edit int) error {
	return s.editRoute(ctx, s.route(edit*7%s.count, edit%routesPerSet, edit))
}

func (s *sets) move(ctx context.Context, edit int) error {
	i := edit * 11 % s.count
	return s.moveBackend(ctx, s.namespace(i), app(i), crowdPorts, nowhere(s.count+edit))
}

// served asks over TLS for the first and the last route: both are there, and a
// path that none of them has is not.
func (s *sets) served(ctx context.Context, t *table) error {
	b, err := startBackend("served")
	if err != nil {
		return err
	}
	defer b.close()
	var took times
	for _, i := range []int{0, s.count - 1} {
		began := time.Now()
		if err := s.moveBackend(ctx, s.namespace(i), app(i), b.ports(), s.backends); err != nil {
			return err
		}
		c := newClient(s.edge)
		_, err := c.answered(ctx, fmt.Sprintf("https://%s/%d/0", s.host(i), routesPerSet-1), lastInForceWithin)
		c.close()
		if err != nil {
			return err
		}
		took = append(took, time.Since(began))
	}
	t.found("over TLS, the first and the last route are answered after their backend has moved here", "%s", short(took.max()))
	return nil
}
