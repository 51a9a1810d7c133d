package identity

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/credentials"
)

// A caller is the other end of a connection that comes to a gate.
type caller struct {
	net.Conn
	address string
}

func (c caller) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(c.address), Port: 1} }

// come brings a connection to the gate, and returns the visit and its caller.
func come(g *Gate, address string) (*visit, net.Conn) {
	near, far := net.Pipe()
	return g.enter(caller{near, address}), far
}

// closed reports whether a caller's connection has been closed.
func closed(far net.Conn) bool {
	far.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := far.Read(make([]byte, 1))
	return err == io.EOF
}

func TestGateClosesTheOldestStranger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Gate{}
		_, first := come(g, "10.0.0.1")
		var visits []*visit
		for range maxAtAddress {
			v, _ := come(g, "10.0.0.2")
			visits = append(visits, v)
		}
		if n := g.strangers.Len(); closed(first) || n != maxAtAddress+1 {
			t.Errorf("%d strangers, want %d: nobody is too many", n, maxAtAddress+1)
		}
		_, late := come(g, "10.0.0.2")
		if closed(first) || closed(late) || !visits[0].over || visits[1].over {
			t.Error("an address with too many: want its own oldest closed")
		}
		for len(visits) < maxStrangers {
			v, _ := come(g, "10.0.1.1")
			visits = append(visits, v)
			if g.addresses["10.0.1.1"] == maxAtAddress {
				break
			}
		}
		if n, sent := g.Strangers(); n != maxStrangers || !closed(first) || sent != 2 {
			t.Errorf("%d strangers, %d sent away, want %d, 2, and the oldest of all closed", n, sent, maxStrangers)
		}
		for _, v := range visits {
			v.Close()
		}
		time.Sleep(2 * strangerLife)
		synctest.Wait()
		if n := g.strangers.Len(); n > 0 || len(g.addresses) > 0 {
			t.Errorf("%d strangers of %v are left after %v", n, g.addresses, 2*strangerLife)
		}
	})
}

// Who has proved an ID stays, and is counted by that.
func TestGateKeepsWhoHasProvedAnID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Gate{}
		v, far := come(g, "10.0.0.1")
		if err := g.prove(v, edge); err != nil {
			t.Fatal(err)
		}
		for range maxStrangers {
			come(g, "10.0.0.1")
		}
		time.Sleep(2 * strangerLife)
		synctest.Wait()
		if closed(far) || g.strangers.Len() > 0 {
			t.Errorf("closed %v, want it kept; %d strangers, want none", closed(far), g.strangers.Len())
		}
		for range maxOfIdentity - 1 {
			v, _ := come(g, "10.0.0.1")
			if err := g.prove(v, edge); err != nil {
				t.Fatal(err)
			}
		}
		more, _ := come(g, "10.0.0.1")
		if err := g.prove(more, edge); err == nil {
			t.Errorf("more than %d connections of one ID", maxOfIdentity)
		}
		if err := g.prove(more, control); err != nil {
			t.Errorf("another ID: %v", err)
		}
		v.Close()
		v.Close()
		if n := g.proven[edge]; n != maxOfIdentity-1 {
			t.Errorf("%d connections after one was closed, want %d", n, maxOfIdentity-1)
		}
		if err := g.prove(v, edge); err == nil {
			t.Error("a closed connection has proved something")
		}
	})
}

// By real handshakes: a certificate makes the difference.
func TestGateKnowsByTheHandshake(t *testing.T) {
	s := newSite(t, nil)
	g := &Gate{}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	gated := g.Listener(ln)
	server := g.Credentials(credentials.NewTLS(OpenServerConfig(s.keeper(t, control), s.roots, Anyone))).Clone()
	tests := []struct {
		name              string
		own               Own
		known             Known
		strangers, proven int
	}{
		{"without a certificate", nil, nil, 1, 0},
		{"with one", s.keeper(t, edge), nil, 0, 1},
		{"with one of who may stay", s.keeper(t, edge), Only(edge), 0, 1},
		{"with one of who may not", s.keeper(t, edge), Only(control), 1, 0},
	}
	for _, tt := range tests {
		g.Known = tt.known
		raw, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		client := credentials.NewTLS(ClientConfig(tt.own, s.roots, Only(control)))
		shaken := make(chan error, 1)
		go func() {
			_, _, err := client.ClientHandshake(t.Context(), "control", raw)
			shaken <- err
		}()
		near, err := gated.Accept()
		if err != nil {
			t.Fatal(err)
		}
		conn, _, err := server.ServerHandshake(near)
		if err != nil {
			t.Fatal(err)
		}
		if err := <-shaken; err != nil {
			t.Fatal(err)
		}
		if g.strangers.Len() != tt.strangers || g.proven[edge] != tt.proven {
			t.Errorf("%s: %d strangers, %d of %s, want %d, %d", tt.name, g.strangers.Len(), g.proven[edge], edge, tt.strangers, tt.proven)
		}
		conn.Close()
		if g.strangers.Len()+len(g.proven)+len(g.addresses) > 0 {
			t.Errorf("%s: counted after it was closed", tt.name)
		}
		raw.Close()
	}
}
