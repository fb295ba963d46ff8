package main

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

var (
	deleteV2 = []byte{0x48, 36, 0, 21, 1, 2, 3, 4, 0, 0, 9, 0, 73, 0, 1, 0, 5, 3, 0, 1, 0, 7, 127, 0, 0}
	deleteV1 = []byte{0x32, 20, 0, 8, 1, 2, 3, 4, 0, 9, 0, 0, 19, 0xff, 20, 5}
)

func TestElements(t *testing.T) {
	for name, c := range map[string]struct {
		b    []byte
		want []span
	}{
		"GTPv2":           {deleteV2, []span{{12, 17}, {17, 22}}},
		"GTPv1":           {deleteV1, []span{{12, 14}, {14, 16}}},
		"no TEID":         {[]byte{0x40, 1, 0, 9, 0, 0, 1, 0, 3, 0, 1, 0, 7}, []span{{8, 13}}},
		"a G-PDU":         {[]byte{0x30, 255, 0, 4, 1, 2, 3, 4, 20, 5, 20, 5}, nil},
		"a header":        {deleteV2[:12], nil},
		"less":            {deleteV2[:5], nil},
		"unknown element": {[]byte{0x32, 20, 0, 8, 1, 2, 3, 4, 0, 9, 0, 0, 20, 5, 99, 1}, []span{{12, 14}}},
	} {
		got := elements(c.b)
		if len(got) != len(c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%s: %v, want %v", name, got, c.want)
			}
		}
	}
}

// The same seed does the same again, and originals stay as they are.
func TestMutationsRepeat(t *testing.T) {
	one, two := mutator{rand.New(rand.NewPCG(1, 2))}, mutator{rand.New(rand.NewPCG(1, 2))}
	original := bytes.Clone(deleteV2)
	different := map[string]bool{}
	for range 1000 {
		b := one.bend(deleteV2)
		if !bytes.Equal(b, two.bend(deleteV2)) {
			t.Fatal("two mutations with one seed")
		}
		different[string(b)] = true
	}
	if !bytes.Equal(deleteV2, original) {
		t.Error("the original was changed")
	}
	if len(different) < 500 {
		t.Errorf("%d different mutations of 1000", len(different))
	}
}

// What misleads never has a length that is right, whichever version it became.
func TestMisleadingLength(t *testing.T) {
	m := mutator{rand.New(rand.NewPCG(3, 4))}
	for i := range 10_000 {
		b := m.mislead([][]byte{deleteV1, deleteV2}[i%2])
		if len(b) < 8 {
			continue
		}
		size, version := int(binary.BigEndian.Uint16(b[2:])), b[0]>>5
		if version == 1 && size+8 == len(b) || version == 2 && (size+4 == len(b) || b[0]&0x10 != 0) {
			t.Fatalf("% x has a right length", b)
		}
	}
}
