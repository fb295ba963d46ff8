package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
)

func snapshotOf(t testing.TB, m *Machine) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := m.WriteSnapshot(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestSnapshotRoundTrip(t *testing.T) {
	for name, m := range map[string]*Machine{"empty": New(), "full": full(t).m} {
		b := snapshotOf(t, m)
		read, err := ReadSnapshot(bytes.NewReader(b))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !bytes.Equal(snapshotOf(t, read), b) || read.Digest() != m.Digest() {
			t.Errorf("%s: written again, the snapshot is another", name)
		}
		if read.Index() != m.Index() || !read.Clock().Equal(m.Clock()) || read.Counts() != m.Counts() {
			t.Errorf("%s: index, clock or counts differ", name)
		}
	}
}

// A snapshot that was cut off, or in which any byte was changed, is refused.
func TestSnapshotDamage(t *testing.T) {
	b := snapshotOf(t, full(t).m)
	for n := range b {
		if _, err := ReadSnapshot(bytes.NewReader(b[:n])); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("cut off at byte %d of %d: %v", n, len(b), err)
		}
		for _, flip := range []byte{1, 0x80} {
			changed := bytes.Clone(b)
			changed[n] ^= flip
			if _, err := ReadSnapshot(bytes.NewReader(changed)); !errors.Is(err, ErrSnapshot) {
				t.Fatalf("byte %d changed by %#x: %v", n, flip, err)
			}
		}
	}
	if _, err := ReadSnapshot(bytes.NewReader(append(bytes.Clone(b), 0))); !errors.Is(err, ErrSnapshot) {
		t.Errorf("a byte too many: %v", err)
	}
}

// forge writes a snapshot of these records with a right digest.
func forge(t testing.TB, h *command.SnapshotHeader, records ...*command.SnapshotRecord) []byte {
	t.Helper()
	var b bytes.Buffer
	sum := sha256.New()
	out := newFrames(&b, sum)
	if h.AuditHead == nil {
		h.AuditHead = make([]byte, 32)
	}
	for i, m := range append([]*command.SnapshotRecord{nil}, records...) {
		var err error
		if i == 0 {
			err = out.write(h)
		} else {
			err = out.write(m)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := newFrames(&b, nil).write(&command.SnapshotRecord{Record: &command.SnapshotRecord_Digest{Digest: sum.Sum(nil)}}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Records that claim the same thing, or stand in the wrong order, are refused
// although the digest is right.
func TestSnapshotContradictions(t *testing.T) {
	sub := func(imsi string, key byte) *command.SnapshotRecord {
		s := &command.Subscriber{Imsi: imsi}
		if key != 0 {
			s.WireguardPublicKey = bytes.Repeat([]byte{key}, 32)
		}
		return &command.SnapshotRecord{Record: &command.SnapshotRecord_Subscriber{Subscriber: s}}
	}
	barrel := func(id, mac string) *command.SnapshotRecord {
		return &command.SnapshotRecord{Record: &command.SnapshotRecord_Barrel{Barrel: &command.Barrel{Id: id, Mac: mac}}}
	}
	session := func(id uint64, apn string, c, u uint32) *command.SnapshotRecord {
		return &command.SnapshotRecord{Record: &command.SnapshotRecord_Session{Session: &command.Session{Id: id, Imsi: "1", Apn: apn, Address: []byte{10, 0, 0, byte(id)}, Gtp: &command.GTPPath{LocalTeidC: c, LocalTeidU: u}}}}
	}
	lease := func(apn string, last byte, use bool) *command.SnapshotRecord {
		return &command.SnapshotRecord{Record: &command.SnapshotRecord_Lease{Lease: &command.AddressLease{Imsi: "1", Apn: apn, Address: []byte{10, 0, 0, last}, InUse: use, ReleasedSeq: 1}}}
	}
	lease6 := func(apn string, last byte, use bool) *command.SnapshotRecord {
		return &command.SnapshotRecord{Record: &command.SnapshotRecord_Lease{Lease: &command.AddressLease{Imsi: "1", Apn: apn, Address: []byte{0xfd, 7: last, 15: 0}, InUse: use, ReleasedSeq: 1}}}
	}
	dual := func(id uint64, pdnType uint32, prefix6 []byte) *command.SnapshotRecord {
		r := session(id, "a", 1, 2)
		s := r.GetSession()
		s.Gtp.PdnType, s.Prefix6 = pdnType, prefix6
		s.Gtp.PeerC = &command.FTEID{Address: []byte{127, 0, 20, 1}}
		return r
	}
	former := func(r *command.SnapshotRecord) *command.SnapshotRecord {
		r.GetLease().Former = true
		return r
	}
	peer := func(address ...byte) *command.SnapshotRecord {
		return &command.SnapshotRecord{Record: &command.SnapshotRecord_Peer{Peer: &command.GTPPeer{Address: address}}}
	}
	use := func(id uint64, barrel, request string, stamps ...*command.Stamp) *command.SnapshotRecord {
		return &command.SnapshotRecord{Record: &command.SnapshotRecord_Use{Use: &command.Use{Id: id, Imsi: "1", Barrel: barrel, RequestId: request, Stamps: stamps}}}
	}
	memory := func(request string, index uint64, result string) *command.SnapshotRecord {
		return &command.SnapshotRecord{Record: &command.SnapshotRecord_Remembered{Remembered: &command.Remembered{ClientId: "c", RequestId: request, Index: index, Result: []byte(result)}}}
	}
	policy := &command.SnapshotRecord{Record: &command.SnapshotRecord_Policy{Policy: &command.Policy{Revision: 1, Pools: []*command.Pool{{Apn: "a"}}}}}
	order := &command.SnapshotRecord{Record: &command.SnapshotRecord_Order{Order: &command.Order{Number: "O", Permitted: 1, Reserved: 1, Confirmed: 1}}}
	lock := &command.SnapshotRecord{Record: &command.SnapshotRecord_Lock{Lock: &command.Lock{Id: 7}}}
	head := func() *command.SnapshotHeader {
		return &command.SnapshotHeader{Version: 1, NextSession: 5, NextUse: 5, NextLock: 5, ReleaseSeq: 5}
	}

	good := []*command.SnapshotRecord{
		sub("1", 1), sub("2", 2), barrel("B-1", "m1"), barrel("B-2", "m2"), session(1, "a", 1, 2), session(2, "b", 3, 4),
		lease("a", 1, true), lease("b", 2, true), use(1, "B-1", "r1"), use(2, "B-2", "r2"), memory("r1", 1, ""), memory("r2", 2, ""),
	}
	if _, err := ReadSnapshot(bytes.NewReader(forge(t, head(), good...))); err != nil {
		t.Fatalf("a good snapshot: %v", err)
	}
	both, at := []byte{0xfd, 7: 1, 15: 0}, peer(127, 0, 20, 1)
	for name, records := range map[string][]*command.SnapshotRecord{
		"both families, and a peer": {dual(1, 3, both), lease("a", 1, true), lease6("a", 1, true), at},
		"a former lease":            {dual(1, 1, nil), lease("a", 1, true), former(lease("a", 2, false)), at},
	} {
		if _, err := ReadSnapshot(bytes.NewReader(forge(t, head(), records...))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, records := range map[string][]*command.SnapshotRecord{
		"IPv6 without a lease":         {dual(1, 3, both), lease("a", 1, true), at},
		"IPv6 with an idle lease":      {dual(1, 3, both), lease("a", 1, true), lease6("a", 1, false), at},
		"IPv6 with another lease":      {dual(1, 3, both), lease("a", 1, true), lease6("a", 2, true), at},
		"IPv6 that no path uses":       {dual(1, 1, both), lease("a", 1, true), lease6("a", 1, true), at},
		"a family that is missing":     {dual(1, 3, nil), lease("a", 1, true), at},
		"IPv6 lease without a session": {dual(1, 1, nil), lease("a", 1, true), lease6("a", 1, true), at},
		"families out of order":        {lease6("a", 1, false), lease("b", 2, false)},
		"a /64 twice":                  {lease6("a", 1, false), lease6("b", 1, false)},
		"a lease with a host":          {{Record: &command.SnapshotRecord_Lease{Lease: &command.AddressLease{Imsi: "1", Address: both[:15:15]}}}},
		"a lease beyond a /64":         {{Record: &command.SnapshotRecord_Lease{Lease: &command.AddressLease{Imsi: "1", Address: []byte{0xfd, 15: 1}}}}},
		"a subscriber's lease twice":   {lease("a", 1, false), lease("a", 2, false)},
		"a former lease in use":        {dual(1, 1, nil), former(lease("a", 1, true)), at},
		"a former lease that is kept":  {{Record: &command.SnapshotRecord_Lease{Lease: &command.AddressLease{Imsi: "1", Apn: "a", Address: []byte{10, 0, 0, 1}, Pinned: true, Former: true}}}},
		"a path without its peer":      {dual(1, 1, nil), lease("a", 1, true)},
		"a peer without a path":        {at},
		"a peer twice":                 {dual(1, 1, nil), lease("a", 1, true), at, at},
		"a peer in another form":       {dual(1, 1, nil), lease("a", 1, true), peer(append(make([]byte, 10), 0xff, 0xff, 127, 0, 20, 1)...)},
		"a peer without an address":    {peer()},
		"two alike":                    {sub("1", 0), sub("1", 0)},
		"out of order":                 {sub("2", 0), sub("1", 0)},
		"kinds out of order":           {barrel("B-1", ""), sub("1", 0)},
		"WireGuard key twice":          {sub("1", 1), sub("2", 1)},
		"MAC twice":                    {barrel("B-1", "m"), barrel("B-2", "m")},
		"TEID twice":                   {session(1, "a", 1, 2), session(2, "b", 2, 3), lease("a", 1, true), lease("b", 2, true)},
		"control TEID as user TEID":    {session(1, "a", 1, 1), lease("a", 1, true)},
		"TEID 0":                       {session(1, "a", 0, 1), lease("a", 1, true)},
		"session twice":                {session(1, "a", 1, 2), session(2, "a", 3, 4), lease("a", 1, true)},
		"session beyond the next":      {session(6, "a", 1, 2), lease("a", 6, true)},
		"session without a lease":      {session(1, "a", 1, 2)},
		"session with another address": {session(1, "a", 1, 2), lease("a", 2, true)},
		"session with an idle lease":   {session(1, "a", 1, 2), lease("a", 1, false)},
		"lease without a session":      {lease("a", 1, true)},
		"address twice":                {lease("a", 1, false), lease("b", 1, false)},
		"lease without an address":     {{Record: &command.SnapshotRecord_Lease{Lease: &command.AddressLease{}}}},
		"two uses of a barrel":         {use(1, "B", "r1"), use(2, "B", "r2")},
		"two uses of a request":        {use(1, "B-1", "r"), use(2, "B-2", "r")},
		"use beyond the next":          {use(6, "B", "r1")},
		"stamps out of order":          {use(1, "B", "r1", &command.Stamp{Number: 2}, &command.Stamp{Number: 1})},
		"order above permitted":        {order},
		"lock beyond the next":         {lock},
		"memory of one entry twice":    {memory("r1", 1, ""), memory("r2", 1, "")},
		"memory that is no result":     {memory("r1", 1, "\xff")},
		"a policy that does not parse": {policy},
		"nothing":                      {{}},
	} {
		if m, err := ReadSnapshot(bytes.NewReader(forge(t, head(), records...))); !errors.Is(err, ErrSnapshot) || m != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSnapshotOfALaterVersion(t *testing.T) {
	for _, h := range []*command.SnapshotHeader{{Version: 2}, {Version: 1, Level: command.Level + 1}, {}} {
		if _, err := ReadSnapshot(bytes.NewReader(forge(t, h))); !errors.Is(err, command.ErrUnknownCommand) {
			t.Errorf("%v: %v", h, err)
		}
	}
	if _, err := ReadSnapshot(bytes.NewReader(forge(t, &command.SnapshotHeader{Version: 1, AuditHead: []byte{1}}))); !errors.Is(err, ErrSnapshot) {
		t.Errorf("an audit head of one byte: %v", err)
	}
}

// A length that claims much is not believed before the bytes are there.
func TestSnapshotLengths(t *testing.T) {
	for _, n := range []uint64{1 << 20, maxRecord, maxRecord + 1, 1 << 62} {
		b := binary.AppendUvarint(nil, n)
		if _, err := ReadSnapshot(io.MultiReader(bytes.NewReader(b), strings.NewReader("short"))); !errors.Is(err, ErrSnapshot) {
			t.Errorf("%d: %v", n, err)
		}
	}
}

type brokenWriter struct{ left int }

var errDisk = errors.New("no space left on device")

func (w *brokenWriter) Write(b []byte) (int, error) {
	if w.left -= len(b); w.left < 0 {
		return 0, errDisk
	}
	return len(b), nil
}

func TestSnapshotToAFullDisk(t *testing.T) {
	l := full(t)
	l.loose = true
	for i := range 2000 { // more than one buffer
		l.apply(command.New("test", strings.Repeat("x", 50)+string(rune('a'+i%26))+string(rune(0x4e00+i)), "", &command.RecordDecision{}))
	}
	size := len(snapshotOf(t, l.m))
	for _, left := range []int{0, 1 << 16, size - 1} {
		if err := l.m.WriteSnapshot(&brokenWriter{left}); !errors.Is(err, errDisk) {
			t.Errorf("with room for %d of %d bytes: %v", left, size, err)
		}
	}
}

// FuzzReadSnapshot: whatever is read, nothing panics; what is accepted can be
// written and read again. The fuzzer's bytes are the records, the digest is
// made to match, so that it gets past it.
func FuzzReadSnapshot(f *testing.F) {
	seed := snapshotOf(f, full(f).m)
	f.Add(seed, false)
	f.Add(seed[:len(seed)-36], true)
	f.Add([]byte{}, true)
	rng := rand.New(rand.NewPCG(1, 1))
	w := newWorld(f, rng.IntN, false)
	for range 150 {
		w.step()
	}
	seed = snapshotOf(f, w.log.m)
	f.Add(seed[:len(seed)-36], true)
	f.Fuzz(func(t *testing.T, b []byte, sign bool) {
		if sign {
			sum := sha256.Sum256(b)
			d, _ := proto.Marshal(&command.SnapshotRecord{Record: &command.SnapshotRecord_Digest{Digest: sum[:]}})
			b = append(binary.AppendUvarint(bytes.Clone(b), uint64(len(d))), d...)
		}
		m, err := ReadSnapshot(bytes.NewReader(b))
		if err != nil {
			if m != nil || !errors.Is(err, ErrSnapshot) {
				t.Fatalf("%v beside %v", m, err)
			}
			return
		}
		again, err := ReadSnapshot(bytes.NewReader(snapshotOf(t, m)))
		if err != nil {
			t.Fatalf("written again, it is refused: %v", err)
		}
		if again.Digest() != m.Digest() {
			t.Fatal("written again, it is another")
		}
	})
}
