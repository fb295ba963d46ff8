package ipstack

import (
	"context"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A flow knows what was lost on the way, and for how long.
func TestFlow(t *testing.T) {
	phone, gateway := netip.MustParsePrefix("10.90.0.7/32"), netip.MustParsePrefix("10.90.0.1/32")
	a, err := New(phone, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := New(gateway, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ctx, stop := context.WithCancel(t.Context())
	var n atomic.Int32
	a.SetLink(func(packet []byte) {
		switch i := n.Add(1); {
		case i == 30:
			stop()
			fallthrough
		case i <= 10 || i > 20:
			b.Deliver(packet)
			if i == 3 {
				b.Deliver(packet) // twice is once
			}
		}
	})
	b.SetLink(a.Deliver)
	f, err := a.Flow(ctx, gateway.Addr(), time.Millisecond)
	if err != nil || f.Sent < 30 || f.Sent-f.Answered != 10 {
		t.Errorf("%v, %v", f, err)
	}
}

// The gap reaches from one request that was answered to the next, by the times at which
// they were sent; from the first and to the last one when those were lost.
func TestGap(t *testing.T) {
	start := time.Date(2026, 11, 23, 7, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		answered string // + or - for each request, a millisecond after the last one
		gap      time.Duration
	}{
		{"", 0},
		{"+", 0},
		{"-", 0},
		{"+++", time.Millisecond},
		{"+----+-+", 5 * time.Millisecond},
		{"---++", 3 * time.Millisecond},
		{"++---", 3 * time.Millisecond},
		{"----", 3 * time.Millisecond},
	} {
		var sent []time.Time
		var answered []bool
		for i, a := range c.answered {
			sent, answered = append(sent, start.Add(time.Duration(i)*time.Millisecond)), append(answered, a == '+')
		}
		n := strings.Count(c.answered, "+")
		if f := tally(sent, answered, n); f != (Flow{Sent: len(sent), Answered: n, Gap: c.gap}) {
			t.Errorf("%q: %v; want a gap of %v", c.answered, f, c.gap)
		}
	}
}
