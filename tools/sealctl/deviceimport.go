package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/tools/sealctl/devicefile"
)

func deviceImportCommand() *cli.Command {
	return &cli.Command{
		Name: "import", Usage: "add or change the terminals and barrels of files", ArgsUsage: "FILE...",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Usage: "say what would be done, and do nothing"},
			&cli.BoolFlag{Name: "continue", Usage: "send the good rows of a file that has bad ones"},
			&cli.StringFlag{Name: "report", Usage: "write every refused row to `FILE`: a table, or JSON if its name ends so"},
			&cli.StringFlag{Name: "format", Usage: "`FORMAT` of the files, csv or yaml, where their names don't tell"},
			reasonFlag(),
		},
		Description: withExamples("A FILE is a table (CSV) of terminals or of barrels, whose first line names the columns, or YAML with the lists\n"+
			"terminals and barrels; - is standard input. What a file doesn't mention stays as it is, an empty cell empties its\n"+
			"field, and importing again changes nothing. Each row is for itself; docs/import.md has the columns.",
			"sealctl device import terminals.csv barrels.csv --dry-run",
			"sealctl device import terminals.csv --continue --report refused.csv",
			"sealctl device import devices.yaml",
			"sealctl device export --kind terminals | sed s/old.corp/seal.corp/ | sealctl device import -"),
		Action: deviceImport,
	}
}

// batchWeight is what a batch takes: a row with a password has the gateway hash it,
// which takes it as long as many others.
const (
	batchWeight  = adminapi.MaxBatch
	secretWeight = 10
	// batchesAtOnce are under way, so that reading one and carrying another out go
	// together.
	batchesAtOnce = 2
)

func deviceImport(c *cli.Context) error {
	if c.Args().Len() == 0 {
		return usage("FILE is missing")
	}
	rows, err := readDeviceFiles(c)
	if err != nil {
		return err
	}
	report := newImportReport(c.Bool("dry-run"), rows)
	if n := report.Malformed; n > 0 && !c.Bool("continue") {
		if err := report.show(c); err != nil {
			return err
		}
		return &hinted{exitUsage, fmt.Sprintf("%d of %d rows are wrong, and nothing was sent", n, len(rows)), "mend them, or send the others with --continue"}
	}
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	i := &importer{client: cl, report: report, rows: rows, dryRun: c.Bool("dry-run"), reason: c.String("reason")}
	i.progress = newProgress(c, "rows", int64(len(rows)-report.Malformed))
	stopped := i.send(c.Context)
	i.progress.Done()
	if err := report.show(c); err != nil {
		return err
	}
	if stopped != nil {
		if report.NotSent > 0 {
			fmt.Fprintf(c.App.ErrWriter, "%d rows were not sent; import the same files again to go on: what is done stays\n", report.NotSent)
		}
		return stopped
	}
	return report.outcome()
}

// readDeviceFiles reads all files; what is wrong with a row stands there.
func readDeviceFiles(c *cli.Context) ([]devicefile.Row, error) {
	var rows []devicefile.Row
	for _, name := range c.Args().Slice() {
		format := c.String("format")
		if format == "" {
			format = devicefile.Format(name)
		}
		if name == "-" && format == "" {
			format = devicefile.CSV
		}
		if format != devicefile.CSV && format != devicefile.YAML {
			return nil, usage(fmt.Sprintf("%s: the format isn't known; say --format csv or --format yaml", name))
		}
		in, dir := c.App.Reader, "."
		if name != "-" {
			f, err := os.Open(name)
			if err != nil {
				return nil, &hinted{exitUsage, err.Error(), "name a table of terminals or of barrels, or a YAML file with the lists terminals and barrels"}
			}
			defer f.Close()
			in, dir = f, filepath.Dir(name)
		}
		more, err := devicefile.Read(name, format, dir, in)
		if err != nil {
			return nil, &hinted{exitUsage, err.Error(), "nothing was sent; mend the file and import it again"}
		}
		rows = append(rows, more...)
	}
	devicefile.MarkDuplicates(rows)
	return rows, nil
}

// importer sends rows in batches.
type importer struct {
	client   *client
	rows     []devicefile.Row
	dryRun   bool
	reason   string
	progress *progress

	mu     sync.Mutex
	report *importReport // guarded by mu
}

// send sends the terminals first, since barrels are handed out to them. Batches of
// one kind don't depend on each other.
func (i *importer) send(ctx context.Context) error {
	for _, kind := range []string{devicefile.Terminals, devicefile.Barrels} {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(batchesAtOnce)
		for batch := range i.batches(kind) {
			if ctx.Err() != nil {
				break
			}
			g.Go(func() error { return i.sendBatch(ctx, batch) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// batches goes through the good rows of a kind, by their indices.
func (i *importer) batches(kind string) func(func([]int) bool) {
	return func(yield func([]int) bool) {
		var batch []int
		weight := 0
		for n, r := range i.rows {
			if r.Kind != kind || r.Err != nil {
				continue
			}
			w := 1
			switch {
			case r.Secrets():
				w = secretWeight
			case r.Custody != nil:
				w = 2 // it is a row of its own there
			}
			if weight+w > batchWeight {
				if !yield(batch) {
					return
				}
				batch, weight = nil, 0
			}
			batch, weight = append(batch, n), weight+w
		}
		if len(batch) > 0 {
			yield(batch)
		}
	}
}

func (i *importer) sendBatch(ctx context.Context, batch []int) error {
	b := adminapi.DeviceBatch{DryRun: i.dryRun, Reason: i.reason}
	var custody []int // of each row there: 0 the device itself, 1 who has it
	for _, n := range batch {
		r := i.rows[n]
		b.Rows, custody = append(b.Rows, r.Device), append(custody, 0)
		if r.Custody != nil {
			b.Rows, custody = append(b.Rows, adminapi.DeviceRow{CheckOut: r.Custody}), append(custody, 1)
			if i.dryRun && i.report.terminals[r.Custody.IMSI] && !slices.Contains(b.Assume, r.Custody.IMSI) {
				b.Assume = append(b.Assume, r.Custody.IMSI)
			}
		}
	}
	var done adminapi.DeviceBatchDone
	if err := i.client.call(ctx, http.MethodPost, "/v1/devices/batch", b, &done); err != nil {
		return err
	}
	if len(done.Rows) != len(b.Rows) {
		return fmt.Errorf("the gateway answered %d rows with %d outcomes", len(b.Rows), len(done.Rows))
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	at := -1
	for k, o := range done.Rows {
		if custody[k] == 0 {
			at++
		}
		i.report.note(batch[at], o, custody[k] == 1)
	}
	i.report.Changes = append(i.report.Changes, done.Changes...)
	i.progress.Add(len(batch))
	return nil
}
