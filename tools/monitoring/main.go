// Command monitoring makes the Grafana dashboards of the chart and the table of alerts
// in docs/monitoring.md:
//
//	go generate ./tools/monitoring
//
// Its tests hold alerts and dashboards against what the program exports, have Prometheus's
// own promtool judge them, and see that each alert has a runbook. promtool is in Debian's
// package prometheus.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

//go:generate go run . ../..

func main() {
	root := "."
	if len(os.Args) > 1 {
		root = os.Args[1]
	}
	files, err := generate(root)
	for name, content := range files {
		if err == nil {
			err = os.WriteFile(filepath.Join(root, name), content, 0o644)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "monitoring:", err)
		os.Exit(1)
	}
}

// Where things are, below the root of the repository.
const (
	alertFiles   = "charts/sealedge/alerts/*.yaml"
	dashboardDir = "charts/sealedge/dashboards"
	pageFile     = "docs/monitoring.md"
	metricsFile  = "docs/metrics.md"
	runbookDir   = "docs/runbooks"
)

// generate returns the files that are made, by name.
func generate(root string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, d := range dashboards() {
		content, err := d.json()
		if err != nil {
			return nil, err
		}
		files[filepath.Join(dashboardDir, d.name+".json")] = content
	}
	groups, err := readRules(root)
	if err != nil {
		return nil, err
	}
	old, err := os.ReadFile(filepath.Join(root, pageFile))
	if err != nil {
		return nil, err
	}
	files[pageFile], err = page(old, groups)
	return files, err
}
