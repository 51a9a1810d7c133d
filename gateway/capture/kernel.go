package capture

import (
	"fmt"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// TableName is that of the table, of the family inet.
const TableName = "fairway-mesh"

// A Kernel is the table in the kernel. Its methods may not run at once, but for
// those that an Agent's doc says.
type Kernel struct {
	// NetNS is a file descriptor of the network namespace; 0: the process's own.
	NetNS int

	mu    sync.Mutex
	ports []uint32 // of the last sockets that changed the table (nlmsg_pid)
}

// foreign stands for rules that are none of ours.
var foreign = []Rule{{Label: "foreign"}}

// Sizes of netlink's buffers, in bytes: a whole table goes in one message, and
// each part of it is acknowledged before we read. The memory is used only while
// there is so much to say.
const (
	writeBuffer = 64 << 20
	readBuffer  = 16 << 20
)

// ownPorts is how many of its own sockets a Kernel remembers.
const ownPorts = 64

// connect returns a connection for one transaction or several questions.
func (k *Kernel) connect() (*nftables.Conn, error) {
	return nftables.New(nftables.AsLasting(), nftables.WithNetNSFd(k.NetNS), nftables.WithSockOptions(func(c *netlink.Conn) error {
		port, err := portOf(c)
		if err != nil {
			return err
		}
		k.mu.Lock()
		k.ports = append(k.ports[max(0, len(k.ports)-ownPorts):], port)
		k.mu.Unlock()
		if err := c.SetWriteBuffer(writeBuffer); err != nil {
			return err
		}
		return c.SetReadBuffer(readBuffer)
	}))
}

// portOf returns by what the kernel knows a netlink socket.
func portOf(c *netlink.Conn) (port uint32, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var inner error
	err = raw.Control(func(fd uintptr) {
		sa, err := unix.Getsockname(int(fd))
		if nl, ok := sa.(*unix.SockaddrNetlink); ok {
			port = nl.Pid
		} else {
			inner = fmt.Errorf("address of a netlink socket: %T, %w", sa, err)
		}
	})
	if err == nil {
		err = inner
	}
	return port, err
}

// own reports whether a socket is one that the Kernel changes the table with.
func (k *Kernel) own(port uint32) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Contains(k.ports, port)
}

func table() *nftables.Table {
	return &nftables.Table{Name: TableName, Family: nftables.TableFamilyINet}
}

// Put makes what the kernel has into want, in one transaction, and returns what
// had to be done. Have is what the kernel is thought to have; nil: it is asked.
// Where it has something else, the table is made anew, in one transaction, too.
func (k *Kernel) Put(have, want *Ruleset) (*Difference, error) {
	if have == nil {
		var err error
		if have, err = k.Read(want); err != nil {
			have, err = k.Read(want) // somebody may have changed it meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("read the table: %w", err)
		}
	}
	var why error
	if have != nil {
		d, err := Between(have, want)
		if err == nil && !d.Empty() {
			err = k.change(d)
		}
		if err == nil {
			return d, nil
		}
		why = err
	}
	d, err := Between(&Ruleset{}, want)
	if err != nil {
		return nil, err
	}
	if err := k.replace(d); err != nil {
		return nil, fmt.Errorf("make the table: %w", err)
	}
	d.Anew = why
	return d, nil
}

// change applies d to the table.
func (k *Kernel) change(d *Difference) error {
	c, err := k.connect()
	if err != nil {
		return err
	}
	defer c.CloseLasting()
	if err := write(c, d); err != nil {
		return err
	}
	return c.Flush()
}

// replace makes the table anew of d, which begins with nothing.
func (k *Kernel) replace(d *Difference) error {
	c, err := k.connect()
	if err != nil {
		return err
	}
	defer c.CloseLasting()
	c.AddTable(table()) // so that there is one to delete
	c.DelTable(table())
	c.AddTable(table())
	if err := write(c, d); err != nil {
		return err
	}
	return c.Flush()
}

// Remove takes the table away. It is no error if there is none.
func (k *Kernel) Remove() error {
	c, err := k.connect()
	if err != nil {
		return err
	}
	defer c.CloseLasting()
	c.AddTable(table())
	c.DelTable(table())
	return c.Flush()
}

// batch is how many elements go in one attribute, whose length has 16 bits.
const batch = 200

// write adds the steps of d to a transaction.
func write(c *nftables.Conn, d *Difference) error {
	t := table()
	for _, s := range d.NewSets {
		if err := c.AddSet(s.declare(t), nil); err != nil {
			return err
		}
	}
	for _, chain := range d.NewChains {
		c.AddChain(chain.declare(t))
	}
	for _, e := range d.Remove {
		if err := e.each(t, c.SetDeleteElements); err != nil {
			return err
		}
	}
	for _, name := range d.Flush {
		c.FlushChain(&nftables.Chain{Table: t, Name: name})
	}
	for _, e := range d.Add {
		if err := e.each(t, c.SetAddElements); err != nil {
			return err
		}
	}
	for _, chain := range d.Rewrite {
		for _, r := range chain.Rules {
			c.AddRule(&nftables.Rule{Table: t, Chain: &nftables.Chain{Table: t, Name: chain.Name}, Exprs: r.exprs()})
		}
	}
	for _, name := range d.GoneChains {
		c.DelChain(&nftables.Chain{Table: t, Name: name})
	}
	for _, name := range d.GoneSets {
		c.DelSet(&nftables.Set{Table: t, Name: name})
	}
	return nil
}

// each hands elements to do, a batch at a time.
func (e Elements) each(t *nftables.Table, do func(*nftables.Set, []nftables.SetElement) error) error {
	set := e.Set.declare(t)
	list := make([]nftables.SetElement, 0, min(batch, len(e.List)))
	for key, value := range e.List {
		if list = append(list, e.Set.encode(key, value)); len(list) == batch {
			if err := do(set, list); err != nil {
				return err
			}
			list = list[:0]
		}
	}
	if len(list) == 0 {
		return nil
	}
	return do(set, list)
}

// hooks are the base chains, as the kernel has them.
var hooks = map[Hook]struct {
	kind     nftables.ChainType
	number   nftables.ChainHook
	priority nftables.ChainPriority
}{
	HookCheck:   {nftables.ChainTypeFilter, unix.NF_INET_PRE_ROUTING, -106},
	HookCapture: {nftables.ChainTypeNAT, unix.NF_INET_PRE_ROUTING, -105},
	HookStrict:  {nftables.ChainTypeFilter, unix.NF_INET_FORWARD, -5},
}

// declare is a chain as the kernel has it, without rules.
func (c *Chain) declare(t *nftables.Table) *nftables.Chain {
	out := &nftables.Chain{Table: t, Name: c.Name}
	if h, ok := hooks[c.Hook]; ok {
		policy := nftables.ChainPolicyAccept
		out.Type, out.Hooknum, out.Priority, out.Policy = h.kind, &h.number, &h.priority, &policy
	}
	return out
}

// hookOf is declare the other way; other for a base chain that is none of ours.
func hookOf(c *nftables.Chain) Hook {
	if c.Hooknum == nil {
		return ""
	}
	for hook, h := range hooks {
		if c.Type == h.kind && *c.Hooknum == h.number && *c.Priority == h.priority && c.Policy != nil && *c.Policy == nftables.ChainPolicyAccept {
			return hook
		}
	}
	return "other"
}

// Read returns what the table has, as far as want has words for it: nil where
// there is no table. Rules that are not want's come as foreign ones.
func (k *Kernel) Read(want *Ruleset) (*Ruleset, error) {
	c, err := k.connect()
	if err != nil {
		return nil, err
	}
	defer c.CloseLasting()
	tables, err := c.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(tables, func(t *nftables.Table) bool { return t.Name == TableName })
	if i < 0 || tables[i].Flags != 0 { // dormant, or another program's: as if there were none
		return nil, nil
	}
	have := &Ruleset{Chains: map[string]*Chain{}, Sets: map[string]*Set{}}
	if err := readChains(c, want, have); err != nil {
		return nil, err
	}
	return have, readSets(c, want, have)
}

func readChains(c *nftables.Conn, want, have *Ruleset) error {
	chains, err := c.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return err
	}
	for _, chain := range chains {
		if chain.Table.Name != TableName {
			continue
		}
		rules, err := c.GetRules(table(), chain)
		if err != nil {
			return err
		}
		out := &Chain{Name: chain.Name, Hook: hookOf(chain), Rules: foreign}
		if w := want.Chains[chain.Name]; w != nil && w.is(rules) {
			out.Rules = w.Rules
		}
		have.Chains[chain.Name] = out
	}
	return nil
}

func readSets(c *nftables.Conn, want, have *Ruleset) error {
	sets, err := c.GetSets(table())
	if err != nil {
		return err
	}
	for _, set := range sets {
		out := &Set{Name: set.Name, Elements: map[Element]Value{}}
		have.Sets[set.Name] = out
		w := want.Sets[set.Name]
		if w == nil {
			continue // it goes, with what is in it
		}
		out.Family, out.Key, out.Value = w.Family, w.Key, w.Value
		elements, err := c.GetSetElements(&nftables.Set{Table: table(), Name: set.Name})
		if err != nil {
			return err
		}
		for _, e := range elements {
			key, value, err := w.decode(e)
			if err != nil {
				out.Value = ^w.Value // of another kind
				break
			}
			out.Elements[key] = value
		}
	}
	return nil
}

// Refused returns how many connections were refused since the table was made.
func (k *Kernel) Refused() (map[Refusal]uint64, error) {
	c, err := k.connect()
	if err != nil {
		return nil, err
	}
	defer c.CloseLasting()
	out := map[Refusal]uint64{}
	for _, why := range refusals {
		rules, err := c.GetRules(table(), &nftables.Chain{Name: why.chain()})
		if err != nil {
			return nil, fmt.Errorf("chain %s: %w", why.chain(), err)
		}
		for _, r := range rules {
			for _, e := range r.Exprs {
				if counter, ok := e.(*expr.Counter); ok {
					out[why] += counter.Packets
				}
			}
		}
	}
	return out, nil
}
