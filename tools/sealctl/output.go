package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
	"gopkg.in/yaml.v3"
)

// formats are what --output may be.
var formats = []string{"table", "json", "yaml"}

// checkOutput refuses a format that isn't known, before anything is done.
func checkOutput(c *cli.Context) error {
	if f := c.String("output"); !slices.Contains(formats, f) {
		return usage(fmt.Sprintf("output %q is not known; it is %s", f, strings.Join(formats, ", ")))
	}
	return nil
}

// show prints v: as it is in json and yaml, as rows in a table. Columns named in
// wordy (table.go) are cut first on a narrow terminal, those in telling are
// coloured on any.
func show[T any](c *cli.Context, v T, header []string, rows [][]string) error {
	w := c.App.Writer
	switch c.String("output") {
	case "json":
		return writeJSON(w, v)
	case "yaml":
		return writeYAML(w, v)
	}
	left, err := table(w, header, rows)
	leftOut(c.App.ErrWriter, left)
	return err
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// writeYAML goes through JSON, so that both formats have the same names in the
// same order.
func writeYAML(w io.Writer, v any) error {
	var b bytes.Buffer
	if err := writeJSON(&b, v); err != nil {
		return err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(b.Bytes(), &doc); err != nil {
		return err
	}
	plainStyle(&doc)
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return err
	}
	return enc.Close()
}

// plainStyle takes JSON's brackets and quotes away, where YAML needs none.
func plainStyle(n *yaml.Node) {
	empty := len(n.Content) == 0 && n.Kind != yaml.ScalarNode
	if !empty { // [] and {} have no other form
		n.Style = 0
	}
	for _, child := range n.Content {
		plainStyle(child)
	}
}
