package phoneapi

import (
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
)

// A terminal with IPv6 alone uses a seal, from one of its addresses and then from
// another, as one does whose addresses change for its privacy.
func TestUseOverIPv6(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.w.AttachAs(usetest.Terminal, usetest.IPv6)
		first, later := usetest.Address6(usetest.Terminal, 1), usetest.Address6(usetest.Terminal, 2)
		r.send("GET", wire.PathStatus, nil).refused(t, wire.CodeTerminalUnknown) // it has no IPv4 any more
		var status wire.Status
		r.sendFrom(first, "GET", wire.PathStatus, nil).want(t, 200, &status)
		if status.Terminal != first.String() || status.APN != usetest.APN {
			t.Errorf("status %+v", status)
		}
		r.sendFrom(first, "POST", wire.PathLogin, wire.LoginRequest{User: usetest.User, Password: "correct horse"}).want(t, 200, nil)
		r.sendFrom(first, "POST", wire.PathAssociations, wire.Association{MAC: usetest.MAC(usetest.Barrel), Event: wire.EventJoin}).want(t, 200, nil)

		req := usetest.Request("r1", time.Now())
		r.sendFrom(first, "POST", wire.PathUses, req, "Authorization", bearer).refused(t, wire.CodeAddressMismatch) // its old IPv4 address
		req.TerminalAddress = usetest.Address6(usetest.Other, 1).String()
		r.sendFrom(first, "POST", wire.PathUses, req, "Authorization", bearer).refused(t, wire.CodeAddressMismatch)
		req.TerminalAddress = first.String()
		var granted, again wire.UseAnswer
		r.sendFrom(first, "POST", wire.PathUses, req, "Authorization", bearer).want(t, 201, &granted)
		req.TerminalAddress = later.String()
		r.sendFrom(later, "POST", wire.PathUses, req, "Authorization", bearer).want(t, 201, &again)
		if granted.Use == 0 || again.Use != granted.Use {
			t.Errorf("granted %d, and then %d", granted.Use, again.Use)
		}
		use := r.w.Use(granted.Use)
		r.sendFrom(later, "POST", wire.ReceiptsPath(use.Id), wire.ReceiptReport{Receipt: usetest.Receipt(t, use, 1)}).want(t, 200, nil)
		r.sendFrom(later, "POST", wire.SettlementPath(use.Id), wire.SettlementReport{Statement: usetest.Statement(t, use, 1)}).want(t, 200, nil)
		// It is its own, and ends with the session, for all addresses.
		r.sendFrom(usetest.Address(usetest.Other), "GET", wire.UsePath(use.Id), nil).refused(t, wire.CodeUseUnknown)
		r.w.Do(&command.RevokeSubscriber{Imsi: usetest.Terminal, Reason: "lost"})
		for _, from := range []netip.Addr{first, later} {
			r.sendFrom(from, "GET", wire.PathStatus, nil).refused(t, wire.CodeTerminalUnknown)
		}
	})
}

// A terminal with a /64 has no more attempts than one with an address.
func TestRateLimitsAreOfTheTerminal(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.w.AttachAs(usetest.Terminal, usetest.IPv6)
		r.w.AttachAs(usetest.Other, usetest.IPv6)
		guess := wire.LoginRequest{User: "eve", Password: "guess"}
		for n := range byte(5) {
			r.sendFrom(usetest.Address6(usetest.Terminal, n), "POST", wire.PathLogin, guess).refused(t, wire.CodeLoginFailed)
		}
		r.sendFrom(usetest.Address6(usetest.Terminal, 77), "POST", wire.PathLogin, guess).refused(t, wire.CodeRateLimited)
		r.sendFrom(usetest.Address6(usetest.Other, 1), "POST", wire.PathLogin, guess).refused(t, wire.CodeLoginFailed)
	})
	bubble(t, func(t *testing.T, r *rig) {
		r.w.AttachAs(usetest.Terminal, usetest.IPv6)
		for n := range 40 {
			r.sendFrom(usetest.Address6(usetest.Terminal, byte(n%8)), "GET", wire.PathStatus, nil).want(t, 200, nil)
		}
		r.sendFrom(usetest.Address6(usetest.Terminal, 77), "GET", wire.PathStatus, nil).refused(t, wire.CodeRateLimited)
	})
}

// closing notes that it was closed.
type closing struct {
	net.Conn
	from   net.Addr
	closed bool
}

func (c *closing) RemoteAddr() net.Addr { return c.from }
func (c *closing) Close() error         { c.closed = true; return nil }

// Nor has it more connections.
func TestConnectionsAreOfTheTerminal(t *testing.T) {
	count := &connCount{by: make(map[netip.Prefix]int)}
	open := func(from netip.Addr) *closing {
		c := &closing{from: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 40000))}
		count.track(c, http.StateNew)
		return c
	}
	var conns []*closing
	for n := range byte(maxConns) {
		c := open(usetest.Address6(usetest.Terminal, n))
		if conns = append(conns, c); c.closed {
			t.Fatalf("connection %d is closed", n)
		}
	}
	if c := open(usetest.Address6(usetest.Terminal, 77)); !c.closed {
		t.Error("one more from another address is let in")
	} else {
		conns = append(conns, c)
	}
	if open(usetest.Address6(usetest.Other, 1)).closed {
		t.Error("another terminal's is closed")
	}
	for _, c := range conns {
		count.track(c, http.StateClosed)
	}
	if len(count.by) != 1 {
		t.Errorf("%d terminals are counted, want 1", len(count.by))
	}
}
