package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// auditChain makes n entries of a chain; tag makes it a chain of its own.
func auditChain(n int, tag string) []*command.AuditEntry {
	var prev [32]byte
	var out []*command.AuditEntry
	for i := range n {
		e := &command.AuditEntry{
			Sequence: uint64(i + 1), Index: uint64(i + 10), Term: 1,
			Command: fmt.Appendf(nil, "%s command %d", tag, i+1), Result: []byte("result"), PrevHash: slices.Clone(prev[:]),
		}
		prev = state.AuditHash(prev, e.Index, e.Term, e.Command, e.Result)
		e.Hash = slices.Clone(prev[:])
		out = append(out, e)
	}
	return out
}

const testSegment = 1000 // bytes: about seven entries

func openTestAudit(t *testing.T, dir string) *auditLog {
	t.Helper()
	a, _, err := openAuditLog(dir, testSegment)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.close() })
	return a
}

func appendAll(t *testing.T, a *auditLog, entries []*command.AuditEntry) {
	t.Helper()
	for _, e := range entries {
		if err := a.append(e); err != nil {
			t.Fatalf("entry %d: %v", e.Sequence, err)
		}
	}
	if err := a.flush(); err != nil {
		t.Fatal(err)
	}
}

// expectEntries reads a range and compares it with the chain.
func expectEntries(t *testing.T, a *auditLog, chain []*command.AuditEntry, first, last uint64) {
	t.Helper()
	next := first
	err := a.read(first, last, func(e *command.AuditEntry) error {
		if !proto.Equal(e, chain[next-1]) {
			t.Fatalf("entry %d is another one", next)
		}
		next++
		return nil
	})
	if err != nil || next != last+1 {
		t.Fatalf("entries %d to %d: got up to %d, %v", first, last, next-1, err)
	}
}

func TestAuditLogKeepsAllInOrder(t *testing.T) {
	dir, chain := t.TempDir(), auditChain(50, "")
	a := openTestAudit(t, dir)
	appendAll(t, a, chain[:30])
	expectEntries(t, a, chain, 1, 30)
	for _, r := range [][2]uint64{{1, 1}, {7, 9}, {30, 30}, {12, 30}} {
		expectEntries(t, a, chain, r[0], r[1])
	}
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	a = openTestAudit(t, dir)
	if got := a.tail(); got.sequence != 30 || !bytes.Equal(got.hash, chain[29].Hash) {
		t.Fatalf("reopened at %d", got.sequence)
	}
	appendAll(t, a, chain[10:]) // the log is replayed from a snapshot at 10
	expectEntries(t, a, chain, 1, 50)
	if g := a.gaps(); len(g) != 0 {
		t.Errorf("gaps %v", g)
	}
	if err := a.append(auditChain(52, "")[51]); !errors.Is(err, errAuditDiverged) {
		t.Errorf("a hole was appended: %v", err)
	}
}

func TestAuditLogNoticesAnotherPast(t *testing.T) {
	chain, other := auditChain(30, ""), auditChain(30, "other")
	for name, do := range map[string]func(*auditLog) error{
		"replayed":       func(a *auditLog) error { return a.append(other[4]) },
		"appended":       func(a *auditLog) error { return a.append(other[20]) },
		"in a snapshot":  func(a *auditLog) error { return a.restored(auditHead{10, other[9].Hash}) },
		"head of a snap": func(a *auditLog) error { return a.restored(auditHead{20, other[19].Hash}) },
	} {
		a := openTestAudit(t, t.TempDir())
		appendAll(t, a, chain[:20])
		if err := do(a); !errors.Is(err, errAuditDiverged) {
			t.Errorf("%s: %v", name, err)
		}
		if err := a.restored(auditHead{10, chain[9].Hash}); err != nil {
			t.Errorf("%s: the right past: %v", name, err)
		}
	}
}

// TestAuditTornTail cuts the open segment at every byte of its last two entries,
// and follows it with what a crash may leave.
func TestAuditTornTail(t *testing.T) {
	chain := auditChain(16, "")
	origin := t.TempDir()
	a := openTestAudit(t, origin)
	var ends []int64 // of the entries in the open segment
	for _, e := range chain {
		if appendAll(t, a, []*command.AuditEntry{e}); a.open == nil {
			ends = nil
		} else {
			ends = append(ends, a.open.size)
		}
	}
	open := filepath.Base(a.open.path)
	a.close()
	n := len(ends)
	if n < 3 {
		t.Fatalf("only %d entries in the open segment", n)
	}
	whole, err := os.ReadFile(filepath.Join(origin, open))
	if err != nil {
		t.Fatal(err)
	}
	base := t.TempDir()
	for size := ends[n-3]; size <= ends[n-1]; size++ {
		for name, rest := range map[string][]byte{"nothing": nil, "zeros": make([]byte, 512), "garbage": bytes.Repeat([]byte{0xa7}, 300)} {
			dir := filepath.Join(base, fmt.Sprint(size, name))
			if err := os.CopyFS(dir, os.DirFS(origin)); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, open), append(whole[:size:size], rest...), 0o600); err != nil {
				t.Fatal(err)
			}
			a, cut, err := openAuditLog(dir, testSegment)
			if err != nil {
				t.Fatalf("cut at %d, then %s: %v", size, name, err)
			}
			good := 2 // entries of the last three that are whole
			for good > 0 && ends[n-3+good] > size {
				good--
			}
			want := uint64(len(chain) - 2 + good)
			if got := a.tail().sequence; got != want {
				t.Fatalf("cut at %d, then %s: reopened at %d, want %d", size, name, got, want)
			}
			kept, _ := os.ReadFile(cut)
			if lost := size - ends[n-3+good] + int64(len(rest)); int64(len(kept)) != lost {
				t.Fatalf("cut at %d, then %s: %d bytes of %d kept", size, name, len(kept), lost)
			}
			appendAll(t, a, chain[want-3:]) // replayed from the log
			expectEntries(t, a, chain, 1, uint64(len(chain)))
			if a.open != nil {
				a.open.file.Close() // without the syncs of close
			}
		}
	}
}

func TestAuditDamage(t *testing.T) {
	for _, tc := range []struct {
		name   string
		damage func(t *testing.T, dir string)
		err    string
	}{
		{"a sealed segment lost its end", func(t *testing.T, dir string) {
			files, _ := filepath.Glob(filepath.Join(dir, "*.audit"))
			if err := os.Truncate(files[len(files)-1], 100); err != nil {
				t.Fatal(err)
			}
		}, "is damaged"},
		{"two segments overlap", func(t *testing.T, dir string) {
			name := sealedSegmentName(segment{first: 2, last: 3})
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "overlap"},
		{"two segments are open", func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, openSegmentName(99)), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "two audit segments are open"},
		{"a stranger's file", func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, "README.audit"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, ""},
		{"a fetch was broken off", func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, "00000000000000000001.part"), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			a := openTestAudit(t, dir)
			appendAll(t, a, auditChain(20, ""))
			a.close()
			tc.damage(t, dir)
			a, _, err := openAuditLog(dir, testSegment)
			if (err == nil) != (tc.err == "") || (err != nil && !strings.Contains(err.Error(), tc.err)) {
				t.Fatal(err)
			}
			if err == nil {
				a.close()
			}
			if parts, _ := filepath.Glob(filepath.Join(dir, "*.part")); err == nil && len(parts) > 0 {
				t.Errorf("%q stayed", parts)
			}
		})
	}
}

// TestAuditGapIsFilledOnlyByTheChain gives a log with a gap what peers might send.
func TestAuditGapIsFilledOnlyByTheChain(t *testing.T) {
	chain, other := auditChain(60, ""), auditChain(60, "other")
	// A chain that leaves the true one inside the gap, with right hashes.
	forged := slices.Clone(chain[:30])
	for i := 30; i < 40; i++ {
		e := proto.Clone(chain[i]).(*command.AuditEntry)
		e.Command = []byte("forged")
		e.PrevHash = forged[i-1].Hash
		h := state.AuditHash([32]byte(e.PrevHash), e.Index, e.Term, e.Command, e.Result)
		e.Hash = h[:]
		forged = append(forged, e)
	}
	changed := proto.Clone(chain[25]).(*command.AuditEntry)
	changed.Command = []byte("changed")
	for _, tc := range []struct {
		name string
		send []*command.AuditEntry
		err  string
	}{
		{"the chain", chain[20:40], ""},
		{"another chain", other[20:40], "doesn't follow"},
		{"a forged end", forged[20:40], "another one"},
		{"a changed entry", append(slices.Clone(chain[20:25]), changed), "was changed"},
		{"too few", chain[20:39], "didn't come"},
		{"none", nil, "didn't come"},
		{"too many", chain[20:41], "more entries"},
		{"a hole", append(slices.Clone(chain[20:30]), chain[31:41]...), "stands where"},
	} {
		for _, beyond := range []bool{false, true} { // entries after the gap exist
			t.Run(fmt.Sprintf("%s, beyond %v", tc.name, beyond), func(t *testing.T) {
				dir := t.TempDir()
				a := openTestAudit(t, dir)
				appendAll(t, a, chain[:20])
				if err := a.restored(auditHead{40, chain[39].Hash}); err != nil {
					t.Fatal(err)
				}
				if beyond {
					appendAll(t, a, chain[40:])
				}
				err := fillFrom(t, a, tc.send)
				if (err == nil) != (tc.err == "") || (err != nil && !strings.Contains(err.Error(), tc.err)) {
					t.Fatal(err)
				}
				if err == nil {
					expectEntries(t, a, chain, 1, a.tail().sequence)
				} else if err := a.read(1, 40, func(*command.AuditEntry) error { return nil }); !errors.Is(err, ErrAuditGap) {
					t.Errorf("a gap that wasn't filled reads as %v", err)
				}
				a.close()
				// Where the chain ends is known from the snapshot, not from the files.
				want := 0
				if err != nil && beyond {
					want = 1
				}
				if got := len(openTestAudit(t, dir).gaps()); got != want {
					t.Errorf("%d gaps after reopening, want %d", got, want)
				}
			})
		}
	}
}

// fillFrom fills the gap from 21 to 40 with what a peer sends.
func fillFrom(t *testing.T, a *auditLog, entries []*command.AuditEntry) error {
	t.Helper()
	gaps := a.gaps()
	if len(gaps) != 1 || gaps[0].first != 21 || gaps[0].last != 40 {
		t.Fatalf("gaps %+v", gaps)
	}
	if err := a.anchor(&gaps[0]); err != nil {
		t.Fatal(err)
	}
	fill := &auditFill{audit: a, gap: gaps[0], next: gaps[0].first, hash: gaps[0].before}
	defer fill.discard()
	for _, e := range entries {
		if err := fill.add(e); err != nil {
			return err
		}
	}
	return fill.commit()
}

// FuzzScanSegment: whatever a segment file holds, what is taken for good is a
// chain, and reads again as the same.
func FuzzScanSegment(f *testing.F) {
	var good bytes.Buffer
	for _, e := range auditChain(3, "") {
		if _, err := protodelim.MarshalTo(&good, e); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(good.Bytes())
	f.Add(good.Bytes()[:good.Len()-1])
	f.Add(make([]byte, 64))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		s := segment{first: 1, path: filepath.Join(dir, "segment")}
		if err := os.WriteFile(s.path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		size, last, err := scanSegment(s, make([]byte, 32))
		if err != nil || size < 0 || size > int64(len(b)) || (last == nil) != (size == 0) {
			t.Fatalf("size %d of %d, last %v, %v", size, len(b), last, err)
		}
		if last == nil {
			return
		}
		s.last = last.Sequence
		_, head, err := state.VerifyAudit([32]byte{}, 0, s.entries(nil, 1, s.last))
		var broken *state.AuditError
		if head != s.last && !errors.As(err, &broken) { // VerifyAudit also wants rising indexes
			t.Fatalf("taken up to %d, reads up to %d: %v", s.last, head, err)
		}
	})
}
