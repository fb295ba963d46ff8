package floorplan

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// forbidden are the names of packages that a pure package may import for their
// types but must not call: clocks, timers, sockets.
var forbidden = map[string][]string{
	"time": {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"},
	"net":  {"Listen", "ListenPacket", "ListenUDP", "ListenTCP", "Dial", "DialTimeout", "DialUDP", "DialTCP", "LookupHost", "LookupIP"},
	"slog": {"Debug", "Info", "Warn", "Error", "Default", "New"},
	"rand": {"Read", "Text", "Int", "IntN", "Uint32", "Uint64"},
}

// impurities lists what makes a file impure.
func impurities(fset *token.FileSet, file *ast.File) []string {
	var bad []string
	note := func(pos token.Pos, what string) {
		bad = append(bad, fmt.Sprintf("%s: %s", fset.Position(pos), what))
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			note(n.Pos(), "starts a goroutine")
		case *ast.SelectorExpr:
			if pkg, ok := n.X.(*ast.Ident); ok && pkg.Obj == nil && slices.Contains(forbidden[pkg.Name], n.Sel.Name) {
				note(n.Pos(), "uses "+pkg.Name+"."+n.Sel.Name)
			}
		}
		return true
	})
	return bad
}

func TestPurity(t *testing.T) {
	checked := 0
	for room, floor := range floors {
		if floor > 3 {
			continue
		}
		files, err := filepath.Glob(filepath.Join("../..", room, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			src, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, name, src, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range impurities(fset, f) {
				t.Error(b + ", but " + room + " is pure: pass it in")
			}
			checked++
		}
	}
	if checked == 0 {
		t.Error("no file was checked")
	}
}

// The test itself must be able to fail.
func TestImpuritiesAreSeen(t *testing.T) {
	for src, want := range map[string]int{
		"import \"time\"; func f() { _ = time.Now() }":            1,
		"import \"net\"; func f() { net.Listen(\"tcp\", \"\") }":  1,
		"func f() { go f() }":                                     1,
		"import \"time\"; func f(t time.Time) { t.Unix() }":       0,
		"type x struct{ Now int }; func f(time x) { time.Now++ }": 0,
	} {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, "x.go", "package x; "+src, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := impurities(fset, f); len(got) != want {
			t.Errorf("%s: %v, want %d", src, got, want)
		}
	}
}
