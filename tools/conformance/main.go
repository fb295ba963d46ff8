// Command conformance makes docs/conformance.md: what TS 29.274, TS 29.060 and
// TS 29.281 ask, what the gateway does about it, and the tests that show it.
//
// It merges the catalogue, apn/gtp/gtptest/conformance.txt, with what the tests
// of one run left behind (gtptest.Shows). A row that claims anything and that no
// test of the run has shown is an error: the page can't promise more than the
// tests keep. `make conformance` runs the tests and then this.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

// page is the document, from the module's root.
const page = "docs/conformance.md"

func main() {
	results := flag.String("results", "", "`directory` with what the tests left, as "+gtptest.ResultsVariable+" named it to them")
	check := flag.Bool("check", false, "compare with "+page+" instead of writing it")
	flag.Parse()
	if err := run(*results, *check); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func run(results string, check bool) error {
	if results == "" {
		return errors.New("which results? -results DIR; `make conformance` does it all")
	}
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	rows, err := gtptest.Catalogue()
	if err != nil {
		return err
	}
	shown, err := readResults(results, root)
	if err != nil {
		return err
	}
	if err := unproven(rows, shown); err != nil {
		return err
	}
	made := render(rows, shown)
	file := filepath.Join(root, page)
	if !check {
		return os.WriteFile(file, made, 0o644)
	}
	kept, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if d := difference(kept, made); d != "" {
		return fmt.Errorf("%s is not what the tests show: run `make conformance` and commit it\n%s", page, d)
	}
	return nil
}

// moduleRoot is the directory with go.mod, here or above.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	for ; err == nil; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("not within the module: there is no go.mod here or above")
		}
	}
	return "", err
}

// unproven lists the rows that claim something and that no test has shown.
func unproven(rows []gtptest.Row, shown tests) error {
	var missing []string
	for _, r := range rows {
		if r.Status != gtptest.NotApplicable && len(shown[r.ID()]) == 0 {
			missing = append(missing, r.ID())
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("no test that passed shows these %d rows of apn/gtp/gtptest/conformance.txt:\n\t%s", len(missing), strings.Join(missing, "\n\t"))
}

// difference is the first line that differs, as a person wants to read it; empty
// when there is none.
func difference(kept, made []byte) string {
	if bytes.Equal(kept, made) {
		return ""
	}
	k, m := bytes.Split(kept, []byte("\n")), bytes.Split(made, []byte("\n"))
	for i := range max(len(k), len(m)) {
		var was, is []byte
		if i < len(k) {
			was = k[i]
		}
		if i < len(m) {
			is = m[i]
		}
		if !bytes.Equal(was, is) {
			return fmt.Sprintf("line %d\n- %s\n+ %s", i+1, was, is)
		}
	}
	return "one of them has empty lines more at its end"
}
