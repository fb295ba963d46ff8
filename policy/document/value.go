package document

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Value is a place in the document, perhaps with nothing there. Reading an
// absent value gives the zero of what was asked and is no mistake.
type Value struct {
	doc  *Document
	node *yaml.Node
	path string
	near *yaml.Node // where to point when node is nil
}

// Present tells whether the document has the value.
func (v Value) Present() bool { return v.node != nil }

// Path is the way to the value, e.g. "spec.apns[0].mtu".
func (v Value) Path() string { return v.path }

// Key is the last part of the path, e.g. "mtu".
func (v Value) Key() string { return v.path[strings.LastIndexByte(v.path, '.')+1:] }

// Line is where the value stands, from 1; 0 when it is absent.
func (v Value) Line() int {
	if v.node == nil {
		return 0
	}
	return v.node.Line
}

// Where is "file:line"; empty when the value is absent.
func (v Value) Where() string {
	if v.node == nil {
		return ""
	}
	return fmt.Sprintf("%s:%d", v.doc.file, v.node.Line)
}

// Report notes a mistake at the value, or near to where it should be.
func (v Value) Report(mend, format string, args ...any) {
	m := Mistake{Path: v.path, Text: fmt.Sprintf(format, args...), Mend: mend}
	at := v.node
	if at == nil {
		at = v.near
	}
	if at != nil {
		m.Line, m.Column = at.Line, at.Column
	}
	v.doc.add(m)
}

// scalar returns the text of a plain value as it was written.
func (v Value) scalar(want, example string) (string, bool) {
	if v.node == nil {
		return "", false
	}
	switch {
	case v.node.Kind != yaml.ScalarNode:
		v.Report(example, "want %s, have %s", want, kindName(v.node))
	case v.node.ShortTag() == "!!null":
		v.Report("give it a value or remove the key", "has no value")
	default:
		return v.node.Value, true
	}
	return "", false
}

// Text reads any plain value as it was written: 00101 stays "00101".
func (v Value) Text() string {
	s, _ := v.scalar("a text", "write one value")
	return s
}

// Plain is the text of a plain value for naming it in a mistake or reading it a
// second time: empty, and no mistake, when it is something else.
func (v Value) Plain() string {
	if v.node == nil || v.node.Kind != yaml.ScalarNode {
		return ""
	}
	return v.node.Value
}

// Bool reads true or false.
func (v Value) Bool() bool {
	s, ok := v.scalar("true or false", "write true or false")
	if ok && s != "true" && s != "false" {
		v.Report("", "want true or false, have %q", s)
	}
	return s == "true"
}

// Int reads a decimal number between least and most; otherwise otherwise.
func (v Value) Int(least, most, otherwise int64) int64 {
	example := fmt.Sprintf("write a number from %d to %d", least, most)
	s, ok := v.scalar("a number", example)
	if !ok {
		return otherwise
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < least || n > most {
		v.Report("", "want a number from %d to %d, have %q", least, most, s)
		return otherwise
	}
	return n
}

// Duration reads a time span between least and most with its unit, such as
// "90s", "15m" or "72h"; otherwise otherwise.
func (v Value) Duration(least, most, otherwise time.Duration) time.Duration {
	const example = `write a number with its unit, such as "90s", "15m" or "72h"`
	s, ok := v.scalar("a time span", example)
	if !ok {
		return otherwise
	}
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		v.Report(example, "want a time span, have %q", s)
		return otherwise
	case d < least || d > most:
		v.Report("", "want a time span from %s to %s, have %s", least, most, s)
		return otherwise
	}
	return d
}

// List returns the items of a list.
func (v Value) List() []Value {
	if v.node == nil {
		return nil
	}
	if v.node.Kind != yaml.SequenceNode {
		v.Report(`write a list, such as "[a, b]"`, "want a list, have %s", kindName(v.node))
		return nil
	}
	items := make([]Value, len(v.node.Content))
	for i, n := range v.node.Content {
		items[i] = Value{doc: v.doc, node: n, path: fmt.Sprintf("%s[%d]", v.path, i)}
	}
	return items
}

// Each reads every item of a list of texts with parse, and reports its errors
// and repetitions.
func Each[T comparable](v Value, parse func(string) (T, error)) []T {
	var out []T
	seen := map[T]bool{}
	for _, item := range v.List() {
		t, ok := Parse(item, parse)
		if !ok {
			continue
		}
		if seen[t] {
			item.Report("remove one", "%q is there twice", item.node.Value)
			continue
		}
		seen[t] = true
		out = append(out, t)
	}
	return out
}

// Parse reads a text with parse and reports its error. ok is false when the
// value is absent or mistaken.
func Parse[T any](v Value, parse func(string) (T, error)) (T, bool) {
	var zero T
	s, ok := v.scalar("a text", "write one value")
	if !ok {
		return zero, false
	}
	t, err := parse(s)
	if err != nil {
		v.Report("", "%v", err)
		return zero, false
	}
	return t, true
}

func kindName(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.ShortTag() == "!!null":
		return "nothing"
	}
	return strconv.Quote(n.Value)
}
