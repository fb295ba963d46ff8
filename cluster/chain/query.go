package chain

import (
	"bytes"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sealedge/sealedge/cluster/command"
)

// Query says which entries are wanted: those to which all of it applies. The zero
// value asks for all.
type Query struct {
	Order  string // a work order's number
	Device string // as of Kind Device
	Person string // an operator or a user, by name or as in the chain ("operator:li")
	Type   command.Type
	Since  time.Time // by the leader's stamp; zero: from the first
	Until  time.Time // not included; zero: to the last
}

// Filters tells whether the query leaves any entry out.
func (q *Query) Filters() bool { return *q != Query{} }

// RulesOut tells of a link's encoded bytes that it can't match: names stand in
// them as they are. What it leaves is to be read and asked Matches.
func (q *Query) RulesOut(encoded []byte) bool {
	for _, name := range []string{q.Order, q.Device, q.bare()} {
		if name != "" && !bytes.Contains(encoded, []byte(name)) {
			return true
		}
	}
	return false
}

// bare is the person's name without what it stands behind in the chain.
func (q *Query) bare() string {
	if name, ok := person(q.Person); ok {
		return name
	}
	return q.Person
}

// Matches tells whether an entry is wanted.
func (q *Query) Matches(e *Entry) bool {
	t := e.Time()
	switch {
	case q.Type != command.Type_TYPE_UNSPECIFIED && e.Command.GetType() != q.Type,
		!q.Since.IsZero() && t.Before(q.Since),
		!q.Until.IsZero() && !t.Before(q.Until):
		return false
	case q.Order == "" && q.Device == "" && q.Person == "":
		return true
	}
	var order, device, who bool
	for _, s := range e.Subjects() {
		order = order || names(s, Order, q.Order)
		device = device || names(s, Device, q.Device)
		who = who || names(s, Person, q.bare())
	}
	return (order || q.Order == "") && (device || q.Device == "") && (who || q.Person == "")
}

// names tells whether a subject is what is asked for.
func names(s Subject, k Kind, name string) bool {
	switch {
	case name == "":
		return false
	case s.Kind == Text:
		return hasWord(s.Name, name)
	}
	return s.Kind == k && s.Name == name
}

// hasWord tells whether a word, or some in a row, stands in a text.
func hasWord(text, word string) bool {
	for rest := text; ; {
		i := strings.Index(rest, word)
		if i < 0 {
			return false
		}
		before, _ := utf8.DecodeLastRuneInString(text[:len(text)-len(rest)+i])
		after, _ := utf8.DecodeRuneInString(rest[i+len(word):])
		if !inWord(before) && !inWord(after) {
			return true
		}
		_, n := utf8.DecodeRuneInString(rest[i:])
		rest = rest[i+n:]
	}
}

func inWord(r rune) bool {
	return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-_/.", r))
}
