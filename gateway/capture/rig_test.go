package capture

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// inside says to the test binary that it is in namespaces of its own.
const inside = "FAIRWAY_CAPTURE_INSIDE"

// TestMain runs the tests in a network namespace of their own, in which they
// are root: where they are not root outside, in a user namespace, too.
func TestMain(m *testing.M) {
	if os.Getenv(inside) != "" {
		os.Exit(m.Run())
	}
	runtime.LockOSThread() // Pdeathsig is about the thread
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	default:
		fmt.Fprintln(os.Stderr, "these tests send packets in network namespaces: want root, or a kernel that gives users namespaces:", err)
		os.Exit(1)
	}
}

// A node is a network namespace that forwards between those of its pods.
type node struct {
	t    *testing.T
	ns   netns.NsHandle
	link *netlink.Handle
	pods int
}

// A pod is a network namespace with an address of each family.
type pod struct {
	node   *node
	name   string
	ns     netns.NsHandle
	v4, v6 netip.Addr
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newNS returns a network namespace with a loopback that is up.
func newNS(t testing.TB) (netns.NsHandle, *netlink.Handle) {
	t.Helper()
	type made struct {
		ns  netns.NsHandle
		err error
	}
	ch := make(chan made)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		ns, err := netns.New()
		ch <- made{ns, err}
	}()
	m := <-ch
	must(t, m.err)
	// Addresses are there at once: nobody is asked whether somebody else has them.
	must(t, in(m.ns, func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0) }))
	link, err := netlink.NewHandleAt(m.ns)
	must(t, err)
	t.Cleanup(func() { link.Close(); m.ns.Close() })
	lo, err := link.LinkByName("lo")
	must(t, err)
	must(t, link.LinkSetUp(lo))
	return m.ns, link
}

// in calls f in a network namespace.
func in(ns netns.NsHandle, f func() error) error {
	ch := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := netns.Set(ns); err != nil {
			ch <- err
			return
		}
		ch <- f()
	}()
	return <-ch
}

func newNode(t *testing.T) *node {
	ns, link := newNS(t)
	must(t, in(ns, func() error {
		return errors.Join(
			os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0),
			os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte("1"), 0))
	}))
	n := &node{t: t, ns: ns, link: link}
	// Services' addresses lead somewhere, as in a cluster by the default route.
	outside, _ := newNS(t)
	uplink := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "uplink"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(outside)}
	must(t, link.LinkAdd(uplink))
	must(t, link.LinkSetUp(uplink))
	for _, to := range []string{"10.96.0.0/16", "fd96::/64"} {
		_, dst, err := net.ParseCIDR(to)
		must(t, err)
		must(t, link.RouteAdd(&netlink.Route{LinkIndex: uplink.Attrs().Index, Dst: dst, Scope: netlink.SCOPE_LINK}))
	}
	return n
}

// pod adds a pod, as a CNI plugin of the kind ptp does.
func (n *node) pod(name string) *pod {
	t := n.t
	t.Helper()
	n.pods++
	p := &pod{node: n, name: name}
	p.v4 = netip.MustParseAddr(fmt.Sprintf("10.244.%d.2", n.pods))
	p.v6 = netip.MustParseAddr(fmt.Sprintf("fd44:0:0:%x::2", n.pods))
	var link *netlink.Handle
	p.ns, link = newNS(t)
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprintf("veth%d", n.pods)}, PeerName: "eth0", PeerNamespace: netlink.NsFd(p.ns)}
	must(t, n.link.LinkAdd(veth))
	for _, end := range []struct {
		link *netlink.Handle
		name string
		last string
	}{{n.link, veth.Name, "1"}, {link, "eth0", "2"}} {
		l, err := end.link.LinkByName(end.name)
		must(t, err)
		must(t, end.link.LinkSetUp(l))
		for _, addr := range []string{fmt.Sprintf("10.244.%d.%s/24", n.pods, end.last), fmt.Sprintf("fd44:0:0:%x::%s/64", n.pods, end.last)} {
			a, err := netlink.ParseAddr(addr)
			must(t, err)
			a.Flags = unix.IFA_F_NODAD
			if a.IP.To4() != nil {
				a.Flags = 0
			}
			must(t, end.link.AddrAdd(l, a))
		}
	}
	for _, gw := range []string{fmt.Sprintf("10.244.%d.1", n.pods), fmt.Sprintf("fd44:0:0:%x::1", n.pods)} {
		must(t, link.RouteAdd(&netlink.Route{Gw: net.ParseIP(gw)}))
	}
	return p
}

// addr is the pod's address of a family.
func (p *pod) addr(f Family) netip.Addr {
	if f == IPv4 {
		return p.v4
	}
	return p.v6
}

// serve has the pod answer each connection to a port with its name and who the
// client is. It lasts as long as the test.
func (p *pod) serve(port uint16) {
	p.node.t.Helper()
	serveIn(p.node.t, p.ns, p.name, port)
}

func serveIn(t testing.TB, ns netns.NsHandle, name string, port uint16) {
	t.Helper()
	var ln net.Listener
	must(t, in(ns, func() (err error) {
		ln, err = net.Listen("tcp", fmt.Sprintf(":%d", port))
		return err
	}))
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
				fmt.Fprintf(c, "%s %s\n", name, host)
				io.Copy(c, c) // for who wants more
			}()
		}
	}()
}

// dial opens a connection from a namespace.
func dial(ns netns.NsHandle, to netip.AddrPort) (c net.Conn, err error) {
	err = in(ns, func() (err error) {
		c, err = (&net.Dialer{Timeout: 5 * time.Second}).Dial("tcp", to.String())
		return err
	})
	return c, err
}

// ask says who answers a connection from a namespace, and whom that has taken
// for the client; "refused" where there was a reset.
func ask(t testing.TB, ns netns.NsHandle, to netip.AddrPort) string {
	t.Helper()
	c, err := dial(ns, to)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return "refused"
	}
	must(t, err)
	defer c.Close()
	return hear(t, c)
}

// hear reads the line that a server begins with.
func hear(t testing.TB, c net.Conn) string {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	buf := make([]byte, 100)
	n, err := c.Read(buf)
	must(t, err)
	return strings.TrimSpace(string(buf[:n]))
}

func (p *pod) ask(to netip.Addr, port uint16) string {
	p.node.t.Helper()
	return ask(p.node.t, p.ns, netip.AddrPortFrom(to, port))
}
