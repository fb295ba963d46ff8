package e2e

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/wire"
)

// A WireGuard client of another make has the file that an operator issued, and nothing
// else of ours. It shakes hands and reaches the inner services, and only those; a seal
// is used through it; it is back when the holder died, without having said a word; it
// gets in by the key before while the overlap lasts, and not after it; and it hears
// nothing any more once its terminal is revoked.
func TestWireGuardClient(t *testing.T) {
	t.Parallel()
	if !inWorld(t, "wireguard-go", "wg", "wg-quick") {
		return
	}
	w := newWorld(t, seed(t))
	w.startServer()
	office := w.office()
	own := netip.MustParseAddr("10.90.7.7")
	sim := w.enlist(1, func(t *adminapi.Terminal) { t.StaticAddress = own.String() })
	file := w.file(tunnelName + ".conf")
	w.until("the cluster has a key for the fallback path", func() bool {
		var keys []adminapi.FallbackKey
		return askAll(w.site, 0, "/v1/fallback/keys", &keys) == nil && len(keys) > 0
	})
	w.sealctl("fallback", "issue", imsi(1), "--file", file)

	c := w.newClient(file)
	c.configure()
	c.own(own)
	if a := c.setting("Address"); a != own.String() {
		t.Fatalf("the file has the address %s", a)
	}
	p := c.prober()
	if a := p.answered("the gateway answers through the tunnel"); a.Path != wire.ProbeFallback {
		t.Errorf("it answers %+v", a)
	}
	c.servicesOnly()
	w.until("the client is admitted", func() bool {
		all := w.sessions(imsi(1))
		return len(all) == 1 && all[0].Path == "wireguard" && all[0].Address == own.String() && all[0].Lease != 0 && netip.MustParseAddrPort(all[0].Endpoint).Addr() == w.ip(30, 1)
	})

	// A phone behind the client has a seal used.
	ph := w.phone(nil, sim)
	c.behind(ph, own)
	worker := w.out(1, ph, w.barrel(1, sim))
	worker.stampOnce(office.Order("WO-1", 1))

	// The holder dies. The client has nothing to send and nothing unanswered: it is the
	// new holder that shakes hands.
	c.ahead(own)
	c.run("wg", "set", tunnelName, "peer", c.setting("PublicKey"), "persistent-keepalive", "0")
	p.answered("the holder answers before it dies")
	before := c.shaken()
	w.nodes[w.held()].kill()
	died := time.Now()
	w.until("the new holder shakes hands with the client", func() bool { return c.shaken() > before })
	w.Logf("the new holder has shaken hands with the client after %v", time.Since(died).Round(time.Millisecond))
	p.answered("the new holder answers")
	for n, node := range w.nodes {
		if node.ended() {
			w.startNode(n)
		}
	}

	// The key before is good while the overlap lasts, also for a client that begins anew.
	w.sealctl("fallback", "rotate-key", "--overlap", "24h")
	old := c.setting("PublicKey")
	w.until("all nodes have both keys", func() bool { return w.caughtUp() && len(w.fallbackKeys()) == 2 })
	c.configure()
	p.answered("the gateway answers by the key before")
	w.sealctl("fallback", "retire-key", old, "--reason", "the overlap ends early", "--yes")
	w.until("all nodes have one key", func() bool { return w.caughtUp() && len(w.fallbackKeys()) == 1 })
	w.until("a session by the key before is over", func() bool { _, ok := p.ask(time.Second); return !ok })
	c.configure()
	p.silent("the key is retired")
	w.sealctl("fallback", "issue", imsi(1), "--file", file)
	if c.setting("PublicKey") == old {
		t.Error("the new file has the old key")
	}
	c.configure()
	p.answered("the gateway answers by the new key")

	// Revoked: the gateway says itself how long the tunnel lived.
	var out adminapi.Revoked
	holder := string(w.cfgs[w.held()].Admin.Listen)
	text := w.sealctl("device", "revoke", imsi(1), "--reason", "stolen", "--yes", "-o", "json", "--wait", "10s", "--address", holder)
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	t.Logf("revoked: %s", text)
	if out.Timing.TunnelsDown == nil && len(out.Timing.Elsewhere) == 0 { // an election can bring that about
		t.Error("when the tunnel ended isn't told")
	}
	p.silent("the terminal is revoked")
	c.configure()
	p.silent("the terminal is revoked, and the client begins anew")
	w.auditVerifies()
}

func (w *world) fallbackKeys() (keys []adminapi.FallbackKey) {
	w.Helper()
	if err := json.Unmarshal([]byte(w.sealctl("fallback", "keys", "-o", "json")), &keys); err != nil {
		w.Fatal(err)
	}
	return keys
}

// servicesOnly tries to reach what the tunnel doesn't lead to. The client would let
// it: it is given the whole world as its peer's.
func (c *client) servicesOnly() {
	c.Helper()
	operator, _ := c.carrier(1)
	other := c.attach(operator, c.enlist(2))
	listener, err := other.Stack().ListenTCP(7000)
	if err != nil {
		c.Fatal(err)
	}
	defer listener.Close()
	c.run("wg", "set", tunnelName, "peer", c.setting("PublicKey"), "allowed-ips", "0.0.0.0/0")
	reachable := []netip.AddrPort{netip.AddrPortFrom(c.inner, wire.PhonePort)}
	for _, to := range reachable {
		conn, err := c.dial("tcp", to, patience)
		if err != nil {
			c.Fatalf("%s: %v", to, err)
		}
		_ = conn.Close()
	}
	tried := map[netip.Addr][]uint16{
		c.inner:         {22, 80, 7000, 7443, 8443, 2123},
		other.Address(): {7000},
		c.ip(2, 1):      {8443}, // the seal server
	}
	for n, cfg := range c.cfgs {
		for _, listen := range []string{string(cfg.Admin.Listen), string(cfg.Cluster.Listen), string(cfg.Intranet.Listen)} {
			at := netip.MustParseAddrPort(listen)
			tried[c.ip(1, byte(n+1))] = append(tried[c.ip(1, byte(n+1))], at.Port())
		}
	}
	for to, ports := range tried {
		if to != c.inner {
			c.run("ip", "route", "replace", to.String()+"/32", "dev", tunnelName)
		}
		for _, port := range ports {
			at := netip.AddrPortFrom(to, port)
			before := c.kept()
			// Again, should the gateway address move meanwhile: the attempt has to come to
			// the gateway, and to be dropped there.
			c.until("an attempt on "+at.String()+" is dropped", func() bool {
				conn, err := c.dial("tcp", at, 300*time.Millisecond)
				if err == nil {
					_ = conn.Close()
					c.Fatalf("%s is reached through the tunnel", at)
				}
				return c.kept() > before
			})
		}
		if to != c.inner {
			c.run("ip", "route", "del", to.String()+"/32", "dev", tunnelName)
		}
	}
	c.run("wg", "set", tunnelName, "peer", c.setting("PublicKey"), "allowed-ips", c.setting("AllowedIPs"))
	other.Close()
}

// kept is how many packets the nodes have dropped at the inner network's door.
func (c *client) kept() (n uint64) {
	c.Helper()
	for node := range c.nodes {
		var all map[string]uint64
		if c.ask(node, "/v1/counters?stale=true", &all) == nil {
			n += all["inner.destination"] + all["inner.phone-to-phone"] + all["inner.tcp-port"]
		}
	}
	return n
}
