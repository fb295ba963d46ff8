package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/tools/drill"
)

func drillCommand() *cli.Command {
	return &cli.Command{
		Name:  "drill",
		Usage: "break a cluster on purpose and measure what its peers notice (docs/drills.md)",
		Subcommands: []*cli.Command{
			{Name: "list", Usage: "list the drills", Action: drillList},
			{
				Name: "run", Usage: "run drills; without a name, all that may be run there", ArgsUsage: "[NAME...]",
				Flags: []cli.Flag{
					&cli.BoolFlag{Name: "local", Usage: "run them on a cluster that is started for it on this machine, in network namespaces of its own"},
					&cli.BoolFlag{Name: "loopback", Usage: "with --local: without network namespaces, and the drills that take them"},
					&cli.StringFlag{Name: "bin", Usage: "`DIRECTORY` of the programs, for --local (default: this program's)"},
					&cli.StringFlag{Name: "canary", Usage: "`FILE` that says who the canary is, for a live cluster"},
					&cli.BoolFlag{Name: "destructive", Usage: "run drills that kill, freeze or cut off nodes of a live cluster, too"},
					&cli.StringFlag{Name: "hooks", Usage: "`FILE` with the commands for what no API can do, for --destructive"},
					&cli.IntFlag{Name: "rounds", Usage: "`NUMBER` of times that each drill is run", Value: 1},
					&cli.IntFlag{Name: "use-every", Usage: "with --local: ask in one round of `NUMBER` whether a seal could be used; 0: never", Value: 1},
					&cli.StringFlag{Name: "report", Usage: "write the report to `FILE`, as JSON"},
					&cli.StringFlag{Name: "svg", Usage: "draw it in `FILE`"},
				},
				Action: drillRun,
			},
			{
				Name: "report", Usage: "show a report again", ArgsUsage: "FILE",
				Flags:  []cli.Flag{&cli.StringFlag{Name: "svg", Usage: "draw it in `FILE`"}},
				Action: drillReport,
			},
		},
	}
}

func drillList(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	type row struct {
		Name        string `json:"name"`
		Destructive bool   `json:"destructive"`
		Summary     string `json:"summary"`
	}
	var all []row
	var rows [][]string
	for _, d := range drill.Drills() {
		all = append(all, row{d.Name, d.Destructive, d.Summary})
		rows = append(rows, []string{d.Name, yes(d.Destructive), d.Summary})
	}
	return show(c, all, []string{"NAME", "DESTRUCTIVE", "WHAT HAPPENS"}, rows)
}

// drillRun runs drills and reports. It fails when the cluster did.
func drillRun(c *cli.Context) (err error) {
	if c.Int("rounds") < 1 {
		return usage("--rounds must be at least 1")
	}
	named, err := drillsNamed(c.Args().Slice())
	if err != nil {
		return err
	}
	if c.Bool("local") && !c.Bool("loopback") && !drill.Isolated() {
		began, err := drill.Isolate(c.Context)
		if exit := (*exec.ExitError)(nil); began && errors.As(err, &exit) {
			return finished(exit.ExitCode())
		} else if began {
			return err
		}
		fmt.Fprintf(c.App.ErrWriter, "on loopback: %v\n", err)
	}
	target, where, done, err := drillTarget(c)
	if err != nil {
		return err
	}
	defer func() { done(err != nil) }()
	var drills []drill.Drill
	for _, d := range named {
		err := target.Allowed(d)
		switch {
		case err == nil:
			drills = append(drills, d)
		case c.NArg() > 0:
			return &hinted{exitUsage, err.Error(), "see 'sealctl drill run --help' and docs/drills.md"}
		default:
			fmt.Fprintf(c.App.ErrWriter, "left out: %v\n", err)
		}
	}
	report, err := target.NewReport(c.Context, where, "sealctl "+strings.Join(os.Args[1:], " "))
	if err != nil {
		return err
	}
	var stopped error
	report.Results, stopped = target.Series(c.Context, drills, c.Int("rounds"), func(d drill.Drill, n int, r drill.Round) {
		fmt.Fprintln(c.App.ErrWriter, roundInWords(d.Name, n, r))
	})
	if err := writeDrills(c, report, c.String("report")); err != nil {
		return errors.Join(err, stopped)
	}
	switch {
	case stopped != nil:
		return stopped
	case !report.Passed():
		return &hinted{exitFailed, "the cluster failed a drill", "the table says what was lost; keep the report and the nodes' logs"}
	}
	return nil
}

// roundInWords is what is said of a round as soon as it is over.
func roundInWords(name string, n int, r drill.Round) string {
	holder, verdict := fmt.Sprintf("%s was holder, %s is", r.Holder, r.Next), "passed"
	if r.Next == "" || r.Next == r.Holder {
		holder = r.Holder + " was holder, and is"
	}
	if !r.Passed() {
		verdict = "FAILED"
	}
	return fmt.Sprintf("%s %d: %s; silent for %.0f ms, served %.0f ms after the fault; %s", name, n, holder, r.Silence, r.Recovered, verdict)
}

func drillsNamed(names []string) ([]drill.Drill, error) {
	if len(names) == 0 {
		return drill.Drills(), nil
	}
	var all []drill.Drill
	for _, name := range names {
		d, ok := drill.Find(name)
		if !ok {
			return nil, &hinted{exitUsage, fmt.Sprintf("there is no drill %q", name), "see 'sealctl drill list'"}
		}
		all = append(all, d)
	}
	return all, nil
}

// drillTarget makes a local cluster or takes the context's, with a canary.
func drillTarget(c *cli.Context) (t *drill.Target, where string, done func(failed bool), err error) {
	if c.Bool("local") {
		return localTarget(c)
	}
	if !c.IsSet("canary") {
		return nil, "", nil, &hinted{exitUsage, "a drill on a live cluster needs a canary: subscribers of its own", "write a canary file as in docs/drills.md and name it with --canary, or use --local"}
	}
	who, err := drill.ReadCanary(c.String("canary"))
	if err != nil {
		return nil, "", nil, &hinted{exitUsage, err.Error(), "docs/drills.md has an example"}
	}
	t = &drill.Target{Destructive: c.Bool("destructive")}
	if c.IsSet("hooks") {
		if t.Hands, err = drill.ReadHooks(c.String("hooks")); err != nil {
			return nil, "", nil, &hinted{exitUsage, err.Error(), "docs/drills.md has an example"}
		}
	}
	cl, err := newClient(c)
	if err != nil {
		return nil, "", nil, err
	}
	if _, err := cl.certificate(); err != nil { // which the drill shows to every node
		return nil, "", nil, err
	}
	if t.Destructive {
		if err := confirm(c, "break nodes of", "the cluster at "+strings.Join(cl.addresses, ", ")); err != nil {
			return nil, "", nil, err
		}
	}
	t.Admin = drill.NewAdmin(cl.addresses, cl.http.Transport.(*http.Transport).TLSClientConfig)
	if t.Canary, err = drill.NewCanary(c.Context, who); err != nil {
		return nil, "", nil, &hinted{exitFailed, err.Error(), "its subscribers must be on the allow-list, in these handsets, and its address in gateway.gtp.allowed_peers: docs/drills.md"}
	}
	return t, fmt.Sprintf("live cluster of %d nodes", len(cl.addresses)), func(bool) { t.Canary.Close() }, nil
}

// Sessions of a local cluster's canary.
const (
	drillSessions = 16
	drillChurn    = 16
)

func localTarget(c *cli.Context) (_ *drill.Target, where string, done func(failed bool), err error) {
	bin := c.String("bin")
	if bin == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, "", nil, err
		}
		bin = filepath.Dir(self)
	}
	dir, err := os.MkdirTemp("", "sealedge-drill-")
	if err != nil {
		return nil, "", nil, err
	}
	l, err := drill.StartLocal(c.Context, drill.LocalConfig{Bin: bin, Dir: filepath.Join(dir, "site")})
	if err != nil {
		return nil, "", nil, errors.Join(err, fmt.Errorf("its files are in %s", dir))
	}
	defer func() {
		if err != nil {
			l.Stop()
		}
	}()
	who, err := l.Canary(c.Context, drillSessions, drillChurn)
	if err != nil {
		return nil, "", nil, err
	}
	canary, err := drill.NewCanary(c.Context, who)
	if err != nil {
		return nil, "", nil, err
	}
	every := c.Int("use-every")
	if every > 0 {
		use, err := l.Use(c.Context, drillSessions+drillChurn)
		if err == nil {
			err = canary.Use(c.Context, use)
		}
		if err != nil {
			canary.Close()
			return nil, "", nil, err
		}
	}
	return &drill.Target{Admin: l.Admin(), Canary: canary, Hands: l, Destructive: true, UseEvery: every, Aside: l.Restore}, l.String(), func(failed bool) {
		canary.Close()
		l.Stop()
		if failed {
			fmt.Fprintf(c.App.ErrWriter, "logs and data of the nodes are in %s\n", dir)
			return
		}
		_ = os.RemoveAll(dir) // of a temporary directory
	}, nil
}

func drillReport(c *cli.Context) error {
	a, err := arguments(c, "FILE")
	if err != nil {
		return err
	}
	r, err := drill.ReadReport(a[0])
	if err != nil {
		return &hinted{exitUsage, err.Error(), "'sealctl drill run --report FILE' writes one"}
	}
	return writeDrills(c, r, "")
}

// writeDrills shows a report and puts it into the files that are asked for.
func writeDrills(c *cli.Context, r *drill.Report, file string) error {
	if file != "" {
		if err := toFile(file, r.Write); err != nil {
			return err
		}
	}
	if svg := c.String("svg"); svg != "" {
		if err := toFile(svg, r.SVG); err != nil {
			return err
		}
	}
	if c.String("output") == "table" {
		return r.Table(c.App.Writer)
	}
	return show(c, r, nil, nil)
}

func toFile(name string, write func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}
