package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

// tests are those that show a row, by its ID: "apn/session.TestAttach", sorted.
type tests map[string][]string

func (t tests) add(id, test string) {
	if at, there := slices.BinarySearch(t[id], test); !there {
		t[id] = slices.Insert(t[id], at, test)
	}
}

// readResults reads what gtptest.Shows left in a directory. root is the module's.
func readResults(dir, root string) (tests, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*"+gtptest.ResultsSuffix))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no test left anything in %s: was %s set to it, as an absolute path?", dir, gtptest.ResultsVariable)
	}
	shown := tests{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(raw)) {
			f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
			if len(f) != 3 {
				return nil, fmt.Errorf("%s: %q is no result", file, line)
			}
			room, err := filepath.Rel(root, f[1])
			if err != nil || strings.HasPrefix(room, "..") {
				return nil, fmt.Errorf("%s: %s is not within %s", file, f[1], root)
			}
			test, _, _ := strings.Cut(f[2], "/") // without the subtest
			shown.add(f[0], filepath.ToSlash(room)+"."+test)
		}
	}
	return shown, nil
}
