package document

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// readAll reads every kind of value, as a reader of a real document would.
func readAll(d *Document) {
	m := d.Root().Map()
	m.Need("name", "name: x").Text()
	m.Get("on").Bool()
	m.Get("count").Int(1, 10, 1)
	m.Get("within").Duration(time.Second, time.Hour, time.Minute)
	Each(m.Get("items"), func(s string) (string, error) {
		if s == "bad" {
			return "", errors.New("bad item")
		}
		return s, nil
	})
	for _, v := range m.Get("free").Map().All() {
		sub := v.Map()
		sub.Get("level").Int(0, 9, 0)
		sub.Close()
	}
	m.Close()
}

func TestMistakes(t *testing.T) {
	for _, c := range []struct {
		name, doc string
		want      []string
	}{
		{"right", "name: 00101\non: true\ncount: 3\nwithin: 90s\nitems: [a, b]\nfree: {x: {level: 1}}\n", nil},
		{"empty", "", []string{"f.yaml:1: the document is empty"}},
		{"only a comment", "# nothing\n", []string{"f.yaml:1: the document is empty"}},
		{"syntax", "name: x\n  on: [\n", []string{"f.yaml:2: mapping values are not allowed in this context; mend the YAML syntax"}},
		{"syntax in a later line", "name: x\non: true\ncount 3\nwithin: 90s\n", []string{"f.yaml:3: could not find expected ':'; mend the YAML syntax"}},
		{"key among items", "name: x\nitems:\n- a\n- b\nb: c\n- d\n", []string{"f.yaml:6: did not find expected key; mend the YAML syntax"}},
		{"wrong indentation", "free:\n  x: {level: 1}\n\n y: {level: 1}\n", []string{"f.yaml:4: did not find expected key; mend the YAML syntax"}},
		{"first line", "name: @x\n", []string{"f.yaml:1: found character that cannot start any token; mend the YAML syntax"}},
		{"anchor that isn't there", "name: x\nitems: *a\non: true\n", []string{"f.yaml:2: unknown anchor 'a' referenced; mend the YAML syntax"}},
		{"open bracket", "name: x\nitems: [a,\n  b\non: true\n", []string{"f.yaml:2: did not find expected ',' or ']'; close the bracket"}},
		{"open quotation", "name: x\nitems: [\"a]\non: true\n", []string{"f.yaml:2: found unexpected end of stream; close the quotation"}},
		{"two documents", "name: x\n---\nname: y\n", []string{`f.yaml: the file holds more than one document; remove what follows the second "---"`}},
		{"broken second document", "name: x\n---\n[\n", []string{"f.yaml:3: did not find expected node content; mend the YAML syntax"}},
		{"alias", "name: &a x\nitems: [*a]\n", []string{
			"f.yaml:1:7: anchors and aliases are not allowed; write the value out",
			"f.yaml:2:9: anchors and aliases are not allowed; write the value out",
		}},
		{"no mapping", "- a\n", []string{`f.yaml:1:1: want a mapping, have a list; write a mapping, "key: value"`}},
		{"unknown keys", "name: x\nCounts: 3\nzebra: 1\nfree: {x: {lvel: 1}}\n", []string{
			`f.yaml:2:1: Counts: unknown key; did you mean "count"?`,
			"f.yaml:3:1: zebra: unknown key; known here: name, on, count, within, items, free",
			`f.yaml:4:12: free.x.lvel: unknown key; did you mean "level"?`,
		}},
		{"repeated key", "name: x\nname: y\n", []string{"f.yaml:2:1: name: the key is there twice, first in line 1; remove one"}},
		{"mapping as key", "name: x\n? {a: b}\n: c\n", []string{"f.yaml:2:3: want a plain key, have a mapping; write a plain key"}},
		{"missing key", "on: true\n", []string{`f.yaml:1:1: name: is missing; add "name: x"`}},
		{"no value", "name:\n", []string{"f.yaml:1:6: name: has no value; give it a value or remove the key"}},
		{"wrong kinds", "name: [x]\non: yes\ncount: {}\nwithin: 90\nitems: a\nfree: x\n", []string{
			"f.yaml:1:7: name: want a text, have a list; write one value",
			`f.yaml:2:5: on: want true or false, have "yes"`,
			"f.yaml:3:8: count: want a number, have a mapping; write a number from 1 to 10",
			`f.yaml:4:9: within: want a time span, have "90"; write a number with its unit, such as "90s", "15m" or "72h"`,
			`f.yaml:5:8: items: want a list, have "a"; write a list, such as "[a, b]"`,
			`f.yaml:6:7: free: want a mapping, have "x"; write a mapping, "key: value"`,
		}},
		{"wrong values", "name: x\ncount: 11\nwithin: 2h\nitems: [a, bad, a]\n", []string{
			`f.yaml:2:8: count: want a number from 1 to 10, have "11"`,
			"f.yaml:3:9: within: want a time span from 1s to 1h0m0s, have 2h",
			"f.yaml:4:12: items[1]: bad item",
			`f.yaml:4:17: items[2]: "a" is there twice; remove one`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := Read("f.yaml", []byte(c.doc))
			readAll(d)
			var got string
			if err := d.Err(); err != nil {
				got = err.Error()
			}
			if want := strings.Join(c.want, "\n"); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func TestNearest(t *testing.T) {
	known := []string{"maxCount", "maxWindow", "level", "on", "plmns"}
	for word, want := range map[string]string{
		"max_count": "maxCount", "MaxCuont": "maxCount", "maxwindows": "maxWindow", "levle": "level", "plnms": "plmns",
		"zebra": "", "no": "", "x": "", strings.Repeat("a", 1000): "",
	} {
		if got := Nearest(word, known); got != want {
			t.Errorf("Nearest(%.20q) = %q, want %q", word, got, want)
		}
	}
}

func TestPlaces(t *testing.T) {
	d := Read("f.yaml", []byte("a:\n  b: [x]\n"))
	m := d.Root().Map()
	item := m.Get("a").Map().Get("b").List()[0]
	if item.Path() != "a.b[0]" || item.Where() != "f.yaml:2" || item.Line() != 2 || !item.Present() {
		t.Errorf("%s at %s", item.Path(), item.Where())
	}
	if v := m.Get("none"); v.Present() || v.Where() != "" || v.Line() != 0 || v.Text() != "" || v.List() != nil {
		t.Error("an absent value has something")
	}
}

// No document makes the reader panic, and every mistake has words.
func FuzzRead(f *testing.F) {
	for _, s := range []string{"name: x\n", "a: &a [*a]\n", "? {a: b}\n: c", "---\n---\n", "<<: {a: b}", "{a: b, a: c}", "!!binary x", "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		d := Read("f", raw)
		readAll(d)
		var ms Mistakes
		if errors.As(d.Err(), &ms) {
			for _, m := range ms {
				if m.Text == "" {
					t.Fatalf("a mistake without words: %+v", m)
				}
			}
		}
	})
}
