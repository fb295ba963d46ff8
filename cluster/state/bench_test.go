package state

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
)

const many = 100_000 // sessions

func terminal(i int) string { return fmt.Sprintf("46001%010d", i) }

// opening is an attach as a carrier's request makes it.
func opening(i int, version uint64) *command.OpenSession {
	entropy := binary.BigEndian.AppendUint64(make([]byte, 8), uint64(i)*2654435761)
	return &command.OpenSession{
		Imsi: terminal(i), Apn: "seal.corp", PolicyRevision: 1, SubscriberVersion: version, Entropy: entropy, GatewayAddress: "gw",
		Gtp: &command.GTPPath{
			Version: 2, InterfaceType: 6, Ebi: 5, RatType: 6, ServingPlmn: "46001", Imei: "35693803564380", Qci: 9, Arp: 8,
			PeerC: &command.FTEID{Teid: uint32(i), Address: []byte{127, 0, 20, 1}}, PeerU: &command.FTEID{Teid: uint32(i), Address: []byte{127, 0, 20, 1}},
			UserLocation: []byte("thirteen byte"), AmbrUpKbps: 50_000, AmbrDownKbps: 100_000,
		},
	}
}

// crowd is a machine with n subscribers, and a session of each if attached.
func crowd(tb testing.TB, n int, attached bool) *testLog {
	l := newLog(tb)
	l.loose = true
	l.put(&command.PutPolicy{Pools: []*command.Pool{{Apn: "seal.corp", PrefixAddress: []byte{10, 64, 0, 0}, PrefixBits: 14}}})
	for i := range n {
		l.do("", &command.PutSubscriber{Subscriber: &command.Subscriber{Imsi: terminal(i), Msisdn: terminal(i)[2:], Apns: []string{"seal.corp"}, State: command.DeviceState_ACTIVE}})
	}
	l.raw, l.chain = nil, nil
	for i := range n {
		if !attached {
			break
		}
		l.do(fmt.Sprintf("%032x", i), opening(i, 1))
		l.raw, l.chain = nil, nil
	}
	return l
}

func BenchmarkOpenSession(b *testing.B) {
	for _, n := range []int{1_000, many} {
		b.Run(fmt.Sprintf("subscribers=%d", n), func(b *testing.B) {
			l := crowd(b, n, false)
			var raws [][]byte
			for i := range n {
				raws = append(raws, command.Marshal(command.New("gtpc", fmt.Sprintf("%032x", i), "", opening(i, 1))))
			}
			b.ReportAllocs()
			m, i := l.m.Clone(), 0
			for b.Loop() {
				if i == n {
					m, i = l.m.Clone(), 0
				}
				r, _, err := m.Apply(m.index+1, 1, raws[i])
				if err != nil || r.Code != command.Code_OK {
					b.Fatal(r, err)
				}
				i++
			}
		})
	}
}

// One address is left of 65,000 and changes hands with every attach.
func BenchmarkOpenSessionInFullPool(b *testing.B) {
	l := newLog(b)
	l.loose = true
	l.put(&command.PutPolicy{Pools: []*command.Pool{{Apn: "seal.corp", PrefixAddress: []byte{10, 64, 0, 0}, PrefixBits: 16}}})
	const size = 1<<16 - 2
	for i := range size + 1 {
		l.do("", &command.PutSubscriber{Subscriber: &command.Subscriber{Imsi: terminal(i), Apns: []string{"seal.corp"}, State: command.DeviceState_ACTIVE}})
	}
	for i := range size {
		l.do("", opening(i, 1))
	}
	l.do("", &command.ClosePath{Session: 1})
	absent, id := size, uint64(size)
	b.ReportAllocs()
	for b.Loop() {
		l.do("", opening(absent, 1))
		id++
		absent = size - absent
		l.do("", &command.ClosePath{Session: id})
		l.raw, l.chain = nil, nil
	}
}

// A peer that holds 100,000 sessions has restarted: what one command does to the
// log, a thousand paths.
func BenchmarkReleasePaths(b *testing.B) {
	l := crowd(b, many, true)
	raw := command.Marshal(command.New("gtpc", "", "", &command.ReleasePaths{Peer: []byte{127, 0, 20, 1}, Reason: "restarted"}))
	b.ReportAllocs()
	for b.Loop() {
		m := l.m.Clone()
		if r, _, err := m.Apply(m.index+1, 1, raw); err != nil || r.Code != command.Code_OK {
			b.Fatal(r, err)
		}
	}
}

func (l *testLog) do(request string, payload proto.Message) {
	l.Helper()
	if r := l.apply(command.New("gtpc", request, "", payload)); r.Code != command.Code_OK {
		l.Fatalf("%T: %v %s", payload, r.Code, r.Message)
	}
}

func BenchmarkClone(b *testing.B) {
	l := crowd(b, many, true)
	b.ReportAllocs()
	for b.Loop() {
		l.m.Clone()
	}
}

// What a node works out for a checkpoint, while it goes on applying.
func BenchmarkDigest(b *testing.B) {
	l := crowd(b, many, true)
	b.ReportAllocs()
	for b.Loop() {
		l.m.Digest()
	}
}

func BenchmarkSnapshotWrite(b *testing.B) {
	l := crowd(b, many, true)
	b.SetBytes(int64(len(snapshotOf(b, l.m))))
	b.ReportAllocs()
	for b.Loop() {
		if err := l.m.WriteSnapshot(io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSnapshotRestore(b *testing.B) {
	snapshot := snapshotOf(b, crowd(b, many, true).m)
	b.SetBytes(int64(len(snapshot)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ReadSnapshot(bytes.NewReader(snapshot)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMemory tells what a session costs beside its subscriber, with its
// lease, its remembered result and its places in all tables: as Apply leaves
// it, and as it comes out of a snapshot.
func BenchmarkMemory(b *testing.B) {
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	for b.Loop() {
		start := heap()
		l := crowd(b, many, false)
		subscribers := heap() - start
		for i := range many {
			l.do(fmt.Sprintf("%032x", i), opening(i, 1))
			l.raw, l.chain = nil, nil
		}
		applied := heap() - start - subscribers
		snapshot := snapshotOf(b, l.m)
		l.m = nil
		start = heap()
		m, err := ReadSnapshot(bytes.NewReader(snapshot))
		if err != nil {
			b.Fatal(err)
		}
		restored := heap() - start
		b.ReportMetric(float64(subscribers)/many, "B/subscriber")
		b.ReportMetric(float64(applied)/many, "B/session")
		b.ReportMetric(float64(restored)/many, "B/both-restored")
		b.ReportMetric(float64(len(snapshot))/many, "B/both-in-snapshot")
		runtime.KeepAlive(m)
	}
}
