package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"

	"fairway.dev/routing"
)

// fleetPage is /debug/fleet of a replica of control.
type fleetPage struct {
	Replica  string         `json:"replica"`
	Version  string         `json:"version"`
	Leads    bool           `json:"leads"`
	Gateways []gatewayState `json:"gateways"`
	Problems []problemState `json:"problems"`
}

// gatewayState is a Gateway and what its pods have in force.
type gatewayState struct {
	Gateway   string     `json:"gateway"` // "shop/edge"
	Listeners int        `json:"listeners"`
	Pods      []podState `json:"pods"`
}

// podState is one gateway pod.
type podState struct {
	Pod       string         `json:"pod"` // "shop/edge-fairway-5d4c-x2x7p"
	Node      string         `json:"node"`
	Replica   string         `json:"replica"` // of control, that it is connected to
	Program   string         `json:"program"` // its version of Fairway
	Listeners int            `json:"listeners"`
	Connected time.Time      `json:"connected"`
	Problems  []problemState `json:"problems"`
}

// problemState is a part that is not in force, or what is odd about it.
type problemState struct {
	Origin string         `json:"origin"`
	Reason routing.Reason `json:"reason"`
	Level  routing.Level  `json:"level,omitempty"`
	Text   string         `json:"text"`
	Fix    string         `json:"fix,omitempty"`
}

// fleetStatus prints the versions of control and of the fleet, what each pod has in
// force, and what is not in force and why.
func fleetStatus(ctx context.Context, args []string, out io.Writer) error {
	f := flags("status", "[flags] [NAMESPACE/GATEWAY...]")
	kubeconfig := f.String("kubeconfig", "", "the kubeconfig `file` (default: as kubectl finds it)")
	kubeContext := f.String("context", "", "the `context` of the kubeconfig")
	namespace := f.String("namespace", "fairway-system", "the `namespace` that control runs in")
	only, err := parseMixed(f, args)
	if err != nil {
		return err
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = *kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: *kubeContext}).ClientConfig()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	pages, err := askReplicas(ctx, config, *namespace, out)
	if err != nil {
		return err
	}
	return printStatus(out, pages, only)
}

// askReplicas gets the page of each replica that answers, the leader's first.
func askReplicas(ctx context.Context, config *rest.Config, namespace string, out io.Writer) ([]*fleetPage, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	const selector = "app.kubernetes.io/name=fairway,app.kubernetes.io/component=control"
	pods, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, err
	}
	if len(pods.Items) == 0 {
		return nil, fmt.Errorf("namespace %s has no pod with labels %s: is Fairway installed there (-namespace)?", namespace, selector)
	}
	var pages []*fleetPage
	for i := range pods.Items {
		pod := &pods.Items[i]
		page, err := askReplica(ctx, config, client, pod)
		if err != nil {
			fmt.Fprintf(out, "control %s (%s): %v\n", pod.Name, pod.Status.Phase, err)
			continue
		}
		pages = append(pages, page)
	}
	if len(pages) == 0 {
		return nil, errors.New("no replica of control answers")
	}
	slices.SortFunc(pages, func(a, b *fleetPage) int {
		return cmp.Or(-cmp.Compare(truth(a.Leads), truth(b.Leads)), cmp.Compare(a.Replica, b.Replica))
	})
	return pages, nil
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// askReplica gets a pod's page through the API server: debug pages are for
// who comes from the pod's own loopback address.
func askReplica(ctx context.Context, config *rest.Config, client *kubernetes.Clientset, pod *corev1.Pod) (*fleetPage, error) {
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return nil, err
	}
	url := client.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("portforward").URL()
	dialer := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	ready := make(chan struct{})
	forwarder, err := portforward.NewOnAddressesWithContext(ctx, dialer, []string{"127.0.0.1"}, []string{"0:15021"}, ready, io.Discard, io.Discard)
	if err != nil {
		return nil, err
	}
	failed := make(chan error, 1)
	go func() { failed <- forwarder.ForwardPorts() }()
	defer forwarder.Close()
	select {
	case err := <-failed:
		return nil, err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-ready:
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		return nil, err
	}
	return getPage(ctx, fmt.Sprintf("http://127.0.0.1:%d/debug/fleet", ports[0].Local))
}

func getPage(ctx context.Context, url string) (*fleetPage, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("/debug/fleet: %s", resp.Status)
	}
	const most = 256 << 20
	page := &fleetPage{}
	if err := json.NewDecoder(io.LimitReader(resp.Body, most)).Decode(page); err != nil {
		return nil, fmt.Errorf("/debug/fleet: %w", err)
	}
	return page, nil
}

// printStatus prints what the replicas say. What they know of the fleet is the
// same, so the first one's is printed, of the Gateways named in only, or all.
// It returns errFound if anything is not in force.
func printStatus(out io.Writer, pages []*fleetPage, only []string) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, p := range pages {
		role := "feeds"
		if p.Leads {
			role = "feeds, writes status"
		}
		fmt.Fprintf(w, "control %s\t%s\t%s\n", p.Replica, p.Version, role)
	}
	first := pages[0]
	found := 0
	for _, g := range first.Gateways {
		if len(only) > 0 && !slices.Contains(only, g.Gateway) {
			continue
		}
		fmt.Fprintf(w, "\nGateway %s\t%d listeners\t%d pods\n", g.Gateway, g.Listeners, len(g.Pods))
		for _, p := range g.Pods {
			state := "in step"
			if p.Listeners < g.Listeners {
				state = fmt.Sprintf("%d of %d listeners in force", p.Listeners, g.Listeners)
			}
			_, name, _ := strings.Cut(p.Pod, "/")
			fmt.Fprintf(w, "  %s\t%s\ton %s\tby %s\t%s\n", name, p.Program, p.Node, p.Replica, state)
			found += printProblems(w, p.Problems)
		}
	}
	for _, l := range []struct {
		level routing.Level
		title string
	}{{routing.Error, "Not in force"}, {routing.Warning, "In force, and perhaps not as it was meant"}} {
		list := slices.DeleteFunc(slices.Clone(first.Problems), func(p problemState) bool { return p.Level != l.level })
		if len(only) > 0 || len(list) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n%s:\n", l.title)
		if n := printProblems(w, list); l.level == routing.Error {
			found += n
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if found > 0 {
		return errFound
	}
	return nil
}

func printProblems(w io.Writer, problems []problemState) int {
	for _, p := range problems {
		fmt.Fprintf(w, "    %s: %s: %s", p.Origin, p.Reason, p.Text)
		if p.Fix != "" {
			fmt.Fprintf(w, "; %s", p.Fix)
		}
		fmt.Fprintln(w)
	}
	return len(problems)
}
