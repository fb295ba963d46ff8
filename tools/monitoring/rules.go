package main

import (
	"fmt"
	"os"
	"path/filepath"

	"sigs.k8s.io/yaml"
)

// group is a group of Prometheus's rules.
type group struct {
	Name  string  `json:"name"`
	Rules []alert `json:"rules"`
}

// alert is one rule.
type alert struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// readRules reads the alerts of the chart, file by file.
func readRules(root string) ([]group, error) {
	files, err := filepath.Glob(filepath.Join(root, alertFiles))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no alerts in %s (%w)", alertFiles, err)
	}
	var all []group
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		var file struct {
			Groups []group `json:"groups"`
		}
		if err := yaml.UnmarshalStrict(raw, &file); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, file.Groups...)
	}
	return all, nil
}
