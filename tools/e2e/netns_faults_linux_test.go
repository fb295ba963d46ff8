package e2e

import (
	"syscall"
	"time"
)

// fault is something that happens to a cluster. strike brings it about; what is
// returned ends it, and brings a node back that it has killed.
type fault struct {
	name   string
	strike func(w *world, holder int) (mend func())
}

// Faults that nothing is lost by, and that others may come on top of.
var (
	badNetwork = fault{"frames are lost, late, doubled and out of order", func(w *world, n int) func() {
		everything := append(w.others(n), machine(n), outside)
		w.lan.disturb(everything, everything, trouble{loss: 0.03, double: 0.05, delay: time.Millisecond, jitter: 10 * time.Millisecond})
		return w.lan.mend
	}}
	slowDisks = fault{"all disks are slow", func(w *world, _ int) func() {
		var mends []func()
		for n := range w.nodes {
			mend, _ := w.spoil(n, "fsync:delay_enter=30ms")
			mends = append(mends, mend)
		}
		return func() {
			for _, mend := range mends {
				mend()
			}
		}
	}}
)

// networkFaults are what cables, switches and firewalls do.
var networkFaults = []fault{
	{"the holder is cut off from the nodes, but not from the carrier", func(w *world, n int) func() {
		w.lan.disturb([]string{machine(n)}, w.others(n), trouble{cut: true})
		w.lan.disturb(w.others(n), []string{machine(n)}, trouble{cut: true})
		return w.lan.mend
	}},
	{"the holder is cut off from everything", func(w *world, n int) func() {
		everything := append(w.others(n), outside)
		w.lan.disturb([]string{machine(n)}, everything, trouble{cut: true})
		w.lan.disturb(everything, []string{machine(n)}, trouble{cut: true})
		return w.lan.mend
	}},
	{"the holder hears the nodes, but they don't hear it", func(w *world, n int) func() {
		w.lan.disturb([]string{machine(n)}, w.others(n), trouble{cut: true})
		return w.lan.mend
	}},
	{"the nodes hear the holder, but it doesn't hear them", func(w *world, n int) func() {
		w.lan.disturb(w.others(n), []string{machine(n)}, trouble{cut: true})
		return w.lan.mend
	}},
	{"one follower alone bridges holder and the other one", func(w *world, n int) func() {
		other := w.others(n)[:1]
		w.lan.disturb([]string{machine(n)}, other, trouble{cut: true})
		w.lan.disturb(other, []string{machine(n)}, trouble{cut: true})
		return w.lan.mend
	}},
	badNetwork,
	{"a firewall resets the holder's connections to the nodes", func(w *world, n int) func() {
		for _, rule := range []string{
			"add table inet fault",
			"add chain inet fault in { type filter hook input priority 0 ; }",
			"add rule inet fault in tcp dport 7000 reject with tcp reset",
			"add rule inet fault in tcp sport 7000 reject with tcp reset",
		} {
			w.on(n, "nft", rule)
		}
		return func() { w.on(n, "nft", "delete table inet fault") }
	}},
	{"a follower returns over a slow line", func(w *world, n int) func() {
		m := (n + 1) % len(w.nodes)
		w.nodes[m].kill()
		return func() {
			w.on(m, "tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "1mbit", "burst", "16k", "latency", "400ms")
			w.startNode(m)
			w.until("the node that returns has caught up", w.caughtUp)
			w.on(m, "tc", "qdisc", "del", "dev", "eth0", "root")
		}
	}},
}

// machineFaults are what happens to processes and disks.
var machineFaults = []fault{
	{"the holder is killed", func(w *world, n int) func() {
		w.nodes[n].kill()
		return func() { w.startNode(n) }
	}},
	{"the holder stands still", func(w *world, n int) func() {
		w.signal(n, syscall.SIGSTOP)
		return func() { w.signal(n, syscall.SIGCONT) }
	}},
	{"the holder stands still until another speaks", func(w *world, n int) func() {
		// Its machine still has the address, and packets for it, when it wakes up.
		w.signal(n, syscall.SIGSTOP)
		defer w.signal(n, syscall.SIGCONT)
		w.until("another speaks from the address", func() bool {
			turns := w.lan.turns()
			return turns[len(turns)-1] != machine(n)
		})
		return func() {}
	}},
	{"a follower stands still", func(w *world, n int) func() {
		m := (n + 1) % len(w.nodes)
		w.signal(m, syscall.SIGSTOP)
		return func() { w.signal(m, syscall.SIGCONT) }
	}},
	{"the holder's disk is full", ends("no space left on device", "pwrite64:error=ENOSPC")},
	{"the holder's disk fails to write", ends("input/output error", "pwrite64:error=EIO")},
	{"the holder's disk fails to sync", ends("input/output error", "fsync:error=EIO")},
	{"the holder's disk hangs", ends("the disk hangs", "fsync:delay_enter="+forever)},
	slowDisks,
	{"the holder loses power in the middle of a write", func(w *world, n int) func() {
		w.tear(n)
		return func() { w.startNode(n) }
	}},
	{"a follower loses its disk", func(w *world, n int) func() { return w.wipe((n + 1) % len(w.nodes)) }},
	{"the holder loses its disk", func(w *world, n int) func() { return w.wipe(n) }},
	{"a follower loses power in the middle of a write", func(w *world, n int) func() {
		m := (n + 1) % len(w.nodes)
		w.tear(m)
		return func() { w.startNode(m) }
	}},
}

// ends is a fault of the holder's disk that has to end the holder, which says why. A
// process whose disk hangs isn't gone before its disk lets go of it: its sockets stay
// open, and its machine has the gateway address until the kernel takes that away.
func ends(words, inject string) func(w *world, n int) func() {
	return func(w *world, n int) func() {
		node := w.nodes[n]
		mend, _ := w.spoil(n, inject)
		w.until("the node ends: "+words, func() bool { return node.said("level=ERROR .*" + words) })
		return func() {
			mend()
			<-node.done
			if code := node.cmd.ProcessState.ExitCode(); code != 1 {
				w.Errorf("the node ends with exit code %d, want 1", code)
			}
			w.startNode(n)
		}
	}
}

func (w *world) signal(n int, s syscall.Signal) {
	w.Helper()
	if err := w.nodes[n].cmd.Process.Signal(s); err != nil {
		w.Fatal(err)
	}
}
