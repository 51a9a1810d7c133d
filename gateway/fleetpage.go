package main

import (
	"fairway.dev/discovery/feed"
	"fairway.dev/routing"
)

// fleetPage is what this replica knows of the fleet.
func (r *replica) fleetPage() *fleetPage {
	page := &fleetPage{Replica: r.name, Version: version, Leads: r.leads.Load(), Problems: statesOf(r.troubles.all())}
	for _, name := range r.fleets.names() {
		wanted := r.feed.Wanted(name)
		g := gatewayState{Gateway: name, Listeners: len(wanted)}
		for _, pod := range r.feed.Fleet(name).Pods {
			g.Pods = append(g.Pods, stateOf(&pod, wanted))
		}
		page.Gateways = append(page.Gateways, g)
	}
	return page
}

func stateOf(pod *feed.PodState, wanted map[routing.ListenerName]string) podState {
	state := podState{Pod: pod.Pod, Node: pod.Node, Program: pod.Program, Replica: pod.Replica, Connected: pod.Connected, Problems: statesOf(pod.Problems)}
	for name, version := range wanted {
		if pod.Listeners[name] == version {
			state.Listeners++
		}
	}
	return state
}

func statesOf(problems []*routing.Problem) []problemState {
	states := make([]problemState, len(problems))
	for i, p := range problems {
		states[i] = problemState{p.Origin.String(), p.Reason, p.Level, p.Err.Error(), p.Fix}
	}
	return states
}
