package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealedge/sealedge/edge/adminapi"
)

// diskStall is cluster.disk_stall in a world: longer than by default, as a machine
// that runs tests may have a busy disk.
const diskStall = 2 * time.Second

// forever is how long a disk hangs that isn't meant to come back.
const forever = "1000s"

// spoil has system calls of a node's process fail or wait, as strace's -e inject
// says, until mend. A node writes its log with pwrite64 and fsync alone, and sends
// nothing with them.
func (w *world) spoil(n int, inject ...string) (mend func(), heard *process) {
	w.Helper()
	args := []string{"-f", "-y", "-s", "0", "-e", "trace=pwrite64,fsync"}
	for _, i := range inject {
		args = append(args, "-e", "inject="+i)
	}
	p := start(w.T, w.dir, fmt.Sprintf("disk%d-%d", n+1, time.Now().UnixNano()), exec.Command("strace",
		append(args, "-p", strconv.Itoa(w.nodes[n].cmd.Process.Pid))...))
	w.until("strace is attached", func() bool { return p.said("attached") || p.ended() })
	// Killed, it lets go also of a thread that it has wait.
	return p.kill, p
}

// written is a write of strace's report to a file of the log.
var written = regexp.MustCompile(`pwrite64\(\d+<([^>]*\.wal)>, ""\.\.\., (\d+), (\d+)\)`)

// tear ends a node as a power cut does in the middle of a write: half of what it
// wrote last is on the disk. The write isn't synced, so the node hasn't told anybody.
func (w *world) tear(n int) {
	w.Helper()
	mend, disk := w.spoil(n, "fsync:delay_enter="+forever)
	w.until("the node writes its log", func() bool { return written.MatchString(disk.words()) })
	_ = w.nodes[n].cmd.Process.Kill()
	mend()
	<-w.nodes[n].done
	all := written.FindAllStringSubmatch(disk.words(), -1)
	last := all[len(all)-1]
	size, at := number(w, last[2]), number(w, last[3])
	f, err := os.OpenFile(last[1], os.O_WRONLY, 0)
	if err != nil {
		w.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, size-size/2), at+size/2); err != nil {
		w.Fatal(err)
	}
	w.Logf("of the last %d bytes, at %d of %s, the first %d are on the disk", size, at, last[1][strings.LastIndexByte(last[1], '/')+1:], size/2)
}

// wipe takes a node its disk. It comes back as somebody new, after an operator has
// removed the member that it was.
func (w *world) wipe(n int) (mend func()) {
	w.Helper()
	name := string(w.cfgs[n].Node.Name)
	i := slices.IndexFunc(w.members(), func(m adminapi.Member) bool { return m.Name == name })
	if i < 0 {
		w.Fatalf("%s is no member", name)
	}
	was := w.members()[i].ID
	w.nodes[n].kill()
	if err := os.RemoveAll(string(w.cfgs[n].Node.DataDir)); err != nil {
		w.Fatal(err)
	}
	return func() {
		w.until("the member that the node was is removed", func() bool {
			_, _ = w.trySealctl("--yes", "cluster", "remove", "--reason", "its disk is lost", was) // or a former try did it
			return !slices.ContainsFunc(w.members(), func(m adminapi.Member) bool { return m.ID == was })
		})
		w.startNode(n)
		w.until("the node is a voter again", func() bool {
			return slices.ContainsFunc(w.members(), func(m adminapi.Member) bool { return m.Name == name && m.State == adminapi.MemberVotes })
		})
	}
}

// members are those of the cluster, as the leader knows them.
func (w *world) members() (all []adminapi.Member) {
	w.Helper()
	w.until("the leader tells the members", func() bool {
		n := w.holding()
		return n >= 0 && askAll(w.site, n, "/v1/cluster/members", &all) == nil
	})
	return all
}

func number(w *world, text string) int64 {
	w.Helper()
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		w.Fatal(err)
	}
	return n
}
