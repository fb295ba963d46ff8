package pathprobe

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/sealedge/sealedge/edge/wire"
)

var (
	gateway4  = netip.MustParseAddr("10.90.0.1")
	gateway6  = netip.MustParseAddr("fd00:90::1")
	terminal4 = netip.MustParseAddr("10.90.0.7")
	terminal6 = netip.MustParseAddr("fd00:90:0:7::42")
)

func isGateway(a netip.Addr) bool { return a == gateway4 || a == gateway6 }

// packet is a UDP packet as a terminal's stack makes it, with its checksums.
func packet(src, dst netip.Addr, from, to uint16, payload []byte) []byte {
	l4 := binary.BigEndian.AppendUint16(nil, from)
	l4 = binary.BigEndian.AppendUint16(l4, to)
	l4 = binary.BigEndian.AppendUint16(l4, uint16(8+len(payload)))
	l4 = append(append(l4, 0, 0), payload...)
	check := ^checksum(slices.Concat(src.AsSlice(), dst.AsSlice(), []byte{0, 17, 0, byte(len(l4))}, l4))
	if check == 0 { // stands for none
		check = 0xffff
	}
	binary.BigEndian.PutUint16(l4[6:], check)
	if src.Is6() {
		h := append([]byte{0x60, 0, 0, 0, 0, byte(len(l4)), 17, 64}, slices.Concat(src.AsSlice(), dst.AsSlice())...)
		return append(h, l4...)
	}
	h := append([]byte{0x45, 0, 0, byte(20 + len(l4)), 0x12, 0x34, 0x40, 0, 64, 17, 0, 0}, slices.Concat(src.AsSlice(), dst.AsSlice())...)
	binary.BigEndian.PutUint16(h[10:], ^checksum(h))
	return append(h, l4...)
}

// checksum adds up byte by byte, otherwise than what is tested.
func checksum(b []byte) uint16 {
	var s uint32
	for i, c := range b {
		if i%2 == 0 {
			s += uint32(c) << 8
		} else {
			s += uint32(c)
		}
		s = s&0xffff + s>>16
	}
	return uint16(s&0xffff + s>>16)
}

var said = wire.ProbeAnswer{Path: wire.ProbeFallback, Active: true, Admitted: true, Time: time.UnixMilli(1795406400123).UTC()}

func TestAnswer(t *testing.T) {
	for _, c := range []struct{ src, dst netip.Addr }{{terminal4, gateway4}, {terminal6, gateway6}} {
		for nonce := range uint64(70000) { // some checksum among them is 0
			before := []byte("before")
			got := Answer(before, packet(c.src, c.dst, 40001, wire.ProbePort, wire.MarshalProbe(nonce<<17)), isGateway, said)
			if !bytes.HasPrefix(got, before) {
				t.Fatalf("%v, nonce %d: %x isn't appended", c.src, nonce, got)
			}
			got = got[len(before):]
			want := said
			want.Nonce = nonce << 17
			expect := packet(c.dst, c.src, wire.ProbePort, 40001, want.Append(nil))
			if c.src.Is4() {
				expect[4], expect[5] = 0, 0 // no identification
				expect[10], expect[11] = 0, 0
				binary.BigEndian.PutUint16(expect[10:], ^checksum(expect[:20]))
			}
			if !bytes.Equal(got, expect) {
				t.Fatalf("%v, nonce %d:\n got %x\nwant %x", c.src, nonce, got, expect)
			}
		}
	}
}

// An independent reader finds in the answer what was meant.
func TestAnswerIsReadable(t *testing.T) {
	got := Answer(nil, packet(terminal4, gateway4, 40001, wire.ProbePort, wire.MarshalProbe(9)), isGateway, said)
	h, err := ipv4.ParseHeader(got)
	if err != nil || h.TotalLen != len(got) || !h.Dst.Equal(terminal4.AsSlice()) || !h.Src.Equal(gateway4.AsSlice()) || h.Protocol != 17 || h.TTL == 0 {
		t.Errorf("header %v, %v", h, err)
	}
	got = Answer(nil, packet(terminal6, gateway6, 40001, wire.ProbePort, wire.MarshalProbe(9)), isGateway, said)
	h6, err := ipv6.ParseHeader(got)
	if err != nil || h6.PayloadLen != len(got)-40 || !h6.Dst.Equal(terminal6.AsSlice()) || !h6.Src.Equal(gateway6.AsSlice()) || h6.NextHeader != 17 || h6.HopLimit == 0 {
		t.Errorf("header %v, %v", h6, err)
	}
	a, err := wire.ParseProbeAnswer(got[48:])
	want := said
	want.Nonce = 9
	if err != nil || a != want {
		t.Errorf("answer %+v, %v; want %+v", a, err, want)
	}
}

func TestNoProbe(t *testing.T) {
	probe := wire.MarshalProbe(1)
	good4, good6 := packet(terminal4, gateway4, 40001, wire.ProbePort, probe), packet(terminal6, gateway6, 40001, wire.ProbePort, probe)
	edit := func(b []byte, at int, v byte) []byte {
		b = bytes.Clone(b)
		b[at] = v
		if b[0]>>4 == 4 && at < 20 && at != 10 && at != 11 {
			b[10], b[11] = 0, 0
			binary.BigEndian.PutUint16(b[10:], ^checksum(b[:20]))
		}
		return b
	}
	other := netip.MustParseAddr("10.90.0.2")
	answer := said.Append(nil)
	for name, pkt := range map[string][]byte{
		"empty":                   nil,
		"another port":            packet(terminal4, gateway4, 40001, wire.ProbePort+1, probe),
		"another address":         packet(terminal4, other, 40001, wire.ProbePort, probe),
		"another address, IPv6":   packet(terminal6, netip.MustParseAddr("fd00:90::2"), 40001, wire.ProbePort, probe),
		"an answer":               packet(terminal4, gateway4, 40001, wire.ProbePort, answer),
		"short":                   packet(terminal4, gateway4, 40001, wire.ProbePort, probe[:31]),
		"long":                    packet(terminal4, gateway4, 40001, wire.ProbePort, append(bytes.Clone(probe), 0)),
		"TCP":                     edit(good4, 9, 6),
		"TCP, IPv6":               edit(good6, 6, 6),
		"a first fragment":        edit(good4, 6, 0x20),
		"a later fragment":        edit(good4, 7, 1),
		"total length":            edit(good4, 3, 61),
		"payload length":          edit(good6, 5, 41),
		"UDP length":              edit(good4, 25, 41),
		"damaged header":          edit(good4, 10, good4[10]+1),
		"damaged probe":           edit(good4, 59, 1),
		"damaged probe, IPv6":     edit(good6, 79, 1),
		"no checksum over IPv6":   edit(edit(good6, 46, 0), 47, 0),
		"version 5":               edit(good4, 0, 0x55),
		"options":                 edit(good4, 0, 0x46),
		"version 2 of the probes": packet(terminal4, gateway4, 40001, wire.ProbePort, edit(probe, 4, 2)),
	} {
		if got := Answer(nil, pkt, isGateway, said); got != nil {
			t.Errorf("%s: answered with %x", name, got)
		}
	}
	bare := edit(edit(good4, 26, 0), 27, 0)
	if Answer(nil, bare, isGateway, said) == nil {
		t.Error("a probe over IPv4 without a checksum isn't answered")
	}
	for n := range good6 {
		if Answer(nil, good6[:n], isGateway, said) != nil || Answer(nil, good4[:min(n, len(good4)-1)], isGateway, said) != nil {
			t.Errorf("answered what is cut at %d", n)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	room := make([]byte, 0, 128)
	pkt := packet(terminal6, gateway6, 40001, wire.ProbePort, wire.MarshalProbe(1))
	if n := testing.AllocsPerRun(100, func() { Answer(room, pkt, isGateway, said) }); n != 0 {
		t.Errorf("%v allocations a probe", n)
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(packet(terminal4, gateway4, 40001, wire.ProbePort, wire.MarshalProbe(1)))
	f.Add(packet(terminal6, gateway6, 40001, wire.ProbePort, wire.MarshalProbe(1)))
	f.Add([]byte{0x45})
	f.Fuzz(func(t *testing.T, pkt []byte) {
		got := Answer(nil, pkt, isGateway, said)
		if got == nil {
			return
		}
		if !Likely(pkt) || len(got) != len(pkt) {
			t.Errorf("an answer of %d bytes to %d", len(got), len(pkt))
		}
		if Answer(nil, got, func(netip.Addr) bool { return true }, said) != nil {
			t.Errorf("an answer is answered: %x", got)
		}
	})
}
