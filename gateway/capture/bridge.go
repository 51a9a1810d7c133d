package capture

import (
	"io/fs"
	"path"
	"strings"
)

// bypasses lists the bridges whose packets from port to port do not pass the
// hooks of IP: connections between pods behind one are not refused. System is the
// root of the file system, as far as /proc and /sys go.
func bypasses(system fs.FS) []string {
	on := func(name string) bool {
		b, err := fs.ReadFile(system, name)
		return err == nil && strings.TrimSpace(string(b)) == "1"
	}
	bridges, err := fs.Glob(system, "sys/class/net/*/bridge")
	if err != nil {
		panic("bug: " + err.Error()) // the pattern's fault alone
	}
	var list []string
	for _, bridge := range bridges {
		device := path.Dir(bridge)
		ports, err := fs.ReadDir(system, device+"/brif")
		if err != nil || len(ports) == 0 {
			continue
		}
		for _, family := range []string{"iptables", "ip6tables"} {
			if !on("proc/sys/net/bridge/bridge-nf-call-"+family) && !on(bridge+"/nf_call_"+family) {
				list = append(list, path.Base(device))
				break
			}
		}
	}
	return list
}
