// Command reliability takes the figures of docs/reliability.md: it runs the
// drills many times over on a local cluster, keeps what they showed in
// docs/reliability/, and writes the page of that.
//
//	go run ./tools/reliability                     everything, in about a quarter of an hour
//	go run ./tools/reliability -drills leader-kill=200,planned-handover=200
//	go run ./tools/reliability -page               the page alone, of what is there
//
// Each drill is run by "sealctl drill run --local", in a cluster of its own. It
// wants a machine with nothing else to do.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/sealedge/sealedge/tools/drill"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "reliability: "+err.Error())
		os.Exit(1)
	}
}

// standard is how often each drill is run for the page.
const standard = "leader-kill=200,node-freeze=200,planned-handover=200,partition=50,hung-disk=50,slow-disk=20,restore=10,address-move=20"

// order is a drill and how often it is to be run.
type order struct {
	drill  string
	rounds int
}

func parse(list string) (all []order, err error) {
	for _, item := range strings.Split(list, ",") {
		name, times, _ := strings.Cut(item, "=")
		n, err := strconv.Atoi(times)
		if _, known := drill.Find(name); !known || err != nil || n < 1 {
			return nil, fmt.Errorf("-drills: %q: want a drill and how often, such as leader-kill=200", item)
		}
		all = append(all, order{name, n})
	}
	return all, nil
}

func run(ctx context.Context, args []string, stderr io.Writer) error {
	fs := flag.NewFlagSet("reliability", flag.ContinueOnError)
	fs.SetOutput(stderr)
	bin := fs.String("bin", "build/bin", "`directory` of the programs")
	docs := fs.String("docs", "docs", "`directory` of the page")
	list := fs.String("drills", standard, "which drills, and how often each")
	page := fs.Bool("page", false, "write the page of the results that are there")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *page {
		return writePage(*docs)
	}
	orders, err := parse(*list)
	if err != nil {
		return err
	}
	results := filepath.Join(*docs, "reliability")
	if err := os.MkdirAll(results, 0o755); err != nil {
		return err
	}
	var failed []error
	for _, o := range orders {
		fmt.Fprintf(stderr, "%s, %d times\n", o.drill, o.rounds)
		at := func(ext string) string { return filepath.Join(results, o.drill+ext) }
		cmd := exec.CommandContext(ctx, filepath.Join(*bin, "sealctl"), "drill", "run", o.drill, "--local",
			"--rounds", strconv.Itoa(o.rounds), "--use-every", "10", "--report", at(".json"), "--svg", at(".svg"))
		cmd.Stdout, cmd.Stderr = stderr, stderr
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		if err := cmd.Run(); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", o.drill, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(append(failed, writePage(*docs))...)
}

// The page has a part that is made, between these lines.
const (
	begins = "<!-- Made by `make reliability` of the files in reliability/; don't edit this part. -->"
	ends   = "<!-- End of the part that is made. -->"
)

// writePage puts the results into the page, and leaves alone what people wrote.
func writePage(docs string) error {
	name := filepath.Join(docs, "reliability.md")
	old, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	made, err := fill(string(old), filepath.Join(docs, "reliability"))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return os.WriteFile(name, []byte(made), 0o644)
}

// fill replaces the part of a page that is made.
func fill(page, results string) (string, error) {
	before, rest, ok := strings.Cut(page, begins)
	_, after, closed := strings.Cut(rest, ends)
	if !ok || !closed {
		return "", fmt.Errorf("the lines %q and %q are missing", begins, ends)
	}
	reports, err := read(results)
	if err != nil {
		return "", err
	}
	return before + begins + "\n\n" + part(reports) + ends + after, nil
}

// read reads the reports of all drills that there are, in the drills' order.
func read(dir string) (all []*drill.Report, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	for _, d := range drill.Drills() {
		file := filepath.Join(dir, d.Name+".json")
		if !slices.Contains(files, file) {
			continue
		}
		r, err := drill.ReadReport(file)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}
