package resolve

import (
	"bufio"
	"bytes"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// A config is what resolv.conf says (resolv.conf(5)).
type config struct {
	servers  []string // addresses with ports
	search   []string
	timeout  time.Duration
	attempts int
}

const (
	maxServers  = 3
	maxSearch   = 16
	maxAttempts = 5
)

// readConfig reads resolv.conf anew for each question: it may change, and a
// question costs more. Without one the server is this machine.
func readConfig(path string) config {
	text, err := os.ReadFile(path)
	if err != nil {
		text = nil
	}
	return parseConfig(text)
}

// parseConfig takes what it understands, and passes over the rest.
func parseConfig(text []byte) config {
	c := config{timeout: askTimeout, attempts: 2}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) < 2 || strings.HasPrefix(words[0], "#") || strings.HasPrefix(words[0], ";") {
			continue
		}
		switch words[0] {
		case "nameserver":
			if addr, err := netip.ParseAddr(words[1]); err == nil && len(c.servers) < maxServers {
				c.servers = append(c.servers, netip.AddrPortFrom(addr, 53).String())
			}
		case "search", "domain":
			c.search = nil
			for _, domain := range words[1:min(len(words), maxSearch+1)] {
				c.search = append(c.search, strings.Trim(domain, "."))
			}
		case "options":
			c.options(words[1:])
		}
	}
	if c.servers == nil {
		c.servers = []string{"127.0.0.1:53", "[::1]:53"}
	}
	return c
}

func (c *config) options(words []string) {
	for _, word := range words {
		key, value, _ := strings.Cut(word, ":")
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 {
			continue
		}
		switch key {
		case "timeout":
			c.timeout = min(time.Duration(min(n, 60))*time.Second, askTimeout)
		case "attempts":
			c.attempts = min(n, maxAttempts)
		}
	}
}

// maxHosts bounds what is read of a hosts file, in bytes.
const maxHosts = 1 << 20

// inHosts returns the addresses that the hosts file has for a name (hosts(5)).
func inHosts(path, host string) []netip.Addr {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxHosts))
	if err != nil {
		return nil
	}
	return parseHosts(text, host)
}

func parseHosts(text []byte, host string) (addrs []netip.Addr) {
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		line, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(words[0])
		if err != nil || addr.Zone() != "" {
			continue
		}
		for _, alias := range words[1:] {
			if strings.EqualFold(alias, host) {
				addrs = append(addrs, addr.Unmap())
			}
		}
	}
	return addrs
}
