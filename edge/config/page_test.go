package config

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// docs/configuration.md lists the keys that are taken up while a node runs.
func TestPageListsReloadedKeys(t *testing.T) {
	page, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for line := range strings.Lines(string(page)) {
		if key, ok := strings.CutPrefix(line, "| `"); ok {
			key, _, _ = strings.Cut(key, "`")
			listed = append(listed, key)
		}
	}
	keys := Reloadable()
	slices.Sort(keys)
	if !slices.Equal(listed, keys) {
		t.Errorf("the page lists %v; reloaded are %v", listed, keys)
	}
}
