package wire

import (
	"bytes"
	"errors"
	"testing"
	"time"
)

func TestProbe(t *testing.T) {
	b := MarshalProbe(0x0102030405060708)
	if nonce, ok := ParseProbe(b); !ok || nonce != 0x0102030405060708 || len(b) != ProbeSize {
		t.Errorf("%x reads as %x, %v", b, nonce, ok)
	}
	for n := range len(b) {
		if _, ok := ParseProbe(b[:n]); ok {
			t.Errorf("cut at %d it is one yet", n)
		}
	}
	for i := range 5 {
		bad := bytes.Clone(b)
		bad[i] ^= 0x40
		if _, ok := ParseProbe(bad); ok {
			t.Errorf("with another byte %d it is one yet", i)
		}
	}
}

func TestProbeAnswer(t *testing.T) {
	for _, a := range []ProbeAnswer{
		{Nonce: 7, Path: ProbeCarrier, Active: true, Admitted: true, Time: time.UnixMilli(1795334400123).UTC()},
		{Nonce: 1 << 63, Path: ProbeFallback, Admitted: true, Time: time.UnixMilli(0).UTC()},
	} {
		b := a.Append(nil)
		if got, err := ParseProbeAnswer(b); err != nil || got != a || len(b) != ProbeSize {
			t.Errorf("%x reads as %+v, %v", b, got, err)
		}
		for n := range len(b) {
			if _, err := ParseProbeAnswer(b[:n]); !errors.Is(err, ErrMalformed) {
				t.Errorf("cut at %d: %v", n, err)
			}
		}
	}
	bad := ProbeAnswer{Path: 3}.Append(nil)
	if _, err := ParseProbeAnswer(bad); !errors.Is(err, ErrMalformed) {
		t.Errorf("of no path: %v", err)
	}
	if _, err := ParseProbeAnswer(MarshalProbe(1)); !errors.Is(err, ErrMalformed) {
		t.Errorf("a probe: %v", err)
	}
}

func FuzzProbe(f *testing.F) {
	f.Add(MarshalProbe(1))
	f.Add(ProbeAnswer{Nonce: 7, Path: ProbeFallback}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if nonce, ok := ParseProbe(b); ok && !bytes.Equal(MarshalProbe(nonce)[:16:16][8:], b[8:16]) {
			t.Fatalf("%x", b)
		}
		if a, err := ParseProbeAnswer(b); err == nil {
			if again, err := ParseProbeAnswer(a.Append(nil)); err != nil || again != a {
				t.Fatalf("%x reads as %+v, which reads as %+v, %v", b, a, again, err)
			}
		}
	})
}
