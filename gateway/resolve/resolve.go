// Package resolve turns names into addresses, and notices when they change.
//
// A [Resolver] asks the servers of resolv.conf, by UDP and, where an answer is
// too long for that, by TCP (RFC 1035, RFC 7766). [Resolver.Watch] follows a
// name for as long as somebody wants its addresses. The one law: the last good
// answer is kept. A server that is silent, or has troubles of its own, takes
// no address away; a server that says that there is none has to say so twice.
//
// # Time
//
// A name is asked for again when between 80 and 95 percent of its answer's TTL
// have passed, at random, so that gateways do not ask together and nobody waits
// for the answer. A TTL counts as 5 seconds at least and 10 minutes at most. That
// there is no such name holds as long as its zone says (RFC 2308), 30 seconds at
// most. What failed is tried again after 1 second, and then after twice as long
// each time, up to 30 seconds. A question may take 5 seconds with each server,
// and at most 32 are under way at a time.
//
// # Names
//
// A name with a dot in it is whole: the search list is not used for it, as it
// comes from somebody's configuration and not from a keyboard. A name without
// one is looked for in the search list first, then as it is. Before DNS comes
// the hosts file, and "localhost" is this machine without a question (RFC 6761
// section 6.3). Addresses are asked for of the families that the machine has an
// address of itself.
//
// The package knows neither clusters nor what the addresses are for. Whoever
// lets strangers choose names looks at [IsPublic].
package resolve

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	leastTTL    = 5 * time.Second
	mostTTL     = 10 * time.Minute
	mostNone    = 30 * time.Second // that there is no such name holds for
	firstRetry  = time.Second
	lastRetry   = 30 * time.Second
	askTimeout  = 5 * time.Second // of one server
	maxQuestion = 32              // under way
)

// Options are what a Resolver needs. The zero Options are good.
type Options struct {
	// Config and Hosts are the paths of resolv.conf and of the hosts file. If
	// empty, those in /etc.
	Config, Hosts string

	// Dial connects to servers. If nil, a net.Dialer does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Families are what is asked for: of "ip4" and "ip6". If nil, what the
	// machine has addresses of.
	Families []string

	// Log takes names that cannot be resolved. If nil, nothing is logged.
	Log *slog.Logger
}

// A Resolver follows names. Its methods may be called by any goroutine.
type Resolver struct {
	o     Options
	ctx   context.Context
	stop  context.CancelFunc
	going sync.WaitGroup
	slots chan struct{} // one for each question under way

	mu    sync.Mutex
	names map[string]*name
}

// New returns a Resolver, which Close ends.
func New(o Options) *Resolver {
	if o.Config == "" {
		o.Config = "/etc/resolv.conf"
	}
	if o.Hosts == "" {
		o.Hosts = "/etc/hosts"
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	if o.Families == nil {
		o.Families = families()
	}
	r := &Resolver{o: o, slots: make(chan struct{}, maxQuestion), names: map[string]*name{}}
	r.ctx, r.stop = context.WithCancel(context.Background())
	return r
}

// Close ends all watches and waits for the questions that are under way. Nothing
// is watched after it.
func (r *Resolver) Close() {
	r.stop()
	r.going.Wait()
}

// families returns the families of which the machine has an address that leads
// somewhere; both where it has none.
func families() []string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return []string{"ip4", "ip6"}
	}
	var list []string
	for _, a := range addrs {
		ip, ok := a.(*net.IPNet)
		if !ok || !ip.IP.IsGlobalUnicast() {
			continue
		}
		family := "ip6"
		if ip.IP.To4() != nil {
			family = "ip4"
		}
		if !slices.Contains(list, family) {
			list = append(list, family)
		}
	}
	if list == nil {
		return []string{"ip4", "ip6"}
	}
	slices.Sort(list)
	return list
}

// A Changed hears of the addresses of a name, in order: once the first answer
// is there, and whenever another is. Before the first good answer it also hears
// why there is none. It is called by one goroutine at a time, does not block for
// long, and keeps addrs as it is.
type Changed func(addrs []netip.Addr, err error)

// A name is one that somebody watches.
type name struct {
	host     string
	cancel   context.CancelFunc
	watchers map[*Changed]bool
	telling  sync.Mutex // taken before Resolver.mu

	// What the last question came to, for those who come later.
	known bool
	addrs []netip.Addr
	err   error
}

// Watch calls changed until stop is called. An address in place of a name is
// its own answer. After stop changed may be called once more, if it is under way.
func (r *Resolver) Watch(host string, changed Changed) (stop func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.names[host]
	if n == nil {
		ctx, cancel := context.WithCancel(r.ctx)
		n = &name{host: host, cancel: cancel, watchers: map[*Changed]bool{}}
		r.names[host] = n
		r.going.Go(func() { r.follow(ctx, n) })
	} else if n.known {
		r.going.Go(func() { r.tell(n, &changed) })
	}
	n.watchers[&changed] = true
	return func() { r.unwatch(n, &changed) }
}

func (r *Resolver) unwatch(n *name, changed *Changed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(n.watchers, changed)
	if len(n.watchers) == 0 && r.names[n.host] == n {
		delete(r.names, n.host)
		n.cancel()
	}
}

// follow asks for a name again and again.
func (r *Resolver) follow(ctx context.Context, n *name) {
	var f following
	for {
		answer, err := r.resolve(ctx, n.host)
		if ctx.Err() != nil {
			return
		}
		wait, news := f.take(answer, err)
		if news {
			r.mu.Lock()
			n.known, n.addrs, n.err = true, f.addrs, f.err
			r.mu.Unlock()
			r.tell(n, nil)
		}
		if err != nil && r.o.Log != nil {
			r.o.Log.Debug("name not resolved", "name", n.host, "err", err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// tell tells those who watch n what holds now, or only one of them.
func (r *Resolver) tell(n *name, only *Changed) {
	n.telling.Lock()
	defer n.telling.Unlock()
	r.mu.Lock()
	addrs, err := n.addrs, n.err
	var watchers []*Changed
	for w := range n.watchers {
		if only == nil || only == w {
			watchers = append(watchers, w)
		}
	}
	r.mu.Unlock()
	for _, w := range watchers {
		(*w)(addrs, err)
	}
}

// following is what is known of a name.
type following struct {
	addrs  []netip.Addr
	err    error // why there are none; nil once there were some
	told   bool
	none   int // answers in a row that say that there is none
	failed int // questions in a row that came to nothing
}

// take takes an answer, and returns how long to wait before the next question,
// and whether what is known has changed.
func (f *following) take(a answer, err error) (wait time.Duration, news bool) {
	switch {
	case err != nil:
		f.failed++
		wait = min(firstRetry<<min(f.failed-1, 10), lastRetry)
		news = !f.told || f.addrs == nil && f.err.Error() != err.Error()
		switch {
		case f.addrs == nil && len(a.addrs) > 0:
			f.addrs, f.err, news = a.addrs, nil, true
		case f.addrs == nil:
			f.err = err
		}
	case len(a.addrs) == 0:
		f.failed = 0
		f.none++
		wait = min(max(a.ttl, leastTTL), mostNone)
		if news = !f.told || f.addrs != nil && f.none > 1; news {
			f.addrs, f.err = nil, errNone
		}
	default:
		f.failed, f.none = 0, 0
		wait = early(min(max(a.ttl, leastTTL), mostTTL))
		if news = !slices.Equal(f.addrs, a.addrs); news {
			f.addrs, f.err = a.addrs, nil
		}
	}
	f.told = true
	return wait, news
}

// early returns a moment before ttl is over.
func early(ttl time.Duration) time.Duration {
	return ttl*80/100 + time.Duration(rand.Int64N(int64(ttl*15/100)))
}
