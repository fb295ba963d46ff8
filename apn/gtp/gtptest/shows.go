package gtptest

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// catalogueText is the list of what TS 29.274, TS 29.060 and TS 29.281 ask of a
// PGW and GGSN: one row a line, its columns separated by "|".
//
//go:embed conformance.txt
var catalogueText string

// Row is one line of the catalogue: a procedure, or an information element in
// it, and what the gateway does about it.
type Row struct {
	Spec      string // "29.274"
	Clause    string // "7.2.1"; empty where none was verified
	Procedure string // "Create Session Request"
	Element   string // "IMSI"; empty: the procedure as such
	Status    Status
	Note      string // the cause of a refusal, why it isn't applicable
}

// Status is what the gateway does about a row.
type Status string

// The statuses. Only NotApplicable needs no test.
const (
	Yes           Status = "yes"
	Refused       Status = "refused"     // with the cause in the note
	PassedOver    Status = "passed over" // received, and as good as not there
	NotApplicable Status = "n/a"         // never received or sent, for the reason in the note
)

// ID names the row: "29.274/create-session-request/imsi".
func (r Row) ID() string {
	id := r.Spec + "/" + slug(r.Procedure)
	if r.Element != "" {
		id += "/" + slug(r.Element)
	}
	return id
}

func slug(s string) string {
	return strings.Join(strings.FieldsFunc(strings.ToLower(s), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	}), "-")
}

// Catalogue reads the catalogue, conformance.txt. A line that can't be read is
// an error, as is a row that is there twice or says n/a without a reason.
var Catalogue = sync.OnceValues(func() ([]Row, error) { return parse(catalogueText) })

func parse(text string) ([]Row, error) {
	var rows []Row
	seen := map[string]bool{}
	for n, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		f := strings.Split(line, "|")
		for i := range f {
			f[i] = strings.TrimSpace(f[i])
		}
		if len(f) == 5 {
			f = append(f, "")
		}
		if len(f) != 6 {
			return nil, fmt.Errorf("conformance.txt:%d: %d columns, want spec|clause|procedure|element|status|note", n+1, len(f))
		}
		r := Row{f[0], f[1], f[2], f[3], Status(f[4]), f[5]}
		switch {
		case r.Spec == "" || r.Procedure == "":
			return nil, fmt.Errorf("conformance.txt:%d: a row needs a specification and a procedure", n+1)
		case r.Status != Yes && r.Status != Refused && r.Status != PassedOver && r.Status != NotApplicable:
			return nil, fmt.Errorf("conformance.txt:%d: unknown status %q", n+1, r.Status)
		case (r.Status == NotApplicable || r.Status == Refused) && r.Note == "":
			return nil, fmt.Errorf("conformance.txt:%d: status %q needs a note", n+1, r.Status)
		case seen[r.ID()]:
			return nil, fmt.Errorf("conformance.txt:%d: %s is there twice", n+1, r.ID())
		}
		seen[r.ID()] = true
		rows = append(rows, r)
	}
	return rows, nil
}

// ResultsVariable names the directory that Shows leaves its results in; unset,
// it leaves none. ResultsSuffix is what its files' names end in: each line is a
// row's ID, the directory of the test's package and the test, between tabs.
const (
	ResultsVariable = "SEALEDGE_CONFORMANCE"
	ResultsSuffix   = ".shown"
)

// Shows says that the calling test shows rows of the catalogue, by their IDs. It
// fails the test when a row isn't there. When the test passes, that is recorded
// for docs/conformance.md.
func Shows(t testing.TB, ids ...string) {
	t.Helper()
	rows, err := Catalogue()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]Status{}
	for _, r := range rows {
		known[r.ID()] = r.Status
	}
	for _, id := range ids {
		switch s, ok := known[id]; {
		case !ok:
			t.Errorf("conformance.txt has no row %s", id)
		case s == NotApplicable:
			t.Errorf("conformance.txt says that %s is not applicable, and this test shows it", id)
		}
	}
	dir := os.Getenv(ResultsVariable)
	if dir == "" {
		return
	}
	t.Cleanup(func() {
		if t.Failed() || t.Skipped() {
			return
		}
		if err := record(dir, t.Name(), ids); err != nil {
			t.Error(err)
		}
	})
}

// ShowsIn is Shows for several rows of one procedure: "29.274/echo-request", then
// the last parts of their IDs; "" is the procedure as such.
func ShowsIn(t testing.TB, procedure string, elements ...string) {
	t.Helper()
	ids := make([]string, 0, len(elements))
	for _, e := range elements {
		if e != "" {
			e = "/" + e
		}
		ids = append(ids, procedure+e)
	}
	Shows(t, ids...)
}

// record writes one file a test: packages run at the same time.
func record(dir, test string, ids []string) error {
	room, err := os.Getwd() // the package's directory, as go test has it
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "*"+ResultsSuffix)
	if err != nil {
		return err
	}
	for _, id := range ids {
		fmt.Fprintf(f, "%s\t%s\t%s\n", id, filepath.ToSlash(room), test)
	}
	return f.Close()
}
