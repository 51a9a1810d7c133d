package main

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"fairway.dev/discovery/manifest"
	"fairway.dev/gateway/server"
	"fairway.dev/routing"
)

// apply puts a change in force and says in one line what it was.
func (g *gateway) apply(c change) []*routing.Problem {
	g.applying.Lock()
	defer g.applying.Unlock()
	began := time.Now()
	problems := g.source.problems(g.server.Update(c.delta))
	known := g.stand(problems)
	g.log.Info("configuration applied", "generation", g.server.Generation(),
		"origin", c.what, "took", time.Since(began).Round(10*time.Microsecond))
	g.logProblems(known, problems)
	g.memory.changed(c.delta)
	return problems
}

// stand makes problems those that are shown and counted, and returns those
// that were.
func (g *gateway) stand(problems []*routing.Problem) (before []*routing.Problem) {
	before = *g.problems.Swap(&problems)
	g.countProblems(problems)
	return before
}

// rebound takes the Problems of ports away that are bound after all.
func (g *gateway) rebound() {
	g.applying.Lock()
	defer g.applying.Unlock()
	unbound := g.server.Unbound()
	problems := slices.DeleteFunc(slices.Clone(*g.problems.Load()), func(p *routing.Problem) bool {
		return p.Reason == server.PortUnavailable && !slices.ContainsFunc(unbound, func(u *routing.Problem) bool {
			return u.Origin.String() == p.Origin.String()
		})
	})
	g.stand(problems)
	g.source.stand(problems)
	g.log.Debug("ports were tried again", "unbound", len(unbound))
}

// logProblems logs the Problems that are new.
func (g *gateway) logProblems(known, now []*routing.Problem) {
	own := g.source.logged()
	logged := make(map[*routing.Problem]bool, len(known)+len(own))
	for _, list := range [][]*routing.Problem{known, own} {
		for _, p := range list {
			logged[p] = true
		}
	}
	for _, p := range now {
		if logged[p] {
			continue
		}
		level, what := slog.LevelWarn, "not in force"
		switch p.Level {
		case routing.Warning:
			what = "in force, and perhaps not as it was meant"
		case routing.Info:
			level, what = slog.LevelInfo, "worth knowing"
		}
		g.log.Log(context.Background(), level, what, "origin", strings.TrimSpace(p.Origin.String()+" "+p.Origin.Place()),
			"reason", p.Reason, "err", p.Err)
	}
}

// errorsOf returns the Problems that say that something is not in force.
func errorsOf(problems []*routing.Problem) []*routing.Problem {
	var list []*routing.Problem
	for _, p := range problems {
		if p.Level == routing.Error {
			list = append(list, p)
		}
	}
	return list
}

// staleFile are the reasons for which a whole file is served as it last was good.
var staleFile = []routing.Reason{
	manifest.SyntaxError, manifest.TooComplex, manifest.FileTooLarge, manifest.Unreadable, manifest.FileEmpty,
}

func (g *gateway) countProblems(problems []*routing.Problem) {
	byReason := map[string]int{}
	stale := map[string]bool{}
	for _, p := range errorsOf(problems) {
		byReason[string(p.Reason)]++
		if slices.Contains(staleFile, p.Reason) {
			stale[p.Origin.File] = true
		}
	}
	g.metrics.Config.Problems(byReason)
	g.metrics.Config.StaleFiles(len(stale))
	if len(stale) > 0 {
		g.metrics.Config.Failed()
	}
}
