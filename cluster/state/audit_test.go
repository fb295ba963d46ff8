package state

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
)

func entries(list []*command.AuditEntry) iter.Seq2[*command.AuditEntry, error] {
	return func(yield func(*command.AuditEntry, error) bool) {
		for _, e := range list {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func copies(list []*command.AuditEntry) []*command.AuditEntry {
	out := slices.Clone(list)
	for i, e := range out {
		out[i] = proto.CloneOf(e)
	}
	return out
}

func TestAuditChainVerifies(t *testing.T) {
	l := full(t)
	l.index += 5 // Raft's own entries leave gaps in the index
	l.put(&command.RecordDecision{})
	head, seq, err := VerifyAudit([32]byte{}, 0, entries(l.chain))
	if err != nil {
		t.Fatal(err)
	}
	if wantSeq, want := l.m.AuditHead(); head != want || seq != wantSeq {
		t.Errorf("the chain ends at %d %x, the machine at %d %x", seq, head, wantSeq, want)
	}
	// From the middle on, given the link before.
	for i, e := range l.chain {
		if got, _, err := VerifyAudit([32]byte(e.Hash), e.Sequence, entries(l.chain[i+1:])); err != nil || got != head {
			t.Errorf("from %d on: %v", i+1, err)
		}
	}
	// What a chain that was cut off ends at is not the head.
	if got, seq, err := VerifyAudit([32]byte{}, 0, entries(l.chain[:3])); err != nil || seq != 3 || got == head {
		t.Errorf("cut off: %d, %v", seq, err)
	}
}

// The hash, spelt out.
func TestAuditHash(t *testing.T) {
	prev := [32]byte{31: 9}
	in := append(prev[:], 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3)
	in = append(binary.BigEndian.AppendUint32(in, 7), "command"...)
	in = append(binary.BigEndian.AppendUint32(in, 6), "result"...)
	if AuditHash([32]byte{31: 9}, 0x102, 3, []byte("command"), []byte("result")) != sha256.Sum256(in) {
		t.Error("the hash is not over what command.proto says")
	}
}

func TestAuditTampering(t *testing.T) {
	l := full(t)
	const at = 4 // the link that is tampered with
	type chain = []*command.AuditEntry
	// resign makes the hash of an entry, and nothing after it, right again.
	resign := func(c chain, i int) {
		h := AuditHash([32]byte(c[i].PrevHash), c[i].Index, c[i].Term, c[i].Command, c[i].Result)
		c[i].Hash = h[:]
	}
	for name, tamper := range map[string]struct {
		do     func(chain) chain
		breaks uint64 // sequence at which it is found
	}{
		"command changed":  {func(c chain) chain { c[at].Command[0] ^= 1; return c }, at + 1},
		"result changed":   {func(c chain) chain { c[at].Result[1] ^= 1; return c }, at + 1},
		"result dropped":   {func(c chain) chain { c[at].Result = nil; return c }, at + 1},
		"index changed":    {func(c chain) chain { c[len(c)-1].Index++; return c }, uint64(len(l.chain))},
		"term changed":     {func(c chain) chain { c[at].Term++; return c }, at + 1},
		"hash changed":     {func(c chain) chain { c[at].Hash[0] ^= 1; return c }, at + 1},
		"previous changed": {func(c chain) chain { c[at].PrevHash[0] ^= 1; return c }, at + 1},
		"sequence changed": {func(c chain) chain { c[at].Sequence++; return c }, at + 1},
		"hash missing":     {func(c chain) chain { c[at].Hash = nil; return c }, at + 1},
		"bytes moved": {func(c chain) chain {
			e := c[at]
			e.Command, e.Result = append(e.Command, e.Result[0]), e.Result[1:]
			return c
		}, at + 1},
		"changed and resigned": {func(c chain) chain { c[at].Result = []byte("x"); resign(c, at); return c }, at + 2},
		"removed":              {func(c chain) chain { return slices.Delete(c, at, at+1) }, at + 1},
		"removed, renumbered": {func(c chain) chain {
			c = slices.Delete(c, at, at+1)
			for i, e := range c {
				e.Sequence = uint64(i + 1)
			}
			return c
		}, at + 1},
		"first removed": {func(c chain) chain { return c[1:] }, 1},
		"reordered":     {func(c chain) chain { c[at], c[at+1] = c[at+1], c[at]; return c }, at + 1},
		"reordered, renumbered": {func(c chain) chain {
			c[at], c[at+1] = c[at+1], c[at]
			c[at].Sequence, c[at+1].Sequence = c[at+1].Sequence, c[at].Sequence
			return c
		}, at + 1},
		"repeated": {func(c chain) chain { return slices.Insert(c, at, proto.CloneOf(c[at])) }, at + 2},
		"inserted": {func(c chain) chain {
			e := proto.CloneOf(c[at])
			e.PrevHash, e.Sequence = c[at-1].Hash, uint64(at+1)
			c = slices.Insert(c, at, e)
			resign(c, at)
			return c
		}, at + 2},
		"appended with an old index": {func(c chain) chain {
			e := proto.CloneOf(c[len(c)-1])
			e.PrevHash, e.Sequence = c[len(c)-1].Hash, e.Sequence+1
			c = append(c, e)
			resign(c, len(c)-1)
			return c
		}, uint64(len(l.chain)) + 1},
		"an empty entry": {func(c chain) chain { c[at] = nil; return c }, at + 1},
	} {
		_, seq, err := VerifyAudit([32]byte{}, 0, entries(tamper.do(copies(l.chain))))
		var broken *AuditError
		if !errors.As(err, &broken) {
			t.Errorf("%s: not found (%v)", name, err)
		} else if broken.Sequence != tamper.breaks || seq != tamper.breaks-1 {
			t.Errorf("%s: found at entry %d after %d, want %d: %v", name, broken.Sequence, seq, tamper.breaks, err)
		}
	}
	// Every single bit.
	for i := range l.chain {
		for b := range 8 * len(l.chain[i].Command) {
			c := copies(l.chain)
			c[i].Command[b/8] ^= 1 << (b % 8)
			if _, _, err := VerifyAudit([32]byte{}, 0, entries(c)); err == nil {
				t.Fatalf("bit %d of command %d changed, and not found", b, i)
			}
		}
	}
}

func TestAuditSourceFails(t *testing.T) {
	l := full(t)
	lost := errors.New("segment is missing")
	_, seq, err := VerifyAudit([32]byte{}, 0, func(yield func(*command.AuditEntry, error) bool) {
		_ = yield(l.chain[0], nil) && yield(nil, lost) && yield(l.chain[1], nil)
	})
	if !errors.Is(err, lost) || seq != 1 {
		t.Errorf("%v after %d", err, seq)
	}
}

// The chains of two machines with the same log are the same.
func TestAuditChainsAgree(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	w := newWorld(t, rng.IntN, false)
	for range 200 {
		w.step()
	}
	seq, hash := w.log.m.AuditHead()
	if s, h := w.twin.AuditHead(); s != seq || h != hash {
		t.Error("the heads differ")
	}
	if _, _, err := VerifyAudit([32]byte{}, 0, entries(w.log.chain)); err != nil {
		t.Error(err)
	}
}
