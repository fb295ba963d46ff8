package gtptest

import (
	"bytes"
	"testing"
)

// What was sent is judged, once each, and a fault is told; what is inside a
// G-PDU is nobody's business.
func TestSentIsJudged(t *testing.T) {
	demand(t)
	var c collection
	good := New().Create()
	gpdu := append([]byte{0x30, 255, 0, 20, 0, 0, 0, 1}, bytes.Repeat([]byte{0x45}, 20)...)
	for range 2 {
		c.add(ControlPort, good)
		c.add(UserPort, gpdu)
		gpdu[7]++ // another tunnel
	}
	kept := c.frames[0].Payload
	clear(good)
	if len(c.frames) != 2 || kept[0] == 0 {
		t.Fatalf("%d messages kept of two, the first % x", len(c.frames), kept)
	}
	if err := c.judge(); err != nil {
		t.Error(err)
	}
	broken := append([]byte(nil), kept...)
	broken[14] = 0xff // the first element's length
	c.add(ControlPort, broken)
	if err := c.judge(); err == nil {
		t.Error("a broken message is not complained of")
	}
}

// There is a bound, and going beyond it is no secret.
func TestSentIsBounded(t *testing.T) {
	var c collection
	for i := range maxSent + 3 {
		c.add(UserPort, []byte{0x30, byte(i >> 16), byte(i >> 8), byte(i), 0, 0, 0, 0})
	}
	if len(c.frames) != maxSent || c.over != 3 {
		t.Errorf("%d kept, %d over", len(c.frames), c.over)
	}
	if c.judge() == nil {
		t.Error("messages that were not judged are passed over in silence")
	}
}
