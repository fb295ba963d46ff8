package demo

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
)

func TestTellerListsOnlyWhatWasShown(t *testing.T) {
	var out strings.Builder
	s := &teller{out: &out, began: time.Now()}
	if err := s.show("first", func() (string, error) { return "by doing it", nil }); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	if err := s.show("second", func() (string, error) { return "", broken }); !errors.Is(err, broken) || !strings.Contains(err.Error(), "second") {
		t.Errorf("a failure is told as %v", err)
	}
	s.table()
	table := out.String()[strings.Index(out.String(), "SHOWN"):]
	if !strings.Contains(table, "first") || strings.Contains(table, "second") || !strings.Contains(table, "All 1 shown") {
		t.Errorf("table:\n%s", table)
	}
}

func TestRefusedWith(t *testing.T) {
	refusal := wire.NewProblem(wire.CodeOrderExhausted, "")
	for _, c := range []struct {
		name string
		err  error
		ok   bool
	}{
		{"the refusal that is wanted", refusal, true},
		{"another refusal", wire.NewProblem(wire.CodeOrderNotOpen, ""), false},
		{"no refusal", nil, false},
		{"another error", errors.New("connection reset"), false},
	} {
		if got := refusedWith(c.err, wire.CodeOrderExhausted); (got == nil) != c.ok {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestPatientlyWaitsOutWhatPasses(t *testing.T) {
	tries := 0
	v, err := patiently(t.Context(), func() (int, error) {
		if tries++; tries < 3 {
			return 0, wire.NewProblem(wire.CodeBarrelOffline, "")
		}
		return 7, nil
	})
	if v != 7 || err != nil || tries != 3 {
		t.Errorf("%d, %v after %d tries", v, err, tries)
	}
	_, err = patiently(t.Context(), func() (int, error) { return 0, wire.NewProblem(wire.CodeOrderExhausted, "") })
	if refusedWith(err, wire.CodeOrderExhausted) != nil {
		t.Errorf("a refusal for good: %v", err)
	}
}

func TestAlterChangesAUsersName(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if err := os.WriteFile(from, []byte(`{"user":"li.wei"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := alter(from, to); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(to); string(b) != `{"user":"wu.min"}` {
		t.Errorf("altered to %s", b)
	}
	if err := alter(to, from); err == nil {
		t.Error("nothing to alter, and no error")
	}
}
