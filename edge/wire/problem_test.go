package wire

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
)

// declaredCodes reads the constants of type Code out of the source, so that one
// without a Kind can't be forgotten.
func declaredCodes(t *testing.T) []Code {
	file, err := parser.ParseFile(token.NewFileSet(), "problem.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var codes []Code
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if typ, ok := spec.Type.(*ast.Ident); ok && typ.Name == "Code" {
			text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			codes = append(codes, Code(text))
		}
		return true
	})
	return codes
}

func TestEveryCodeHasAKind(t *testing.T) {
	codes := declaredCodes(t)
	if len(codes) != len(kinds) {
		t.Errorf("%d codes are declared, %d have a kind", len(codes), len(kinds))
	}
	for _, c := range codes {
		k, ok := c.Kind()
		if !ok {
			t.Errorf("%s has no kind", c)
			continue
		}
		if k.Status < 400 || k.Status > 599 || !strings.HasSuffix(k.Title, ".") || !strings.HasSuffix(k.Hint, ".") {
			t.Errorf("%s: status %d, title %q, hint %q; want an error status and two sentences", c, k.Status, k.Title, k.Hint)
		}
	}
}

func TestProblemIsWrittenWhole(t *testing.T) {
	p := NewProblem(CodeNoQuorum, "Two of three nodes are away.")
	p.RetryAfterSeconds = 2
	p.Reasons = []Reason{{Rule: "quorum", Text: "1 of 3"}}
	w := httptest.NewRecorder()
	p.Write(w)
	if w.Code != 503 || w.Header().Get("Content-Type") != "application/problem+json" || w.Header().Get("Retry-After") != "2" {
		t.Errorf("status %d, headers %v", w.Code, w.Header())
	}
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"type": "urn:sealedge:problem:no-quorum", "status": 503.0, "code": "no-quorum", "detail": p.Detail,
		"title": p.Title, "hint": p.Hint, "retry_after_seconds": 2.0,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	for _, part := range []string{"no-quorum", p.Title, p.Detail, p.Hint} {
		if !strings.Contains(p.Error(), part) {
			t.Errorf("%q is not in %q", part, p.Error())
		}
	}
}

func TestUnknownCodeIsOurFailure(t *testing.T) {
	if p := NewProblem("no-such-code", "x"); p.Code != CodeInternal || p.Status != 500 {
		t.Errorf("got %+v, want an internal problem", p)
	}
}

func TestConciseNamesTheCode(t *testing.T) {
	c := NewProblem(CodeReceiptInvalid, "The use is another barrel's.").Concise()
	var back ConciseProblem
	if err := UnmarshalCBOR(MarshalCBOR(c), &back); err != nil || back != c || back.Title != CodeReceiptInvalid {
		t.Errorf("%+v comes back as %+v, %v", c, back, err)
	}
}
