package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const chartDir = "../../charts/sealedge"

// helm finds helm: in PATH, else where "make chart" puts it, which takes minutes: more
// than the tests that everybody runs may take. What needs it isn't skipped there.
var helm = sync.OnceValues(func() (string, error) {
	if path, err := exec.LookPath("helm"); err == nil {
		return path, nil
	}
	if os.Getenv("SEALEDGE_CHART") != "" {
		return buildHelm(context.Background())
	}
	path, err := helmPath()
	if err != nil {
		return "", err
	}
	_, err = os.Stat(path)
	return path, err
})

// call runs helm, and returns what it says and whether it succeeded.
func call(t *testing.T, args ...string) (stdout, stderr string, ok bool) {
	t.Helper()
	path, err := helm()
	switch {
	case err != nil && os.Getenv("SEALEDGE_CHART") != "":
		t.Fatalf("no helm: %v", err)
	case err != nil:
		t.Skip("no helm: run make chart")
	}
	var out, errs bytes.Buffer
	cmd := exec.Command(path, args...)
	home := t.TempDir()
	cmd.Env = []string{"HOME=" + home, "HELM_CACHE_HOME=" + home, "HELM_CONFIG_HOME=" + home, "HELM_DATA_HOME=" + home}
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), err == nil
}

// kubernetes is the version that the chart is rendered for: a helm that wasn't
// released doesn't know any.
const kubernetes = "1.34.0"

// matrix are the sets of values that the chart is tried with, as helm's chart-testing
// keeps them.
var matrix = []string{"minimal", "full", "single", "external", "service", "scaling"}

func valuesFile(name string) string { return filepath.Join(chartDir, "ci", name+"-values.yaml") }

var (
	renderings = map[string]string{}
	rendering  sync.Mutex
)

// render gives the manifests of one set of values.
func render(t *testing.T, name string) string {
	t.Helper()
	rendering.Lock()
	defer rendering.Unlock()
	if text, ok := renderings[name]; ok {
		return text
	}
	args := []string{"template", "seals", chartDir, "-n", "seals", "--kube-version", kubernetes, "-f", valuesFile(name)}
	if name == "scaling" { // which no installation begins with
		args = append(args, "--is-upgrade")
	}
	stdout, stderr, ok := call(t, args...)
	if !ok {
		t.Fatalf("helm template with %s: %s", name, stderr)
	}
	renderings[name] = stdout
	return stdout
}

// each runs a test on every set of values.
func each(t *testing.T, test func(t *testing.T, name, manifests string)) {
	for _, name := range matrix {
		t.Run(name, func(t *testing.T) { test(t, name, render(t, name)) })
	}
}

func TestMatrixIsAllOfIt(t *testing.T) {
	files, err := filepath.Glob(valuesFile("*"))
	if err != nil || len(files) != len(matrix) {
		t.Fatalf("%d sets of values are tried, and there are %d: %q %v", len(matrix), len(files), files, err)
	}
}

func TestLint(t *testing.T) {
	args := []string{"lint", "--strict", "--kube-version", kubernetes, chartDir}
	if stdout, stderr, ok := call(t, args...); !ok {
		t.Fatalf("helm lint: %s%s", stdout, stderr)
	}
	for _, name := range matrix {
		if name == "scaling" { // lint takes every release for a new one
			continue
		}
		stdout, stderr, ok := call(t, append(args, "-f", valuesFile(name))...)
		if !ok || strings.Contains(stderr, "Fail:") {
			t.Errorf("helm lint with %s: %s%s", name, stdout, stderr)
		}
	}
}

// without leaves out what is a copy of files, which have tests of their own.
func without(manifests string, templates ...string) string {
	var kept strings.Builder
	for doc := range strings.SplitAfterSeq(manifests, "\n---\n") {
		if !slices.ContainsFunc(templates, func(name string) bool { return strings.Contains(doc, "# Source: sealedge/templates/"+name) }) {
			kept.WriteString(doc)
		}
	}
	return kept.String()
}

// The golden files are written anew with UPDATE_SNAPSHOTS=1.
func TestSnapshots(t *testing.T) {
	each(t, func(t *testing.T, name, manifests string) {
		manifests = without(manifests, "prometheusrule.yaml", "dashboards.yaml")
		file := filepath.Join("testdata", name+".yaml")
		if os.Getenv("UPDATE_SNAPSHOTS") != "" {
			if err := os.WriteFile(file, []byte(manifests), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if manifests != string(want) {
			t.Errorf("the manifests differ from %s; look at the difference after UPDATE_SNAPSHOTS=1 go test ./tools/chart", file)
		}
	})
}

// Whoever compares what is rendered with what is there, as GitOps does, sees no change
// where there is none.
func TestRenderingIsTheSameEachTime(t *testing.T) {
	first := render(t, "full")
	again, stderr, ok := call(t, "template", "seals", chartDir, "-n", "seals", "--kube-version", kubernetes, "-f", valuesFile("full"))
	if !ok || again != first {
		t.Errorf("two renderings differ: %s", stderr)
	}
}

func TestMadeFilesAreCurrent(t *testing.T) {
	files, err := made(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		have, err := os.ReadFile(filepath.Join(chartDir, name))
		if err != nil || !bytes.Equal(have, want) {
			t.Errorf("%s isn't what values.yaml makes (%v); run go generate ./tools/chart", name, err)
		}
	}
}
