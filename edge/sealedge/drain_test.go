package main

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/config"
	"github.com/sealedge/sealedge/edge/setup"
)

// startThree runs three nodes with flags, until the test ends.
func startThree(t *testing.T, flags map[string]string) map[string]*gateway {
	t.Helper()
	hosts := []netip.Addr{netip.MustParseAddr("127.248.1.11"), netip.MustParseAddr("127.248.1.12"), netip.MustParseAddr("127.248.1.13")}
	l, err := setup.Init(filepath.Join(t.TempDir(), "c"), setup.Options{
		Nodes: 3, Now: time.Now(), Hosts: hosts, Gateway: netip.MustParseAddr("127.248.10.11"),
		Carriers: []netip.Prefix{netip.MustParsePrefix("127.248.20.0/24")}, SealServer: netip.MustParseAddrPort("127.248.2.1:8443"),
	})
	if err != nil {
		t.Fatal(err)
	}
	nodes := map[string]*gateway{}
	for i, file := range l.Nodes {
		own := map[string]string{
			"telemetry.listen": hosts[i].String() + ":9090", "cluster.disk_stall": "30s",
			// That a busy machine keeps a node waiting is no reason for an election.
			"cluster.heartbeat_timeout": "2s", "cluster.election_timeout": "2s", "cluster.leader_lease": "1s",
		}
		for k, v := range flags {
			own[k] = v
		}
		cfg, err := config.Load(file, own)
		if err != nil {
			t.Fatal(err)
		}
		g, err := open(cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		nodes[string(cfg.Node.Name)] = g
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- g.run(ctx) }()
		t.Cleanup(func() {
			stop()
			if err := <-ended; err != nil {
				t.Errorf("%s ended with %v", cfg.Node.Name, err)
			}
			if err := g.shut(); err != nil {
				t.Errorf("shutting %s: %v", cfg.Node.Name, err)
			}
		})
	}
	return nodes
}

// until waits for what must happen; only a failed test waits for long.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("it didn't happen: %s", what)
		}
	}
}

// command runs the program, and returns the exit code and what it printed.
func commanded(t *testing.T, args ...string) (code int, said string) {
	t.Helper()
	var out bytes.Buffer
	code = run(t.Context(), append([]string{"sealedge"}, args...), &out, &out)
	return code, out.String()
}

func (g *gateway) dataDir() string { return string(g.cfg.Node.DataDir) }

func holders(g *gateway) map[string]string {
	all := map[string]string{}
	g.node.View(func(m *state.Machine) {
		for a := range m.Addresses() {
			all[a.Name] = a.Holder
		}
	})
	return all
}

// A node that leads and holds addresses gives both to others before it says so, and
// takes none back, though it lives on.
func TestDrainGivesEverythingToOthers(t *testing.T) {
	nodes := startThree(t, map[string]string{"gateway.addresses": "gw2=127.248.10.12,gw3=127.248.10.13"})
	var leader *gateway
	until(t, "each node has an address", func() bool {
		led, all := map[string]bool{}, map[string]string{}
		for _, g := range nodes {
			if g.node.Holds() {
				leader, all = g, holders(g)
			}
		}
		for _, h := range all {
			led[h] = true
		}
		return len(led) == 3
	})
	name := string(leader.cfg.Node.Name)
	code, said := commanded(t, "drain", "--data-dir", leader.dataDir(), "--timeout", "1m")
	if code != exitOK || !strings.Contains(said, "leads now") || !strings.Contains(said, "holds it now") || strings.Contains(said, name+" leads now") || strings.Contains(said, name+" holds it now") {
		t.Fatalf("exit code %d: %s", code, said)
	}
	// If an election made it lead once more, which nobody can keep a busy machine from, it
	// hands over once more.
	until(t, "it has nothing, and nothing is without a holder", func() bool {
		for _, h := range holders(leader) {
			if h == name || h == "" {
				return false
			}
		}
		return !leader.node.IsLeader() && !leader.holdsAny()
	})
	becomes(t, "http://"+string(leader.cfg.Telemetry.Listen)+"/readyz?verbose", "[-]running: this node is draining")
	if err := leader.ready(); err == nil || !strings.Contains(err.Error(), "running: this node is draining") { // what a pod's probe asks
		t.Errorf("the operators' API says of the drained node: %v", err)
	}

	if code, said = commanded(t, "drain", "--data-dir", leader.dataDir(), "--timeout", "1m"); code != exitOK {
		t.Errorf("once more: exit code %d: %s", code, said)
	}

	// The next one: only the third is left to take over.
	var rest []*gateway
	for n, g := range nodes {
		if n != name {
			rest = append(rest, g)
		}
	}
	second, third := rest[0], rest[1]
	if code, said = commanded(t, "drain", "--data-dir", second.dataDir(), "--timeout", "1m"); code != exitOK {
		t.Fatalf("the next: exit code %d: %s", code, said)
	}
	until(t, "the third has everything", func() bool { return third.node.Holds() && len(third.has()) == 4 })
	code, said = commanded(t, "drain", "--data-dir", third.dataDir())
	if code != exitKept || !strings.Contains(said, "It serves until it is stopped") {
		t.Errorf("nobody is left: exit code %d: %s", code, said)
	}
	until(t, "an address is held all the same", func() bool { return leader.holdsAny() || second.holdsAny() || third.holdsAny() })

	// One is not to be stopped after all, and relieves it.
	if code, said = commanded(t, "drain", "--undo", "--data-dir", leader.dataDir()); code != exitOK || !strings.Contains(said, "again") {
		t.Fatalf("undo: exit code %d: %s", code, said)
	}
	until(t, "what isn't drained has everything", func() bool { return leader.node.Holds() && len(leader.has()) == 4 })
	until(t, "it is ready again", func() bool {
		c, _ := get(t, "http://"+string(leader.cfg.Telemetry.Listen)+"/readyz")
		return c == 200
	})
}

// The only address of a cluster goes with the leadership, and doesn't come back.
func TestDrainOneAddress(t *testing.T) {
	nodes := startThree(t, nil)
	var leader *gateway
	until(t, "an address is held", func() bool {
		for _, g := range nodes {
			if g.holdsAny() {
				leader = g
			}
		}
		return leader != nil
	})
	code, said := commanded(t, "drain", "--data-dir", leader.dataDir(), "--timeout", "1m")
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, said)
	}
	until(t, "another has the address up", func() bool {
		holder := nodes[holders(leader)["gw1"]]
		return holder != nil && holder != leader && holder.holdsAny() && !leader.holdsAny()
	})
}

// With nobody else there, a node says so, and goes on serving.
func TestDrainTheOnlyNode(t *testing.T) {
	g, _ := startNode(t)
	until(t, "it serves", g.holdsAny)
	code, said := commanded(t, "drain", "--data-dir", g.dataDir())
	if code != exitOK || !strings.Contains(said, "only node") || !g.holdsAny() {
		t.Errorf("exit code %d: %s", code, said)
	}
	becomes(t, "http://"+monitored+"/readyz", "draining")
	if code, said = commanded(t, "drain", "--undo", "--data-dir", g.dataDir()); code != exitOK {
		t.Errorf("undo: exit code %d: %s", code, said)
	}
	becomes(t, "http://"+monitored+"/readyz", "ok")
	if code, said = commanded(t, "drain", "--undo", "--data-dir", g.dataDir()); code != exitOK || !strings.Contains(said, "is not drained") {
		t.Errorf("undo once more: exit code %d: %s", code, said)
	}
	info, err := os.Stat(filepath.Join(g.dataDir(), controlName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
}

// A directory whose name is longer than what a socket's address has room for will do.
func TestControlInALongDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 40))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var l net.Listener
	err := controlAt(dir, func(path string) (err error) { l, err = net.Listen("unix", path); return err })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := os.Stat(filepath.Join(dir, controlName)); err != nil {
		t.Error(err)
	}
	go func() {
		if c, err := l.Accept(); err == nil {
			_ = c.Close()
		}
	}()
	err = controlAt(dir, func(path string) error {
		c, err := net.Dial("unix", path)
		if err == nil {
			_ = c.Close()
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
