package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// imports measures how long a table of n terminals takes from the command line on:
// the first time, when nothing in it has changed since, when a few rows have, and
// as a dry run.
func (b *bench) imports(ctx context.Context, nodes, n int) (err error) {
	s, err := newSite(filepath.Join(b.dir, fmt.Sprintf("import%d", nodes)), b.bin, nodes)
	if err != nil {
		return err
	}
	defer s.stop()
	if err := s.launch(ctx); err != nil {
		return err
	}
	if err := s.applyPolicy(ctx); err != nil {
		return err
	}
	same, changed := filepath.Join(s.dir, "terminals.csv"), filepath.Join(s.dir, "changed.csv")
	if err := errors.Join(writeTable(same, n, 0), writeTable(changed, n, 100)); err != nil {
		return err
	}
	more := min(b.runs, 3)
	for _, c := range []struct {
		name string
		runs int
		file []string // in turn
		args []string
		want imported
	}{
		{"first", 1, []string{same}, nil, imported{Added: n}},
		{"again", more, []string{same}, nil, imported{Unchanged: n}},
		{"dry run", more, []string{same}, []string{"--dry-run"}, imported{Unchanged: n}},
		{"1 row in 100 changed", more, []string{changed, same}, nil, imported{Changed: (n + 99) / 100, Unchanged: n - (n+99)/100}},
	} {
		var runs [][]sample
		for r := range c.runs {
			run, err := b.steady(ctx, s, func() ([]sample, error) { return s.importTable(ctx, c.file[r%len(c.file)], c.args, n, c.want) })
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			runs = append(runs, run)
		}
		b.report(figure("import", nodes, fmt.Sprintf("%s rows, %s", grouped(int64(n)), c.name), runs))
	}
	return nil
}

// writeTable writes a table of n terminals, with another label in one row of every.
func writeTable(name string, n, every int) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	fmt.Fprintln(w, "imsi,msisdn,imeis,apns,groups,label,wifi_mac,device_cert_sha256")
	for i := range n {
		label := "phone"
		if every > 0 && i%every == 0 {
			label = "another phone"
		}
		fmt.Fprintf(w, "46001%010d,86138%08d,3569380%07d,seal.corp,branch-%d finance,\"%s %d, of somebody\",02:00:%02x:%02x:%02x:%02x,%064x\n",
			i, i, i, i%50, label, i, byte(i>>24), byte(i>>16), byte(i>>8), byte(i), i+1)
	}
	return errors.Join(w.Flush(), f.Close())
}

// imported is what sealctl reports of an import.
type imported struct {
	Added, Changed, Unchanged, Refused, Malformed int
}

// importTable has sealctl import a table, and checks that it did what is wanted.
func (s *site) importTable(ctx context.Context, file string, args []string, n int, want imported) ([]sample, error) {
	_, before, err := s.cpu()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "sealctl"), append([]string{"--context", filepath.Join(s.dir, "sealctl.yaml"), "-o", "json", "device", "import", file}, args...)...)
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	begin := time.Now()
	failed := cmd.Run()
	took := time.Since(begin)
	var got imported
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || failed != nil || got != want {
		return nil, fmt.Errorf("import: %+v, want %+v: %w: %s", got, want, errors.Join(failed, err), words.Bytes())
	}
	_, after, err := s.cpu()
	return []sample{
		{"time", "s", took.Seconds()},
		{"rate", "rows/s", float64(n) / took.Seconds()},
		{"CPU of all nodes", "ms/1000 rows", milliseconds(after-before) * 1000 / float64(n)},
		{"CPU of sealctl", "ms/1000 rows", milliseconds(cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime()) * 1000 / float64(n)},
	}, err
}
