package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/chain"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

var searchStart = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

// work makes entry i of a day's work: each order has four entries, each terminal 20
// orders.
func work(i int) (*command.Command, *command.Result) {
	imsi, order, barrel := fmt.Sprintf("46001%010d", i/80), fmt.Sprintf("WO-%d", i/4), fmt.Sprintf("SB-%d", i/80)
	user := fmt.Sprintf("user%d", i%50)
	use := &command.Use{
		Id: uint64(i / 4), RequestId: fmt.Sprintf("%032x", i), Order: order, Barrel: barrel, Imsi: imsi, User: user, SealType: "contract",
		Level: 2, Methods: []string{"pin", "face"}, Count: 1, GrantCounter: uint64(i), ReservedAt: int64(i), NotAfter: int64(i),
		DocumentDigest: bytes.Repeat([]byte{1}, 32), Stamps: []*command.Stamp{{Number: 1, Receipt: bytes.Repeat([]byte{2}, 120)}},
	}
	var c *command.Command
	var record proto.Message = use
	switch i % 4 {
	case 0:
		c = command.New("phone:"+imsi, use.RequestId, "user:"+user, &command.ReserveUses{Order: order, Barrel: barrel, Imsi: imsi, User: user, SealType: "contract", Level: 2, Methods: use.Methods, Count: 1})
	case 1:
		c = command.New("barrel:"+barrel, "", "barrel:"+barrel, &command.RecordReceipt{Use: use.Id, Number: 1, Receipt: use.Stamps[0].Receipt})
	case 2:
		c = command.New("phone:"+imsi, "", "phone:"+imsi, &command.RecordDecision{Kind: "use", Subject: "order " + order + " barrel " + barrel, Allowed: true})
		record = nil
	case 3:
		c = command.New("barrel:"+barrel, "", "barrel:"+barrel, &command.SettleUse{Use: use.Id, Stamped: 1})
	}
	c.LeaderTime = searchStart.Add(time.Duration(i) * time.Second).UnixNano()
	r := &command.Result{Code: command.Code_OK}
	if record != nil {
		r.Payload = command.Marshal(record)
	}
	return c, r
}

// worked is an audit log of n entries of work.
func worked(t testing.TB, n int, segmentSize int64) (*auditLog, []*command.AuditEntry) {
	t.Helper()
	a, _, err := openAuditLog(t.TempDir(), segmentSize)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.close() })
	var prev [32]byte
	var entries []*command.AuditEntry
	for i := range n {
		c, r := work(i)
		e := &command.AuditEntry{Sequence: uint64(i + 1), Index: uint64(i + 1), Term: 1, Command: command.Marshal(c), Result: command.Marshal(r), PrevHash: slices.Clone(prev[:])}
		prev = state.AuditHash(prev, e.Index, e.Term, e.Command, e.Result)
		e.Hash = slices.Clone(prev[:])
		if err := a.append(e); err != nil {
			t.Fatal(err)
		}
		if n <= 10_000 {
			entries = append(entries, e)
		}
	}
	return a, entries
}

var late = searchStart.Add(100 * 365 * 24 * time.Hour) // later than any test

// Whatever is asked for, a search finds what looking at every entry finds, page by
// page, in both directions.
func TestSearchFindsWhatIsThere(t *testing.T) {
	const n = 900
	a, entries := worked(t, n, 9000)
	if len(a.sealed) < 10 || a.open == nil {
		t.Fatalf("%d segments", len(a.sealed))
	}
	var read []*chain.Entry
	for _, e := range entries {
		r, err := chain.Read(e)
		if err != nil {
			t.Fatal(err)
		}
		read = append(read, r)
	}
	rng := rand.New(rand.NewPCG(6, 6))
	maybe := func(s string) string {
		if rng.IntN(3) == 0 {
			return s
		}
		return ""
	}
	found := 0
	for range 200 {
		i := rng.IntN(n)
		q := chain.Search{
			Query:  chain.Query{Order: maybe(fmt.Sprintf("WO-%d", i/4)), Device: maybe(fmt.Sprintf("SB-%d", i/80)), Person: maybe(fmt.Sprintf("user%d", rng.IntN(50)))},
			Newest: rng.IntN(2) == 0, Limit: 1 + rng.IntN(20),
		}
		if rng.IntN(3) == 0 {
			q.From, q.To = uint64(rng.IntN(n)), uint64(rng.IntN(n+50))
		}
		if rng.IntN(4) == 0 {
			q.Type = command.Type_SETTLE_USE
		}
		if rng.IntN(4) == 0 {
			q.Since, q.Until = searchStart.Add(time.Duration(rng.IntN(n))*time.Second), searchStart.Add(time.Duration(rng.IntN(n))*time.Second)
		}
		var want []uint64
		for _, e := range read {
			if e.Sequence >= q.From && (q.To == 0 || e.Sequence <= q.To) && q.Matches(e) {
				want = append(want, e.Sequence)
			}
		}
		if q.Newest {
			slices.Reverse(want)
		}
		got := pages(t, a, q)
		if !slices.Equal(got, want) {
			t.Fatalf("%+v: found %v, there are %v", q, got, want)
		}
		found += len(got)
	}
	if found < 500 {
		t.Errorf("only %d found in all", found)
	}
}

// pages reads all that a query finds.
func pages(t *testing.T, a *auditLog, q chain.Search) (got []uint64) {
	t.Helper()
	if q.To == 0 || q.To > a.tail().sequence {
		q.To = a.tail().sequence
	}
	for {
		f, err := a.search(context.Background(), q, late)
		if err != nil {
			t.Fatal(err)
		}
		if len(f.Entries) > q.Limit {
			t.Fatalf("%d entries on a page of %d", len(f.Entries), q.Limit)
		}
		for _, e := range f.Entries {
			got = append(got, e.Sequence)
		}
		if f.Next == 0 {
			return got
		}
		if q.Newest {
			q.To = f.Next
		} else {
			q.From = f.Next
		}
	}
}

// A search whose time is up says where to go on, and loses nothing by it.
func TestSearchIsBoundedInTime(t *testing.T) {
	a, _ := worked(t, 300, 9000)
	for _, newest := range []bool{false, true} {
		q := chain.Search{Query: chain.Query{Order: "WO-40"}, From: 1, To: 300, Newest: newest, Limit: 10}
		f, err := a.search(context.Background(), q, time.Time{})
		if err != nil || len(f.Entries) != 0 || f.Next == 0 {
			t.Errorf("newest %t: %d entries, next %d, %v", newest, len(f.Entries), f.Next, err)
		}
		if want := map[bool]uint64{false: 1, true: 300}[newest]; f.Next != want {
			t.Errorf("newest %t: goes on at %d, want %d", newest, f.Next, want)
		}
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	gone := errors.New("the client is gone")
	cancel(gone)
	if _, err := a.search(ctx, chain.Search{From: 1, To: 300, Limit: 1}, late); !errors.Is(err, gone) {
		t.Error(err)
	}
}

// The open segment may be sealed between the look at the list and the reading.
func TestSearchWhileASegmentIsSealed(t *testing.T) {
	a, _ := worked(t, 20, 1<<20)
	s := a.open.segment
	if err := a.seal(); err != nil {
		t.Fatal(err)
	}
	list, err := a.within(s, chain.Search{From: 1, To: 20, Limit: 100}, newEntryReader())
	if err != nil || len(list) != 20 {
		t.Errorf("%d entries, %v", len(list), err)
	}
}

func TestSearchInDamagedFiles(t *testing.T) {
	a, _ := worked(t, 40, 4000)
	path := a.sealed[1].path
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	q := chain.Search{From: 1, To: 40, Limit: 100}
	for name, damage := range map[string][]byte{
		"cut":             whole[:len(whole)/2],
		"a long record":   append([]byte{0xff, 0xff, 0xff, 0xff, 0x7f}, whole...),
		"another segment": append(slices.Clone(whole[len(whole)/2:]), whole...),
	} {
		if err := os.WriteFile(path, damage, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := a.search(context.Background(), q, late); err == nil || !strings.Contains(err.Error(), filepath.Base(path)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is ruled out without decoding could not have matched.
func TestEnvelopeIsReadWithoutDecoding(t *testing.T) {
	for i := range 8 {
		c, r := work(i)
		kind, stamp, ok := envelope(command.Marshal(&command.AuditEntry{Index: 300, Term: 2, Command: command.Marshal(c), Result: command.Marshal(r)}))
		if !ok || kind != c.Type || stamp != c.LeaderTime {
			t.Errorf("%v: read %v %d %t", c.Type, kind, stamp, ok)
		}
	}
	for _, bad := range [][]byte{nil, {0xff}, {0x1a, 5, 1}} {
		if _, _, ok := envelope(bad); ok {
			t.Errorf("%x: read", bad)
		}
	}
}

// How long it takes to find what stands in a few of a million entries, from the
// page cache.
func BenchmarkAuditSearch(b *testing.B) {
	const n = 1_000_000
	a, _ := worked(b, n, auditSegmentSize)
	size := int64(0)
	for _, s := range a.sealed {
		info, err := os.Stat(s.path)
		if err != nil {
			b.Fatal(err)
		}
		size += info.Size()
	}
	for _, c := range []struct {
		name string
		q    chain.Search
		want int
	}{
		{"order", chain.Search{Query: chain.Query{Order: "WO-125000"}}, 4},
		{"device", chain.Search{Query: chain.Query{Device: "460010000006250"}}, 80},
		{"person", chain.Search{Query: chain.Query{Person: "user7"}}, 1000},
		{"nobody", chain.Search{Query: chain.Query{Person: "nobody"}}, 0},
		{"hour", chain.Search{Query: chain.Query{Since: searchStart.Add(500_000 * time.Second), Until: searchStart.Add(503_600 * time.Second)}}, 1000},
		{"newest-of-type", chain.Search{Query: chain.Query{Type: command.Type_SETTLE_USE}, Newest: true}, 1000},
	} {
		c.q.From, c.q.To, c.q.Limit = 1, n, 1000
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				f, err := a.search(context.Background(), c.q, late)
				if err != nil || len(f.Entries) != c.want {
					b.Fatalf("%d found, %v", len(f.Entries), err)
				}
			}
		})
	}
}
