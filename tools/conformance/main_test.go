package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

// The page has the rows of the catalogue and no others, proves each claim by a
// test, and names tests that there are. That they pass and show the row only
// `make conformance` can say.
func TestPageIsOfTheCatalogue(t *testing.T) {
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := gtptest.Catalogue()
	if err != nil {
		t.Fatal(err)
	}
	shown := shownOn(doc)
	if d := difference(doc, render(rows, shown)); d != "" {
		t.Errorf("the page is not that of the catalogue; run `make conformance`\n%s", d)
	}
	if err := unproven(rows, shown); err != nil {
		t.Error(err)
	}
	sources := map[string]string{}
	for id, names := range shown {
		for _, name := range names {
			room, test, _ := strings.Cut(name, ".Test")
			if _, read := sources[room]; !read {
				sources[room] = source(t, filepath.Join(root, room))
			}
			if !regexp.MustCompile(`(?m)^func Test` + regexp.QuoteMeta(test) + `\(`).MatchString(sources[room]) {
				t.Errorf("%s is said to be shown by %s, which is not there", id, name)
			}
		}
	}
}

// source is all that a package's tests are written in.
func source(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	return all.String()
}

func TestResults(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "results")
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := readResults(dir, root); err == nil {
		t.Error("no results are as good as some")
	}
	write("1.shown", "29.274/echo-request\t"+root+"/apn/gtp\tTestEcho/of_two\n29.274/echo-response\t"+root+"/apn/gtp\tTestEcho\n")
	write("2.shown", "29.274/echo-request\t"+root+"/apn/gtp\tTestEcho\n29.274/echo-request\t"+root+"/apn/a\tTestZ\n")
	write("other", "rubbish")
	shown, err := readResults(dir, root)
	if err != nil || len(shown) != 2 || !slices.Equal(shown["29.274/echo-request"], []string{"apn/a.TestZ", "apn/gtp.TestEcho"}) {
		t.Errorf("%v, %v", shown, err)
	}
	rows := []gtptest.Row{
		{Spec: "29.274", Procedure: "Echo Request", Status: gtptest.Yes}, {Spec: "29.274", Procedure: "Create Bearer Request", Status: gtptest.NotApplicable, Note: "why"},
	}
	if err := unproven(rows, shown); err != nil {
		t.Error(err)
	}
	for _, s := range []gtptest.Status{gtptest.Yes, gtptest.Refused, gtptest.PassedOver} {
		claim := gtptest.Row{Spec: "29.274", Procedure: "Change Notification Request", Status: s}
		if err := unproven(append(rows, claim), shown); err == nil || !strings.Contains(err.Error(), "\t29.274/change-notification-request") {
			t.Errorf("%s: %v", s, err)
		}
	}
	for what, text := range map[string]string{"two columns": "a\tb\n", "elsewhere": "a\t/nowhere\tTestX\n"} {
		write("3.shown", text)
		if _, err := readResults(dir, root); err == nil {
			t.Errorf("%s: taken", what)
		}
	}
}

func TestClausesAreInOrder(t *testing.T) {
	want := []string{"5.1", "7.2", "7.2.1", "7.2.2", "7.2.10.1", "7.5", "7.5A.1.3", "7.5B.1.1", "7.10", "11.1", ""}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, compareClauses)
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// What is written is read again, whatever the order of the rows, and a page that
// was edited is found out.
func TestPage(t *testing.T) {
	rows := []gtptest.Row{
		{Spec: "29.281", Clause: "5.1", Procedure: "Header", Status: gtptest.PassedOver},
		{Spec: "29.274", Clause: "7.10", Procedure: "Fallback", Status: gtptest.NotApplicable, Note: "why"},
		{Spec: "29.274", Clause: "7.2.1", Procedure: "Create Session Request", Element: "IMSI", Status: gtptest.Yes},
	}
	shown := tests{"29.274/create-session-request/imsi": {"apn/gtp.TestA", "apn/session.TestB"}, "29.281/header": {"apn/gtpu.TestC"}}
	doc := render(rows, shown)
	if !bytes.Contains(doc, []byte("| 7.2.1 | Create Session Request | IMSI | yes | | apn/gtp.TestA, apn/session.TestB |\n| 7.10 | Fallback | | n/a | why | |\n")) {
		t.Errorf("%s", doc)
	}
	if again := shownOn(doc); difference(doc, render(rows, again)) != "" {
		t.Errorf("read as %v", again)
	}
	edited := bytes.Replace(doc, []byte("| IMSI | yes |"), []byte("| IMSI | n/a |"), 1)
	if d := difference(edited, doc); !strings.Contains(d, "+ | 7.2.1 | Create Session Request | IMSI | yes |") {
		t.Errorf("%q", d)
	}
	if d := difference(doc[:len(doc)-1], doc); d == "" {
		t.Error("a line that is missing is no difference")
	}
}
