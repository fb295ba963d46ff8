package telemetry

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const tracesFile = "../../docs/traces.md"

// The tables of docs/traces.md are made of the definitions. tools/e2e holds them against
// what running nodes export.
func TestTracesDocumentIsCurrent(t *testing.T) {
	raw, err := os.ReadFile(tracesFile)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- spans -->\n", "<!-- end -->"
	before, rest, ok := strings.Cut(string(raw), begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("docs/traces.md has no %q and %q", begin, end)
	}
	var b strings.Builder
	code := func(names []string) string {
		for i := range names {
			names[i] = "`" + names[i] + "`"
		}
		return strings.Join(names, ", ")
	}
	b.WriteString("| span | under | attributes | what |\n|---|---|---|---|\n")
	for _, s := range spanKinds {
		under := code(slices.Clone(s.parents))
		if under == "" {
			under = "it is a root"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", s.name, under, code(slices.Clone(s.attributes)), s.help)
	}
	b.WriteString("\n| attribute | type | what |\n|---|---|---|\n")
	for _, a := range attributeKinds {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", a.key, map[string]string{"INT64": "number", "STRING": "text"}[a.kind.String()], a.help)
	}
	want := before + begin + b.String() + end + after
	if *write {
		if err := os.WriteFile(tracesFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want != string(raw) {
		t.Error("docs/traces.md is not what the definitions say: run 'go generate ./edge/telemetry'")
	}
}

// The spans and attributes that the parts make are those that are defined: what they
// call otherwise would never leave.
func TestSpansAreDefined(t *testing.T) {
	made := map[string]bool{}
	for _, room := range []string{"apn/gtpc", "cluster", "edge/phoneapi", "edge/sealedge"} {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("../..", room, "spans.go"), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			v, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			for i, name := range v.Names {
				if !strings.HasPrefix(name.Name, "span") && !strings.HasPrefix(name.Name, "key") || i >= len(v.Values) {
					continue
				}
				value := v.Values[i]
				if call, ok := value.(*ast.CallExpr); ok { // attribute.Key("...")
					value = call.Args[0]
				}
				text, ok := value.(*ast.BasicLit)
				if !ok {
					continue
				}
				s, err := strconv.Unquote(text.Value)
				if err != nil {
					t.Fatal(err)
				}
				made[s] = true
			}
			return true
		})
	}
	defined := map[string]bool{}
	for _, s := range spanKinds {
		defined[s.name] = true
		for _, key := range s.attributes {
			if !slices.ContainsFunc(attributeKinds, func(a attributeKind) bool { return string(a.key) == key }) {
				t.Errorf("%s has the attribute %s, which is not defined", s.name, key)
			}
		}
		for _, above := range s.parents {
			if !slices.ContainsFunc(spanKinds, func(s spanKind) bool { return s.name == above }) {
				t.Errorf("%s is under %s, which is not defined", s.name, above)
			}
		}
		if !strings.HasSuffix(s.help, ".") {
			t.Errorf("%s: its help is no sentence", s.name)
		}
	}
	for _, a := range attributeKinds {
		defined[string(a.key)] = true
	}
	for name := range made {
		if !defined[name] {
			t.Errorf("%s is made and not defined", name)
		}
	}
	for name := range defined {
		if !made[name] {
			t.Errorf("%s is defined and not made", name)
		}
	}
}
