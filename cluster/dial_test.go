package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/hashicorp/raft"
)

// TestAcknowledgementsAreOfTheIDThatIsMeant: a stream of Raft for the id that a
// node had before it lost its disk is refused by the node that has its name now.
func TestAcknowledgementsAreOfTheIDThatIsMeant(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3)
	p := c.nodes["n1"].port
	for id, welcome := range map[raft.ServerID]bool{c.nodes["n2"].id: true, newNodeID("n2"): false, "n2": false, "": false} {
		conn := func() *tls.Conn {
			raw, err := net.Dial("tcp", c.config["n2"].Listen)
			if err != nil {
				t.Fatal(err)
			}
			cfg := p.identity.client(id, protoRaft)
			cfg.VerifyConnection = nil // a name that isn't n2's is of no interest here
			return tls.Client(raw, cfg)
		}()
		if err := conn.HandshakeContext(t.Context()); (err == nil) != welcome {
			t.Errorf("a stream for %q: %v", id, err)
		}
		conn.Close()
	}
}

// TestCertificateIsReloaded: new connections show the new certificate, and a bad
// one doesn't replace a good one.
func TestCertificateIsReloaded(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	renewed := map[string]*tls.Config{}
	c := newTestCluster(t, 3, func(cfg *Config) {
		name, first := cfg.NodeName, cfg.TLS
		cfg.Renew = func() (*tls.Config, error) {
			mu.Lock()
			defer mu.Unlock()
			if c, ok := renewed[name]; !ok {
				return first, nil
			} else if c == nil {
				return nil, errors.New("half a file")
			} else {
				return c, nil
			}
		}
	})
	mustPropose(t, c.leader(), put("001010000000001", ""))
	set := func(name string, c *tls.Config) {
		mu.Lock()
		defer mu.Unlock()
		renewed[name] = c
	}
	// What n1 shows when it is dialled, and when it dials.
	shown := func() (server, client []byte) {
		t.Helper()
		n1, n2 := c.nodes["n1"], c.nodes["n2"]
		conn, err := n2.port.dialNode(t.Context(), "n1", n1.cfg.Advertise, protoNode)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		own := n1.port.identity.client("n2", protoNode).Certificates[0].Certificate[0]
		return conn.(link).Conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Raw, own
	}
	next := c.ca.config(t, NodeURI("n1"))
	set("n1", next)
	if server, client := shown(); !slices.Equal(server, next.Certificates[0].Certificate[0]) || !slices.Equal(client, server) {
		t.Error("n1 shows its old certificate")
	}
	for what, bad := range map[string]*tls.Config{"nothing": nil, "another node's": c.ca.config(t, NodeURI("n2"))} {
		set("n1", bad)
		if server, client := shown(); !slices.Equal(server, next.Certificates[0].Certificate[0]) || !slices.Equal(client, server) {
			t.Errorf("with %s, n1 doesn't show its last good certificate", what)
		}
	}
	// The CA is replaced by way of both: then all is of the new one.
	ca := newTestCA(t)
	both := c.ca.pool.Clone()
	both.AddCert(ca.cert)
	for _, step := range []*testCA{c.ca, ca} {
		for _, name := range c.names {
			cfg := step.config(t, NodeURI(name))
			cfg.RootCAs = both
			set(name, cfg)
		}
	}
	name := c.follower().cfg.NodeName
	c.stop(name)
	c.start(name)
	mustPropose(t, c.barrier(name), put("001010000000002", ""))
	c.sameState()
}

// TestPeersAreLookedUpAtEachDial: host names go to the dialler as they are
// configured, each time; a node that moved is found where its name leads now.
func TestPeersAreLookedUpAtEachDial(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	where := map[string]string{} // the name service
	c := prepareTestCluster(t, 3, func(cfg *Config) {
		dial := cfg.dial
		cfg.dial = func(ctx context.Context, address string) (net.Conn, error) {
			mu.Lock()
			at, ok := where[address]
			mu.Unlock()
			if !ok {
				return nil, fmt.Errorf("no such host: %s", address)
			}
			return dial(ctx, at)
		}
		peers := slices.Clone(cfg.Peers)
		for i, p := range peers {
			mu.Lock()
			where[p.Name+".example:7000"] = p.Address
			mu.Unlock()
			peers[i].Address = p.Name + ".example:7000"
		}
		cfg.Peers = peers
	})
	for _, name := range c.names {
		c.start(name)
	}
	mustPropose(t, c.leader(), put("001010000000001", ""))
	c.awaitJoined()
	moved := c.follower().cfg.NodeName
	c.stop(moved)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := c.config[moved]
	cfg.listener, cfg.Listen = l, l.Addr().String()
	c.config[moved] = cfg
	mu.Lock()
	where[moved+".example:7000"] = l.Addr().String()
	mu.Unlock()
	c.net.mu.Lock()
	c.byAddress[l.Addr().String()] = moved
	c.net.mu.Unlock()
	c.start(moved)
	mustPropose(t, c.leader(), put("001010000000002", ""))
	c.sameState()
}
