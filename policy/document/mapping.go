package document

import (
	"iter"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Map is a mapping being read. Keys that were never asked for are mistakes,
// which Close reports.
type Map struct {
	value Value
	keys  []string
	nodes map[string][2]*yaml.Node // key and value
	asked []string
}

// Map reads the value as a mapping, and reports repeated keys.
func (v Value) Map() *Map {
	m := &Map{value: v, nodes: map[string][2]*yaml.Node{}}
	if v.node == nil {
		return m
	}
	if v.node.Kind != yaml.MappingNode {
		v.Report(`write a mapping, "key: value"`, "want a mapping, have %s", kindName(v.node))
		m.value.node = nil // its keys aren't missing besides
		return m
	}
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		key, val := v.node.Content[i], v.node.Content[i+1]
		at := Value{doc: v.doc, node: key, path: m.under(key.Value)}
		switch {
		case key.Kind != yaml.ScalarNode:
			Value{doc: v.doc, node: key, path: v.path}.Report("write a plain key", "want a plain key, have %s", kindName(key))
		case m.Has(key.Value):
			at.Report("remove one", "the key is there twice, first in line %d", m.nodes[key.Value][0].Line)
		default:
			m.keys = append(m.keys, key.Value)
			m.nodes[key.Value] = [2]*yaml.Node{key, val}
		}
	}
	return m
}

func (m *Map) under(key string) string {
	if m.value.path == "" {
		return key
	}
	return m.value.path + "." + key
}

// Has tells whether the mapping has the key.
func (m *Map) Has(key string) bool { _, ok := m.nodes[key]; return ok }

// Get returns the value of an optional key.
func (m *Map) Get(key string) Value {
	m.asked = append(m.asked, key)
	near := m.value.node
	if near == nil {
		near = m.value.near
	}
	return Value{doc: m.value.doc, node: m.nodes[key][1], path: m.under(key), near: near}
}

// Need returns the value of a key that must be there. An example shows how to
// write it.
func (m *Map) Need(key, example string) Value {
	v := m.Get(key)
	if !v.Present() && m.value.node != nil {
		v.Report(`add "`+example+`"`, "is missing")
	}
	return v
}

// All ranges over keys that the document itself names, in its order.
func (m *Map) All() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		for _, key := range m.keys {
			v := m.Get(key)
			v.near = m.nodes[key][0]
			if !yield(key, v) {
				return
			}
		}
	}
}

// Close reports the keys that nobody asked for.
func (m *Map) Close() {
	for _, key := range m.keys {
		if slices.Contains(m.asked, key) {
			continue
		}
		mend := "known here: " + strings.Join(m.asked, ", ")
		if guess := Nearest(key, m.asked); guess != "" {
			mend = `did you mean "` + guess + `"?`
		}
		Value{doc: m.value.doc, node: m.nodes[key][0], path: m.under(key)}.Report(mend, "unknown key")
	}
}

// Nearest returns the known word that a mistyped one most likely means, or "".
func Nearest(word string, known []string) string {
	best, least := "", 3
	for _, k := range known {
		d := distance(fold(word), fold(k))
		if d < least && d*2 < max(len(k), 2) {
			best, least = k, d
		}
	}
	return best
}

// fold makes the spellings of one name equal: maxCount, max_count, max-count.
func fold(s string) string {
	return strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(s))
}

// distance counts insertions, deletions, changes and swaps of neighbours that
// make b of a (optimal string alignment).
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
