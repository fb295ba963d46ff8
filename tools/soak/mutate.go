package main

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
)

// mutator bends real messages. It has one owner, and does the same again for the
// same seed and the same messages.
type mutator struct{ *rand.Rand }

// span is a part of a message.
type span struct{ from, to int }

// bend returns a copy of a message with one to four things changed. The copy
// may be anything, among them, seldom, the message itself.
func (m mutator) bend(b []byte) []byte {
	b = bytes.Clone(b)
	mend := m.IntN(4) > 0 // the header's length is made right again, so that the rest is looked at
	for range 1 + m.IntN(4) {
		if len(b) == 0 {
			return b
		}
		switch m.IntN(7) {
		case 0:
			at := m.IntN(len(b))
			b[at] ^= 1 << m.IntN(8)
		case 1:
			b[m.IntN(len(b))] = byte(m.Uint32())
		case 2:
			b = b[:m.IntN(len(b)+1)]
		case 3:
			b = m.bendLength(b)
		case 4:
			if all := elements(b); len(all) > 0 {
				e := all[m.IntN(len(all))]
				b = slices.Delete(b, e.from, e.to)
			}
		case 5:
			if all := elements(b); len(all) > 0 {
				e, at := all[m.IntN(len(all))], all[m.IntN(len(all))].from
				b = slices.Insert(b, at, bytes.Clone(b[e.from:e.to])...)
			}
		case 6:
			if all := elements(b); len(all) > 0 {
				e := all[m.IntN(len(all))]
				for i := e.from; i < e.to; i++ {
					if m.IntN(2) == 0 {
						b[i] ^= byte(m.Uint32())
					}
				}
			}
		}
	}
	if mend {
		putLength(b)
	}
	return b
}

// bendLength makes one length wrong: the header's, or an element's.
func (m mutator) bendLength(b []byte) []byte {
	at := 2
	if all := elements(b); len(all) > 0 && m.IntN(3) > 0 {
		at = all[m.IntN(len(all))].from + 1
	}
	if at+2 > len(b) {
		return b
	}
	was := binary.BigEndian.Uint16(b[at:])
	binary.BigEndian.PutUint16(b[at:], []uint16{0, 1, was - 1, was + 1, 0x7fff, 0xffff, uint16(m.Uint32())}[m.IntN(7)])
	return b
}

// mislead returns a copy whose header has a wrong length, which makes it nobody's
// request whatever it says (TS 29.060 11.1.2, TS 29.274 7.7.3).
func (m mutator) mislead(b []byte) []byte {
	b = m.bend(b)
	if len(b) < 4 {
		return b
	}
	b[0] &^= 0x10 // over GTPv2: nothing is piggybacked (TS 29.274 5.5.1)
	if b[0]>>5 == 1 {
		b[0] |= 0x10 // it is GTP, not GTP'
	}
	right := length(b)
	wrong := right
	for wrong == right {
		wrong = uint16(m.Uint32())
		if m.IntN(2) == 0 {
			wrong = right + uint16(m.IntN(9)) - 4
		}
	}
	binary.BigEndian.PutUint16(b[2:], wrong)
	return b
}

// length is what a header's length has to be: of what comes behind its mandatory
// part, eight octets in version 1 and four in version 2.
func length(b []byte) uint16 {
	if b[0]>>5 == 1 {
		return uint16(len(b) - 8)
	}
	return uint16(len(b) - 4)
}

func putLength(b []byte) {
	if len(b) >= 8 {
		binary.BigEndian.PutUint16(b[2:], length(b))
	}
}

// single are the lengths of elements of GTPv1 that have none on the wire, with
// their type (TS 29.060 table 37).
var single = map[byte]int{
	1: 2, 2: 9, 3: 7, 4: 5, 5: 5, 8: 2, 9: 29, 11: 2, 12: 4, 13: 2, 14: 2, 15: 2, 16: 5, 17: 5, 18: 6, 19: 2, 20: 2, 21: 2,
	22: 2, 23: 2, 24: 2, 25: 3, 26: 3, 27: 3, 28: 3, 29: 2, 127: 5,
}

// elements are a message's information elements, for as long as they can be told
// apart. G-PDUs have none.
func elements(b []byte) (all []span) {
	if len(b) < 8 {
		return nil
	}
	v1, at := b[0]>>5 == 1, 8
	if v1 && b[1] == gPDU {
		return nil
	}
	if v1 && b[0]&7 != 0 || !v1 && b[0]&8 != 0 {
		at = 12
	}
	for at < len(b) {
		size := 0
		switch {
		case v1 && b[at] < 128:
			size = single[b[at]]
		case v1 && at+3 <= len(b):
			size = 3 + int(binary.BigEndian.Uint16(b[at+1:]))
		case !v1 && at+4 <= len(b):
			size = 4 + int(binary.BigEndian.Uint16(b[at+1:]))
		}
		if size == 0 || at+size > len(b) {
			break
		}
		all = append(all, span{at, at + size})
		at += size
	}
	return all
}
