// Command bench measures the gateway with real processes on loopback, and
// prints tables of medians (docs/performance.md says how to read them):
//
//	go run ./tools/bench                     everything, in about ten minutes
//	go run ./tools/bench -short              a look, in under one
//	go run ./tools/bench -parts attach,plane -nodes 3
//	go run ./tools/bench -json >figures.json
//
// The load comes from the simulators in this process, which shares the machine
// with the gateway: rates are those of both together. Processor time is the
// gateway's alone. Each table has a yardstick that was measured in the same
// run, because machines differ and are busy.
//
// The programs under test are those in -bin; make builds them there. Linux
// only: processor time and memory are read in /proc.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == peerCommand {
		fmt.Fprintln(os.Stderr, runPeer())
		os.Exit(1)
	}
	if len(os.Args) >= 3 && strings.HasPrefix(os.Args[1], "fallback-") {
		if err := runFallbackEnd(os.Args[1], os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: "+err.Error())
		os.Exit(1)
	}
}

// parts in the order in which they are measured and shown.
var parts = []part{
	{"disk", "The disk", nil},
	{"commit", "The replicated log by itself (in this process, nodes over TLS on loopback)", []string{
		"A command is proposed at the leader, is on the disk of a majority, and is applied.",
	}},
	{"attach", "Attaches (a Create of a listed SIM, until the answer is there)", []string{
		"GTPv2 is Create Session, GTPv1 Create PDP Context. One command in the log each. \"of log\" is the rate beside",
		"  the replicated log's own. Rounds over GTPv1 are in turn with ones of osmo-ggsn, which keeps contexts in",
		"  memory alone. \"generator\" is what the load itself takes of all processors.",
	}},
	{"paced", "Attaches at a share of the peak rate, whether those before are answered or not", []string{
		"The peak is the highest rate above. Those that stay unanswered for 1 s count as lost, and as 1 s.",
	}},
	{"duplicate", "Duplicates (a Create that was answered is sent again, and answered with the same octets)", []string{
		"Measured on the largest cluster alone, as the next.",
	}},
	{"firewall", "The GTP firewall (spoofed Creates, dropped, beside 1,000 real attaches a second)", []string{
		"p50, p99 and max are of the real ones. \"not even read\" are spoofed ones that the socket had no room for.",
	}},
	{"use", "Seal-use requests (HTTPS through the tunnel, until the signed grant is there)", []string{
		"One question to the seal server and one command in the log each.",
	}},
	{"plane", "User plane (G-PDUs through the tunnels, sizes are of inner packets)", []string{
		"up: UDP to the barrels' port, through the firewall and the inner network's stack to the server, which",
		"  discards it; one packet in 32 is an echo, which paces the load. up and down: ICMP echoes, each of them",
		"  a packet up and one down; rates are of one direction. CPU is the gateway's, per packet up; CPU down is",
		"  what an echo takes more than a packet up.",
	}},
	{"fallback", "The fallback path (WireGuard, between two network namespaces)", []string{
		"The client is Debian's wireguard-go, with the kernel's TCP. \"wireguard-go\" has the same program and the kernel",
		"  at the other end, too; \"netstack\" and \"tun\" have the gateway's endpoint and its inner network by that driver.",
		"  The three take turns. In rows marked \"current\" wireguard-go is, at both ends, of the version that the endpoint is",
		"  made with, and not Debian's. TCP is one connection; packets are UDP with 64 bytes of payload, up. CPU is of the processes at",
		"  the gateway's end, what the kernel does for them in interrupts not counted. \"beside\" is the median of the rates' ratios, round by round.",
	}},
	{"gap", "A path switch, as a flow of 100 packets a second sees it", []string{
		"A simulated phone over GTP-U and WireGuard at once, with real nodes. \"detection\" is from the carrier's silence until",
		"  the phone has another path by its own decision; something waits for an answer meanwhile, as in a use.",
	}},
	{"import", "Import of devices (sealctl device import of a table of terminals, from the command line on)", []string{
		"What is there already doesn't come into the log. Measured on the largest cluster alone.",
	}},
	{"memory", "Memory and snapshots", []string{
		"Each session is a subscriber, a session, an address lease and the remembered answer to its request.",
		"A new node joins a cluster of one with an empty directory; times are from its start.",
	}},
}

// bench is one run.
type bench struct {
	dir      string // for everything that is written; removed at the end
	bin      string
	runs     int           // of each case
	time     time.Duration // of one run, at most
	sessions int           // of the memory part
	devices  int           // of the import part
	largest  int           // cluster that is measured
	progress io.Writer
	other    *ggsn // osmo-ggsn, nil: there is none
	result   Report
}

func (b *bench) report(f Figure) {
	b.result.Figures = append(b.result.Figures, f)
	fmt.Fprintf(b.progress, "%6.1f s  %s", time.Since(b.result.Machine.Time).Seconds(), f.Part)
	if f.Nodes > 0 {
		fmt.Fprintf(b.progress, ", nodes: %d", f.Nodes)
	}
	fmt.Fprintf(b.progress, ", %s", f.Case)
	if len(f.Values) > 0 {
		fmt.Fprintf(b.progress, ": %s %s", number(f.Values[0].Median), f.Values[0].column())
	}
	fmt.Fprintln(b.progress)
}

// note has the report tell something.
func (b *bench) note(s string) {
	b.result.Notes = append(b.result.Notes, s)
	fmt.Fprintln(b.progress, "          "+s)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(stderr)
	bin := fs.String("bin", "build/bin", "`directory` of the programs under test")
	dir := fs.String("dir", "build", "`directory` for data, on the disk to be measured; what is made in it is removed")
	only := fs.String("parts", strings.Join(names, ","), "what to measure")
	sizes := fs.String("nodes", "1,3", "sizes of clusters")
	runs := fs.Int("runs", 5, "how often each case is measured")
	long := fs.Duration("time", 500*time.Millisecond, "how long one run takes, about")
	sessions := fs.Int("sessions", 100_000, "how many sessions the memory part has")
	devices := fs.Int("devices", 100_000, "how many rows the import part has")
	short := fs.Bool("short", false, "a quick look: -runs 1 -time 300ms -sessions 10000 -devices 10000")
	asJSON := fs.Bool("json", false, "print JSON instead of tables")
	keep := fs.Bool("keep", false, "keep data and logs")
	if err := fs.Parse(args); err != nil {
		return err
	}
	b := &bench{bin: *bin, runs: max(*runs, 1), time: *long, sessions: max(*sessions, 1), devices: max(*devices, 1), progress: stderr}
	if *short {
		b.runs, b.time, b.sessions, b.devices = 1, 300*time.Millisecond, 10_000, 10_000
	}
	want := strings.Split(*only, ",")
	for _, name := range want {
		if !slices.Contains(names, name) {
			return fmt.Errorf("-parts: there is no part %q; take some of %s", name, strings.Join(names, ","))
		}
	}
	var nodes []int
	for _, size := range strings.Split(*sizes, ",") {
		n, err := strconv.Atoi(size)
		if err != nil || n < 1 || n > 5 {
			return fmt.Errorf("-nodes: %q: want numbers from 1 to 5", size)
		}
		nodes = append(nodes, n)
	}
	b.largest = slices.Max(nodes)
	if err := os.MkdirAll(*dir, 0o755); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp(*dir, "bench-"); err != nil {
		return err
	}
	if b.dir, err = filepath.Abs(b.dir); err != nil {
		return err
	}
	if *keep {
		fmt.Fprintln(stderr, "data and logs stay in "+b.dir)
	} else {
		defer os.RemoveAll(b.dir)
	}
	b.result.Machine = describe(b.dir)
	b.result.Command = strings.TrimSpace("go run ./tools/bench " + strings.Join(args, " "))
	before := used()
	err = b.measure(ctx, want, nodes)
	b.result.Machine.Others = used().others(before, b.result.Machine.Cores)
	if *asJSON {
		enc := json.NewEncoder(stdout)
		enc.SetIndent("", "  ")
		return errors.Join(err, enc.Encode(b.result))
	}
	return errors.Join(err, b.result.write(stdout))
}

// measure goes through the parts. A part that fails doesn't end the others.
func (b *bench) measure(ctx context.Context, want []string, nodes []int) error {
	var errs []error
	do := func(name string, part func() error) {
		if ctx.Err() != nil {
			return
		}
		if err := part(); err != nil {
			err = fmt.Errorf("%s: %w", name, err)
			errs = append(errs, err)
			b.result.Failed = append(b.result.Failed, err.Error())
		}
	}
	asked := func(name string) bool { return slices.Contains(want, name) }
	if asked("attach") {
		do("osmo-ggsn", func() (err error) {
			if b.other, err = startGGSN(ctx, b.dir); errors.Is(err, errNoGGSN) {
				b.note(err.Error())
				return nil
			}
			return err
		})
		if b.other != nil {
			defer b.other.stop()
		}
	}
	if asked("disk") {
		do("disk", b.syncs)
	}
	for _, n := range nodes {
		if asked("commit") {
			do("commit", func() error { return b.commits(ctx, n) })
		}
		if asked("import") && n == b.largest {
			do(fmt.Sprintf("import, cluster of %d", n), func() error { return b.imports(ctx, n, b.devices) })
		}
		if slices.ContainsFunc([]string{"attach", "paced", "duplicate", "firewall", "use", "plane"}, asked) {
			do(fmt.Sprintf("cluster of %d", n), func() error { return b.cluster(ctx, n, asked) })
		}
	}
	if asked("fallback") {
		do("fallback", func() error {
			err := b.fallbacks(ctx)
			if errors.Is(err, errNoNamespaces) {
				b.note(err.Error())
				return nil
			}
			return err
		})
	}
	if asked("gap") {
		do("gap", func() error { return b.gaps(ctx, b.largest) })
	}
	if asked("memory") {
		do("memory", func() error { return b.machine(b.sessions) })
		do("memory", func() error { return b.crowd(ctx, b.sessions) })
		do("memory", func() error { return b.newcomer(ctx, b.sessions) })
	}
	b.compare()
	return errors.Join(append(errs, ctx.Err())...)
}
