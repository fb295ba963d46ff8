package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"mime"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"

	"github.com/sealedge/sealedge/docs/api"
	"github.com/sealedge/sealedge/edge/wire"
)

var document = sync.OnceValue(func() (doc any) {
	if err := yaml.Unmarshal(api.Admin, &doc); err != nil {
		panic(err)
	}
	return doc
})

// contract compiles parts of the document, which are JSON schemas (OpenAPI 3.1).
var contract = sync.OnceValue(func() *jsonschema.Compiler {
	raw, err := json.Marshal(document())
	if err != nil {
		panic(err)
	}
	plain, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		panic(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	if err := c.AddResource("admin.json", plain); err != nil {
		panic(err)
	}
	return c
})

// compiling is because a Compiler isn't for several tests at a time.
var compiling sync.Mutex

func schemaAt(pointer ...string) (*jsonschema.Schema, error) {
	compiling.Lock()
	defer compiling.Unlock()
	pointer = slices.Clone(pointer)
	for i, p := range pointer {
		pointer[i] = strings.ReplaceAll(strings.ReplaceAll(p, "~", "~0"), "/", "~1")
	}
	return contract().Compile("admin.json#/" + strings.Join(pointer, "/"))
}

// documented tells whether the document has a place.
func documented(pointer ...string) bool {
	v := document()
	for _, p := range pointer {
		m, _ := v.(map[string]any)
		if v = m[p]; v == nil {
			return false
		}
	}
	return true
}

func check(s *jsonschema.Schema, body []byte) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

// asDocumented compares an answer to a request with the document.
func (s *Server) asDocumented(r *http.Request, w *httptest.ResponseRecorder) error {
	kind, _, err := mime.ParseMediaType(w.Header().Get("Content-Type"))
	if err != nil && w.Code != http.StatusNoContent {
		return fmt.Errorf("the answer has no media type: %w", err)
	}
	if w.Code >= 400 {
		if kind != wire.ContentTypeProblem {
			return fmt.Errorf("status %d with %s", w.Code, kind)
		}
		schema, err := schemaAt("components", "schemas", "Problem")
		if err != nil {
			return err
		}
		return check(schema, w.Body.Bytes())
	}
	_, pattern := s.mux.Handler(r)
	method, path, _ := strings.Cut(pattern, " ")
	if !strings.HasPrefix(path, "/v1/") {
		return nil
	}
	operation := []string{"paths", path, strings.ToLower(method), "responses", strconv.Itoa(w.Code)}
	if !documented(operation...) {
		return fmt.Errorf("%s: status %d is not documented", pattern, w.Code)
	}
	if w.Code == http.StatusNoContent {
		return nil
	}
	schema, err := schemaAt(append(operation, "content", kind, "schema")...)
	if err != nil {
		return fmt.Errorf("%s: %s is not documented: %w", pattern, kind, err)
	}
	if kind != "application/json" {
		return nil
	}
	if err := check(schema, w.Body.Bytes()); err != nil {
		return fmt.Errorf("%s: %s: %w", pattern, w.Body, err)
	}
	return nil
}

func TestDocumentIsServed(t *testing.T) {
	s, _ := newServer(t)
	w := s.send(t, operator, "GET", "/v1/openapi.yaml", "", "")
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/yaml" || !bytes.Equal(w.Body.Bytes(), api.Admin) {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if !bytes.HasPrefix(w.Body.Bytes(), []byte("openapi: 3.1.0\n")) {
		t.Errorf("it is no OpenAPI 3.1 document: %.40s", w.Body)
	}
}

// Every schema and every place that refers to one is sound.
func TestDocumentIsSound(t *testing.T) {
	var doc struct {
		Components struct{ Schemas map[string]any }
		Paths      map[string]map[string]any
	}
	if err := yaml.Unmarshal(api.Admin, &doc); err != nil {
		t.Fatal(err)
	}
	for name := range doc.Components.Schemas {
		if _, err := schemaAt("components", "schemas", name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	var walk func(where []string, v any)
	walk = func(where []string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, part := range v {
				here := append(slices.Clone(where), k)
				if k == "schema" {
					if _, err := schemaAt(here...); err != nil {
						t.Errorf("%v: %v", here, err)
					}
				}
				if ref, ok := part.(string); k == "$ref" && ok {
					if !documented(strings.Split(strings.TrimPrefix(ref, "#/"), "/")...) {
						t.Errorf("%v: there is no %s", where, ref)
					}
				}
				walk(here, part)
			}
		case []any:
			for i, part := range v {
				walk(append(slices.Clone(where), strconv.Itoa(i)), part)
			}
		}
	}
	for path, operations := range doc.Paths {
		for method, operation := range operations {
			walk([]string{"paths", path, method}, operation)
			o, _ := operation.(map[string]any)
			if method == "parameters" {
				continue
			}
			if o["summary"] == nil || o["responses"] == nil {
				t.Errorf("%s %s has no summary or no answers", method, path)
			}
			if answers, _ := o["responses"].(map[string]any); answers["default"] == nil {
				t.Errorf("%s %s documents no problem", method, path)
			}
		}
	}
}

// The codes of problems are those that the program has.
func TestDocumentListsEveryProblem(t *testing.T) {
	listed, err := api.Enum(api.Admin, "Problem", "code")
	if err != nil {
		t.Fatal(err)
	}
	served := map[string]bool{}
	named := wireCodes(t)
	for _, c := range codes {
		served[string(c.code)] = true
	}
	for _, file := range sources(t, ".") {
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			at := 0 // of the code among the arguments
			switch f := call.Fun.(type) {
			case *ast.Ident:
				if f.Name != "refuse" {
					return true
				}
				at = 1
			case *ast.SelectorExpr:
				if f.Sel.Name != "NewProblem" {
					return true
				}
			default:
				return true
			}
			switch c := call.Args[at].(type) {
			case *ast.BasicLit:
				text, _ := strconv.Unquote(c.Value)
				served[text] = true
			case *ast.SelectorExpr:
				if text := named[c.Sel.Name]; text != "" {
					served[text] = true
				}
			}
			return true
		})
	}
	for _, c := range listed {
		if !served[c] {
			t.Errorf("%q is documented, and nothing answers it", c)
		}
		delete(served, c)
	}
	for c := range served {
		t.Errorf("%q is answered, and not documented: add it to Problem.code", c)
	}
}

// wireCodes are the constants of edge/wire by name.
func wireCodes(t *testing.T) map[string]string {
	t.Helper()
	named := map[string]string{}
	for _, file := range sources(t, "../wire") {
		ast.Inspect(file, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok && len(v.Names) == 1 && len(v.Values) == 1 && strings.HasPrefix(v.Names[0].Name, "Code") {
				if c, ok := v.Values[0].(*ast.BasicLit); ok {
					named[v.Names[0].Name], _ = strconv.Unquote(c.Value)
				}
			}
			return true
		})
	}
	return named
}

func sources(t *testing.T, dir string) []*ast.File {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), dir+"/"+e.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}
