package routing

import "testing"

// A rule asks again as soon as there is somebody to ask.
func TestExternalAuthFollowsItsCluster(t *testing.T) {
	s := withAction(Action{Auth: &ExternalAuth{Cluster: "later", Path: "/auth", Request: []string{"cookie"}}})
	snap, _ := Compile(s)
	action := func() *Action {
		r := get("h", "/")
		return snap.Port(port80).Match(&r).Target.Action
	}
	if a := action(); a.Status != 500 {
		t.Errorf("without a cluster: %s, want status 500", details(a))
	}
	snap, _ = snap.Update(&Delta{Clusters: []*Cluster{{Name: "later"}}})
	if a := action(); a.Status != 0 || a.Auth == nil {
		t.Errorf("with its cluster: %s, want it to ask", details(a))
	}
	d := &Delta{}
	d.Removed.Clusters = []ClusterName{"later"}
	snap, _ = snap.Update(d)
	if a := action(); a.Status != 500 || len(a.Backends) > 0 {
		t.Errorf("without its cluster again: %s, want status 500", details(a))
	}
}
