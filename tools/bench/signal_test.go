package main

import (
	"testing"

	"github.com/sealedge/sealedge/apn/gtp"
)

// What loads the control plane is what a gateway takes.
func TestCreatesAreRead(t *testing.T) {
	for _, p := range []protocol{1, 2} {
		b := p.create(12345, carrierAddress)
		p.number(b, 0xabcd)
		m, err := gtp.Parse(b)
		if err != nil {
			t.Fatalf("%v: %v (% x)", p, err, b)
		}
		if h := m.Head(); h.Seq != 0xabcd || h.TEID != 0 || h.Version != uint8(p) {
			t.Errorf("%v: header %+v", p, h)
		}
		switch m := m.(type) {
		case *gtp.CreateSessionRequest:
			if m.IMSI.String() != imsiOf(12345) || m.MSISDN.String() != msisdnOf(12345) || m.APN.String() != apnName {
				t.Errorf("%v: %+v", p, m)
			}
		case *gtp.CreatePDPContextRequest:
			if m.IMSI.String() != imsiOf(12345) || m.MSISDN.String() != msisdnOf(12345) || m.APN.String() != apnName {
				t.Errorf("%v: %+v", p, m)
			}
		default:
			t.Errorf("%v: a %T", p, m)
		}
		b = p.remove(0x01020304)
		if m, err = gtp.Parse(b); err != nil || m.Head().TEID != 0x01020304 {
			t.Errorf("%v: a delete is read as %+v, %v", p, m, err)
		}
	}
}

// Answers are read whole, and cut anywhere they do no harm.
func TestAnswersAreRead(t *testing.T) {
	v2 := ieV2([]byte{0x48, 33, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0}, 2, 0, []byte{16, 0})
	v2 = ieV2(v2, 87, 1, tunnelEnd(7, 0x01020304, gatewayAddress))
	v1 := []byte{0x32, 17, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 1, 128, 8, 0xfe, 14, 3, 16, 1, 1, 1, 1, 17, 1, 2, 3, 4, 127, 0, 0, 0, 1}
	for p, b := range map[protocol][]byte{1: v1, 2: v2} {
		cause, teid, err := p.read(b)
		if err != nil || !p.accepted(cause) || teid != 0x01020304 {
			t.Errorf("%v: cause %d, TEID %#x, %v", p, cause, teid, err)
		}
		for n := range b {
			if _, teid, err := p.read(b[:n]); err == nil && teid != 0 && teid != 0x01020304 {
				t.Errorf("%v: cut at %d: TEID %#x", p, n, teid)
			}
		}
	}
	for cause, want := range map[byte][2]bool{16: {false, true}, 18: {false, true}, 64: {false, false}, 128: {true, false}, 129: {true, false}, 199: {false, false}} {
		if protocol(1).accepted(cause) != want[0] || protocol(2).accepted(cause) != want[1] {
			t.Errorf("cause %d", cause)
		}
	}
}
