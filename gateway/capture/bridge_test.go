package capture

import (
	"slices"
	"testing"
	"testing/fstest"
)

func TestBridgesThatBypassTheRules(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	tests := []struct {
		about string
		files fstest.MapFS
		want  []string
	}{
		{"no bridge", fstest.MapFS{"sys/class/net/eth0/mtu": file("1500\n")}, nil},
		{"br_netfilter is not there", fstest.MapFS{"sys/class/net/cni0/bridge/stp_state": file("0\n"), "sys/class/net/cni0/brif/veth1/x": file("")}, []string{"cni0"}},
		{"a bridge without ports", fstest.MapFS{"sys/class/net/docker0/bridge/stp_state": file("0\n")}, nil},
		{"it is there, and on", fstest.MapFS{
			"sys/class/net/cni0/bridge/stp_state": file("0\n"), "sys/class/net/cni0/brif/veth1/x": file(""),
			"proc/sys/net/bridge/bridge-nf-call-iptables": file("1\n"), "proc/sys/net/bridge/bridge-nf-call-ip6tables": file("1\n"),
		}, nil},
		{"it is on for one family", fstest.MapFS{
			"sys/class/net/cni0/bridge/stp_state": file("0\n"), "sys/class/net/cni0/brif/veth1/x": file(""),
			"proc/sys/net/bridge/bridge-nf-call-iptables": file("1\n"), "proc/sys/net/bridge/bridge-nf-call-ip6tables": file("0\n"),
		}, []string{"cni0"}},
		{"it is on for the bridge", fstest.MapFS{
			"sys/class/net/cni0/bridge/nf_call_iptables": file("1\n"), "sys/class/net/cni0/bridge/nf_call_ip6tables": file("1\n"),
			"sys/class/net/cni0/brif/veth1/x":             file(""),
			"proc/sys/net/bridge/bridge-nf-call-iptables": file("0\n"), "proc/sys/net/bridge/bridge-nf-call-ip6tables": file("0\n"),
		}, nil},
	}
	for _, tt := range tests {
		if got := bypasses(tt.files); !slices.Equal(got, tt.want) {
			t.Errorf("%s: bypasses = %v, want %v", tt.about, got, tt.want)
		}
	}
}
