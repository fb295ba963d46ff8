package ipstack

import (
	"context"
	"net/netip"
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
	if err != nil || f.Sent < 30 || f.Sent-f.Answered != 10 || f.Gap < 11*time.Millisecond {
		t.Errorf("%v, %v", f, err)
	}
}
