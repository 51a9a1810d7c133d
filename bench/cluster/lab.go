package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	gatewayclient "sigs.k8s.io/gateway-api/pkg/client/clientset/versioned"
)

// mark is the label of all that a run makes.
const mark = "bench.fairway.dev/made"

// A lab is the cluster, as scenarios use it.
type lab struct {
	options
	core     kubernetes.Interface
	gateways gatewayclient.Interface
	dynamic  dynamic.Interface
	about    []string // what is measured, and on what
}

func newLab(ctx context.Context, o options) (*lab, error) {
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		clientcmd.NewDefaultClientConfigLoadingRules(), nil).ClientConfig()
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	config.WarningHandler = rest.NoWarnings{}
	l := &lab{options: o}
	if l.core, err = kubernetes.NewForConfig(config); err != nil {
		return nil, err
	}
	if l.gateways, err = gatewayclient.NewForConfig(config); err != nil {
		return nil, err
	}
	if l.dynamic, err = dynamic.NewForConfig(config); err != nil {
		return nil, err
	}
	if l.backends == "" {
		if l.backends, err = ownAddress(config.Host); err != nil {
			return nil, err
		}
	}
	l.about, err = l.describe(ctx)
	return l, err
}

// ownAddress is this machine's address towards a server. Nothing is sent.
func ownAddress(server string) (string, error) {
	u, err := url.Parse(server)
	if err != nil {
		return "", err
	}
	conn, err := net.Dial("udp", net.JoinHostPort(u.Hostname(), "9"))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	host, _, err := net.SplitHostPort(conn.LocalAddr().String())
	return host, err
}

// describe says what is measured, and on what.
func (l *lab) describe(ctx context.Context) ([]string, error) {
	v, err := l.core.Discovery().ServerVersion()
	if err != nil {
		return nil, err
	}
	nodes, err := l.core.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	control, err := l.controlPods(ctx)
	if err != nil {
		return nil, err
	}
	first := control[0].Spec.Containers[0]
	about := []string{
		fmt.Sprintf("Kubernetes %s, %d nodes, API server and etcd; this machine has %d cores", v.GitVersion, len(nodes.Items), runtime.NumCPU()),
		fmt.Sprintf("control: %d replicas of %s, %s; gateways have one pod each", len(control), first.Image, limits(&first)),
	}
	if l.scale != 1 {
		about = append(about, fmt.Sprintf("**not at full size**: -scale %v", l.scale))
	}
	return about, nil
}

// limits says what a container may use.
func limits(c *corev1.Container) string {
	var words []string
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		if q, ok := c.Resources.Limits[name]; ok {
			words = append(words, fmt.Sprintf("%s limit %s", name, q.String()))
		} else {
			words = append(words, fmt.Sprintf("no %s limit", name))
		}
	}
	return strings.Join(words, ", ")
}

// controlPods are the replicas of control.
func (l *lab) controlPods(ctx context.Context) ([]corev1.Pod, error) {
	return l.readyPods(ctx, l.control, "app.kubernetes.io/name=fairway,app.kubernetes.io/component=control")
}

// readyPods returns the pods that a selector finds, all of which have to be
// ready; those that are leaving do not count.
func (l *lab) readyPods(ctx context.Context, namespace, selector string) ([]corev1.Pod, error) {
	list, err := l.core.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, err
	}
	var pods []corev1.Pod
	for _, p := range list.Items {
		switch {
		case p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed:
			continue
		case !podReady(&p):
			return nil, fmt.Errorf("pod %s/%s is not ready", namespace, p.Name)
		}
		pods = append(pods, p)
	}
	if len(pods) == 0 {
		return nil, fmt.Errorf("no pods %s in namespace %s", selector, namespace)
	}
	return pods, nil
}

func podReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// namespaces makes namespaces.
func (l *lab) namespaces(ctx context.Context, names ...string) error {
	return all(ctx, len(names), func(ctx context.Context, i int) error {
		n := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: names[i], Labels: map[string]string{mark: "true"}}}
		_, err := l.core.CoreV1().Namespaces().Create(ctx, n, metav1.CreateOptions{})
		return err
	})
}

// clearTime bounds how long deleting may take: it is one call of the API
// server per object.
const clearTime = 20 * time.Minute

// clear deletes all that a run has made, and waits until it is gone.
func (l *lab) clear(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, clearTime)
	defer cancel()
	o := metav1.ListOptions{LabelSelector: mark}
	if err := l.gateways.GatewayV1().GatewayClasses().DeleteCollection(ctx, metav1.DeleteOptions{}, o); err != nil {
		return fmt.Errorf("delete GatewayClasses: %w", err)
	}
	for {
		list, err := l.core.CoreV1().Namespaces().List(ctx, o)
		if err != nil {
			return err
		}
		if len(list.Items) == 0 {
			return nil
		}
		for _, n := range list.Items {
			if n.DeletionTimestamp != nil {
				continue
			}
			if err := l.core.CoreV1().Namespaces().Delete(ctx, n.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
				return err
			}
		}
		if !pause(ctx, time.Second) {
			return fmt.Errorf("%d namespaces are still being deleted: %w", len(list.Items), ctx.Err())
		}
	}
}

// writers are how many requests are sent to the API server at once.
const writers = 8

// all calls do for 0 to n-1, several at once, until one fails.
func all(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var tasks sync.WaitGroup
	for range min(writers, n) {
		tasks.Go(func() {
			for i := range next {
				if err := do(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
feed:
	for i := range n {
		select {
		case next <- i:
		case <-ctx.Done():
			break feed
		}
	}
	close(next)
	tasks.Wait()
	return context.Cause(ctx)
}

// pause waits, and reports whether ctx still holds.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// await asks every so often until ok says so.
func await(ctx context.Context, most, every time.Duration, what string, ok func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, most, errors.New(what+": not so after "+most.String()))
	defer cancel()
	for !ok() {
		if !pause(ctx, every) {
			return context.Cause(ctx)
		}
	}
	return nil
}
