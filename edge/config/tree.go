package config

import (
	"strings"

	"github.com/sealedge/sealedge/policy/document"
)

// tree reads nested mappings of a file by path.
type tree struct {
	doc      *document.Document
	sections map[string]*document.Map
}

func newTree(file string, raw []byte) *tree {
	return &tree{doc: document.Read(file, raw), sections: map[string]*document.Map{}}
}

// value returns what the file has at a path such as "cluster.listen".
func (t *tree) value(path string) document.Value {
	parent, name := cutLast(path)
	return t.section(parent).Get(name)
}

// section returns the mapping at a path, reading it once.
func (t *tree) section(path string) *document.Map {
	if m, ok := t.sections[path]; ok {
		return m
	}
	at := t.doc.Root()
	if path != "" {
		at = t.value(path)
	}
	m := at.Map()
	t.sections[path] = m
	return m
}

// close reports the keys that were never asked for.
func (t *tree) close() {
	for _, m := range t.sections {
		m.Close()
	}
}

func cutLast(path string) (parent, name string) {
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return "", path
}

// written is a value as it was written: a string, or a list of them; nil when
// it is absent or mistaken.
func written(v document.Value, list bool) any {
	asIs := func(s string) (string, error) { return s, nil }
	if !list {
		if text, ok := document.Parse(v, asIs); ok {
			return text
		}
		return nil
	}
	items := v.List()
	if items == nil {
		return nil
	}
	out := []string{}
	for _, item := range items {
		text, ok := document.Parse(item, asIs)
		if !ok {
			return nil
		}
		out = append(out, text)
	}
	return out
}
