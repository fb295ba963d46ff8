package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"

	"github.com/sealedge/sealedge/policy/document"
)

var write = flag.Bool("write", false, "write docs/policy.schema.json")

const schemaFile = "../../docs/policy.schema.json"

// The schema that is shipped is this one: go test ./policy/bundle -run Shipped -write.
func TestShippedSchema(t *testing.T) {
	if *write {
		if err := os.WriteFile(schemaFile, Schema(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(schemaFile)
	if err != nil || !bytes.Equal(have, Schema()) {
		t.Errorf("%s is not the schema (%v): run go test ./policy/bundle -run Shipped -write", schemaFile, err)
	}
}

func compiledSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(SchemaID, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(SchemaID)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// instance is a document as an editor sees it: YAML 1.2, whose dates are texts and
// whose keys are too.
func instance(t testing.TB, doc []byte) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal(doc, &v); err != nil {
		t.Fatal(err)
	}
	return plain(v)
}

func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
	case map[any]any:
		out := map[string]any{}
		for k := range v {
			out[fmt.Sprint(k)] = plain(v[k])
		}
		return out
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case time.Time:
		return v.Format(time.DateOnly)
	}
	return v
}

// Every document that Parse takes is one by the schema.
func TestSchemaAcceptsWhatParseAccepts(t *testing.T) {
	s := compiledSchema(t)
	accepted := 0
	for _, file := range []string{"every", "rules", "carriers"} {
		doc, err := os.ReadFile("testdata/" + file + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := Parse(file, doc); err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(instance(t, doc)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		// So is it when a value is replaced by another that is found in it.
		lines := strings.Split(string(doc), "\n")
		d := newDice(6)
		for range 400 {
			words := strings.FieldsFunc(string(doc), func(r rune) bool { return strings.ContainsRune(" \n:,[]{}", r) })
			changed := slices.Clone(lines)
			i := d.IntN(len(lines))
			if old := strings.FieldsFunc(lines[i], func(r rune) bool { return strings.ContainsRune(" :,[]{}", r) }); len(old) > 0 {
				changed[i] = strings.Replace(lines[i], one(d, old), one(d, words), 1)
			}
			text := []byte(strings.Join(changed, "\n"))
			if _, _, err := Parse(file, text); err != nil {
				continue
			}
			accepted++
			if err := s.Validate(instance(t, text)); err != nil {
				t.Errorf("%s, %q: %v", file, changed[i], err)
			}
		}
	}
	if err := s.Validate(instance(t, Default(Params{}))); err != nil {
		t.Error(err)
	}
	if accepted < 100 {
		t.Errorf("only %d changed documents were accepted", accepted)
	}
}

// Words that Parse doesn't know, the schema doesn't either.
func TestSchemaRefuses(t *testing.T) {
	s := compiledSchema(t)
	raw, err := os.ReadFile("testdata/every.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{
		{"kind: Policy", "kind: Polcy"},
		{"effect: permit\n      why", "effect: allow\n      why"},
		{"action: use\n      effect", "action: used\n      effect"},
		{"handset: pool", "handset: pol"},
		{"handset: exact", "handset: any"},
		{"credentials: [certificate]", "credentials: [cert]"},
		{"methods: [face]", "methods: [smile]"},
		{"days: [mon, tue]", "days: [monday]"},
		{`from: "08:00", to: "20:00"`, `from: "8:00", to: "20:00"`},
		{"groups: [staff]\n", "groups: []\n"},
		{"paths: [carrier]", "paths: [gtp]"},
		{"maxCount: 20", "maxCount: 0"},
		{"level: 1, maxCount: 20", "level: 10, maxCount: 20"},
		{"maxWindow: 72h", "maxWindow: 72"},
		{"authentication: chap", "authentication: eap"},
		{"versions: [gtpv1", "versions: [gtpv3"},
		{"plmns: [46001, ", `plmns: ["4600", `},
		{"decision: permit", "decision: allow"},
		{"control: 2", "control: 10"},
		{"breakGlass: true", "breakGlass: yes please"},
		{"effect: permit\n      match: {sealTypes", "match: {sealTypes"},
		{"- name: seal.corp\n      gateway: ", "- gateway: "},
	} {
		if strings.Count(string(raw), c[0]) != 1 {
			t.Fatalf("%q is there %d times", c[0], strings.Count(string(raw), c[0]))
		}
		doc := []byte(strings.Replace(string(raw), c[0], c[1], 1))
		if _, _, err := Parse("p", doc); err == nil {
			t.Errorf("%q: Parse accepts it", c[1])
		}
		if s.Validate(instance(t, doc)) == nil {
			t.Errorf("%q: the schema accepts it", c[1])
		}
	}
}

// At every mapping the schema has the keys that Parse knows, and no others: a
// key that neither knows is put there, and Parse says which it does know.
func TestSchemaHasEveryKey(t *testing.T) {
	raw, err := os.ReadFile("testdata/every.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	doc := instance(t, raw)
	w := keyWalk{t: t, root: root, doc: doc}
	w.walk(root, doc, "")
	if w.seen < 30 {
		t.Errorf("only %d mappings were compared", w.seen)
	}
}

type keyWalk struct {
	t    *testing.T
	root map[string]any
	doc  any
	seen int
}

func (w *keyWalk) walk(s map[string]any, v any, path string) {
	w.t.Helper()
	if name, ok := s["$ref"].(string); ok {
		s = w.root["$defs"].(map[string]any)[strings.TrimPrefix(name, "#/$defs/")].(map[string]any)
	}
	switch v := v.(type) {
	case []any:
		for i, item := range v {
			w.walk(s["items"].(map[string]any), item, fmt.Sprintf("%s[%d]", path, i))
		}
	case map[string]any:
		props, _ := s["properties"].(map[string]any)
		if props == nil { // keys that the document names
			for k, item := range v {
				w.walk(s["additionalProperties"].(map[string]any), item, path+"."+k)
			}
			return
		}
		w.compare(props, v, path)
		props = w.byAction(s, props, v)
		for k, item := range v {
			if p, ok := props[k].(map[string]any); ok {
				w.walk(p, item, path+"."+k)
			}
		}
	}
}

// byAction has what the action of a rule lets it match.
func (w *keyWalk) byAction(s, props, v map[string]any) map[string]any {
	branches, _ := s["allOf"].([]any)
	for _, b := range branches {
		b := b.(map[string]any)
		if b["if"].(map[string]any)["properties"].(map[string]any)["action"].(map[string]any)["const"] == v["action"] {
			out := map[string]any{}
			for k, p := range props {
				out[k] = p
			}
			for k, p := range b["then"].(map[string]any)["properties"].(map[string]any) {
				out[k] = p
			}
			return out
		}
	}
	return props
}

func (w *keyWalk) compare(props, v map[string]any, path string) {
	const odd = "qqqqqqqqqqqq"
	v[odd] = 1
	defer delete(v, odd)
	doc, err := yaml.Marshal(w.doc)
	if err != nil {
		w.t.Fatal(err)
	}
	_, _, err = Parse("p", doc)
	var ms document.Mistakes
	errors.As(err, &ms)
	for _, m := range ms {
		known, ok := strings.CutPrefix(m.Mend, "known here: ")
		if !ok || m.Path != strings.TrimPrefix(path+"."+odd, ".") {
			continue
		}
		w.seen++
		var want []string
		for k := range props {
			want = append(want, k)
		}
		got := strings.Split(known, ", ")
		slices.Sort(want)
		slices.Sort(got)
		if got = slices.Compact(got); !slices.Equal(got, want) {
			w.t.Errorf("at %q Parse knows\n%v\nand the schema\n%v", path, got, want)
		}
		return
	}
	w.t.Errorf("at %q Parse takes an odd key: %v", path, err)
}
