package cluster

import (
	"fmt"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
)

// maxPortLists bounds how many different lists of ports are held once.
const maxPortLists = 4096

// portLists are the ports of pods, in one container, by what they say.
var portLists = struct {
	sync.Mutex
	known map[string][]corev1.Container
}{known: map[string][]corev1.Container{}}

// portsOnce returns the TCP ports of containers as all who have the same hold
// them: a container is large, and pods come and go by the thousand.
func portsOnce(containers []corev1.Container) []corev1.Container {
	var ports []corev1.ContainerPort
	var text strings.Builder
	for i := range containers {
		for _, p := range containers[i].Ports {
			if p.Protocol == "" || p.Protocol == corev1.ProtocolTCP {
				ports = append(ports, corev1.ContainerPort{Name: p.Name, ContainerPort: p.ContainerPort})
				fmt.Fprintf(&text, "%s:%d,", p.Name, p.ContainerPort)
			}
		}
	}
	if ports == nil {
		return nil
	}
	portLists.Lock()
	defer portLists.Unlock()
	held := portLists.known[text.String()]
	if held == nil {
		if len(portLists.known) >= maxPortLists {
			clear(portLists.known)
		}
		for i := range ports {
			ports[i].Name = strings.Clone(ports[i].Name) // and not the object that it came in
		}
		held = []corev1.Container{{Ports: ports}}
		portLists.known[text.String()] = held
	}
	return held
}
