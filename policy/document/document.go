// Package document reads YAML strictly, for documents that people write and
// that decide who may use a seal: nothing in them is ignored or guessed.
//
// A reader asks a Value for what it should be. Whatever is not so becomes a
// Mistake with file, line, column and the way to mend it, and reading goes on
// with a zero value, so that one pass finds all mistakes: unknown and repeated
// keys, missing ones, wrong kinds and values. Anchors, aliases, merge keys and
// further documents in one file are mistakes too.
package document

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Mistake is one thing wrong with a document.
type Mistake struct {
	File         string
	Line, Column int    // from 1; 0 when it has no place in the file
	Path         string // of the key, e.g. "spec.apns[0].mtu"; empty for the document as such
	Text         string // what is wrong
	Mend         string // what to do; may be empty
}

// Error is the mistake on one line, with its place first, as compilers do.
func (m Mistake) Error() string {
	var b strings.Builder
	b.WriteString(m.File)
	if m.Line > 0 {
		fmt.Fprintf(&b, ":%d", m.Line)
		if m.Column > 0 {
			fmt.Fprintf(&b, ":%d", m.Column)
		}
	}
	b.WriteString(": ")
	if m.Path != "" {
		b.WriteString(m.Path + ": ")
	}
	b.WriteString(m.Text)
	if m.Mend != "" {
		b.WriteString("; " + m.Mend)
	}
	return b.String()
}

// Mistakes are all that is wrong with a document, by line.
type Mistakes []Mistake

// Error has a line for each mistake.
func (ms Mistakes) Error() string {
	lines := make([]string, len(ms))
	for i, m := range ms {
		lines[i] = m.Error()
	}
	return strings.Join(lines, "\n")
}

// Document is one file being read. It has one owner.
type Document struct {
	file     string
	root     *yaml.Node // nil when the file could not be read at all
	mistakes []Mistake
}

// Read parses raw. A mistake in the syntax shows in Err; Root then is empty.
func Read(file string, raw []byte) *Document {
	d := &Document{file: file}
	var node yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	switch err := dec.Decode(&node); {
	case errors.Is(err, io.EOF):
		d.add(Mistake{Line: 1, Text: "the document is empty"})
		return d
	case err != nil:
		d.syntax(raw, err)
		return d
	}
	if err := dec.Decode(new(yaml.Node)); err == nil {
		d.add(Mistake{Text: "the file holds more than one document", Mend: `remove what follows the second "---"`})
	} else if !errors.Is(err, io.EOF) {
		d.syntax(raw, err)
		return d
	}
	if len(node.Content) == 1 && d.plain(node.Content[0]) {
		d.root = node.Content[0]
	}
	return d
}

// plain refuses what makes one part of a document stand in another.
func (d *Document) plain(n *yaml.Node) bool {
	ok := true
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		d.add(Mistake{Line: n.Line, Column: n.Column, Text: "anchors and aliases are not allowed", Mend: "write the value out"})
		return false // an alias may lead back to where it stands
	}
	for _, c := range n.Content {
		ok = d.plain(c) && ok
	}
	return ok
}

func (d *Document) add(m Mistake) {
	m.File = d.file
	d.mistakes = append(d.mistakes, m)
}

// Readable tells whether there is a value to read; Err says why not.
func (d *Document) Readable() bool { return d.root != nil }

// Root is the document's top value; absent when the syntax was wrong.
func (d *Document) Root() Value { return Value{doc: d, node: d.root} }

// Err returns Mistakes, or nil when there are none. Ask when all was read.
func (d *Document) Err() error {
	if len(d.mistakes) == 0 {
		return nil
	}
	ms := slices.Clone(d.mistakes)
	slices.SortStableFunc(ms, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	seen := map[Mistake]bool{} // a value that is read twice is mistaken twice
	return slices.DeleteFunc(Mistakes(ms), func(m Mistake) bool {
		defer func() { seen[m] = true }()
		return seen[m]
	})
}
