package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"fairway.dev/discovery/cluster"
	"fairway.dev/routing"
	"fairway.dev/routing/analysis"
	"fairway.dev/routing/gatewayapi"
	"fairway.dev/routing/istio"
)

// liveTimeout bounds how long a cluster is read.
const liveTimeout = 2 * time.Minute

// surveyCluster reads a cluster once. It needs the rights to list and watch
// that control has, and writes nothing.
func (o *checkFlags) surveyCluster(ctx context.Context) (*survey, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: o.context}).ClientConfig()
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	var translator *gatewayapi.Translator
	source, err := cluster.New(config, cluster.Options{
		Wanted:    func(k routing.ObjectKey) bool { return translator.Reads(k) },
		WantsPods: func() bool { return translator.WantsPods() },
		Version:   version,
	})
	if err != nil {
		return nil, err
	}
	fresh := func() *gatewayapi.Translator {
		t := gatewayapi.New(source, gatewayapi.Options{Isolated: true})
		istio.Join(t, istio.Options{RootNamespace: o.root})
		return t
	}
	translator = fresh()
	var s *survey
	keys := map[routing.ObjectKey]bool{}
	err = source.Run(ctx, func(c cluster.Change) {
		for _, k := range c.Keys {
			keys[k] = true
		}
		translator.Update(c.Keys)
		if !c.More && s == nil {
			s = surveyOf(source, fresh(), keys)
			cancel()
		}
	})
	if err == nil && s == nil {
		err = context.Cause(ctx)
	}
	if err != nil && !(s != nil && errors.Is(err, context.Canceled)) {
		return nil, fmt.Errorf("read the cluster: %w", err)
	}
	return s, nil
}

// surveyOf translates all that a source has.
func surveyOf(source *cluster.Source, t *gatewayapi.Translator, keys map[routing.ObjectKey]bool) *survey {
	var sorted []routing.ObjectKey
	for k := range keys {
		sorted = append(sorted, k)
	}
	slices.SortFunc(sorted, compareKeys)
	delta, reports := t.Update(sorted)
	s := &survey{reports: map[routing.ObjectKey]gatewayapi.Report{}}
	var all []*routing.Problem
	for _, r := range reports {
		if !r.Gone {
			s.reports[r.Object] = r
			all = append(all, r.Problems...)
		}
	}
	all = append(all, s.compile(delta, true)...)
	for _, k := range sorted {
		all = append(all, analysis.Validate(source.Get(k))...)
	}
	s.problems = withoutEchoes(once(all))
	return s
}

// once takes out what is said twice.
func once(problems []*routing.Problem) []*routing.Problem {
	seen := map[string]bool{}
	return slices.DeleteFunc(problems, func(p *routing.Problem) bool {
		text := string(p.Reason) + p.Origin.String()
		again := seen[text]
		seen[text] = true
		return again
	})
}
