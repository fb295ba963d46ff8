package carrier

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// ErrNoRouter is returned when no router advertisement came.
var ErrNoRouter = errors.New("no router advertised itself")

// How often a host solicits, and after what time again (RFC 4861 10).
const (
	maxSolicitations     = 3
	solicitationInterval = 4 * time.Second
)

// Messages and options of neighbour discovery (RFC 4861 4).
const (
	routerSolicitation  = 133
	routerAdvertisement = 134
	optionPrefix        = 3
	optionMTU           = 5
)

var allRouters = netip.MustParseAddr("ff02::2")

// Router is what the gateway advertised, and the address that the terminal made
// of it.
type Router struct {
	Address  netip.Addr // the terminal's: the prefix and its interface identifier
	Router   netip.Addr // link-local
	Prefix   netip.Prefix
	OnLink   bool          // the L flag of the prefix
	Valid    time.Duration // of the prefix; forever is 2^32-1 s
	Lifetime time.Duration // of the router
	MTU      int           // bytes; 0: not told
}

// terminal is the part of a terminal that the network drives.
type terminal struct {
	mu     sync.Mutex
	router *Router         // last heard; guarded by mu
	error  error           // of the last advertisement; guarded by mu
	heard  chan struct{}   // closed by the next advertisement; guarded by mu
	count  uint64          // advertisements heard; guarded by mu
	echoes map[uint16]echo // pings that wait, by identifier; guarded by mu
	pings  atomic.Int32    // how many are in echoes
	next   uint16          // guarded by mu
}

// LinkLocal is the terminal's link-local address, of the interface identifier
// that the gateway gave (TS 29.061 11.2.1.3).
func (b *Bearer) LinkLocal() netip.Addr {
	a := [16]byte{0xfe, 0x80}
	id := b.Granted().InterfaceID
	copy(a[8:], id[:])
	return netip.AddrFrom16(a)
}

// Autoconfigure makes the terminal's IPv6 address: it solicits a router from
// its link-local address and reads the advertisement (RFC 4861 6.3.7, RFC 4862
// 5.5; TS 29.061 11.2.1.3). An advertisement that no 3GPP terminal could use is
// an error.
func (b *Bearer) Autoconfigure(ctx context.Context) (Router, error) {
	if !b.Granted().Prefix.IsValid() {
		return Router{}, errors.New("autoconfigure: the session has no IPv6")
	}
	solicitation := icmp6(b.LinkLocal(), allRouters, []byte{routerSolicitation, 0, 0, 0, 0, 0, 0, 0})
	timer := time.NewTimer(solicitationInterval)
	defer timer.Stop()
	for range maxSolicitations {
		heard := b.terminal.nextAdvertisement()
		if err := b.Send(solicitation); err != nil {
			return Router{}, fmt.Errorf("autoconfigure: %w", err)
		}
		select {
		case <-heard:
			return b.autoconfigured()
		case <-b.done:
			return Router{}, fmt.Errorf("autoconfigure: %w", b.err)
		case <-ctx.Done():
			return Router{}, context.Cause(ctx)
		case <-timer.C:
			timer.Reset(solicitationInterval)
		}
	}
	return Router{}, ErrNoRouter
}

// autoconfigured is what the last advertisement amounts to.
func (b *Bearer) autoconfigured() (Router, error) {
	b.terminal.mu.Lock()
	defer b.terminal.mu.Unlock()
	if b.terminal.error != nil {
		return Router{}, fmt.Errorf("router advertisement: %w", b.terminal.error)
	}
	r := *b.terminal.router
	if given := b.Granted().Prefix; r.Prefix != given {
		return r, fmt.Errorf("router advertisement: %w: prefix %v, the session's is %v", ErrProtocol, r.Prefix, given)
	}
	a, id := r.Prefix.Addr().As16(), b.Granted().InterfaceID
	copy(a[8:], id[:])
	r.Address = netip.AddrFrom16(a)
	return r, nil
}

// Advertisements counts the router advertisements so far, and returns a channel
// that is closed by the next.
func (b *Bearer) Advertisements() (n uint64, next <-chan struct{}) {
	next = b.terminal.nextAdvertisement()
	b.terminal.mu.Lock()
	defer b.terminal.mu.Unlock()
	return b.terminal.count, next
}

func (t *terminal) nextAdvertisement() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.heard == nil {
		t.heard = make(chan struct{})
	}
	return t.heard
}

// hears takes a downlink packet that is for the terminal itself.
func (t *terminal) hears(packet []byte) bool {
	if t.pings.Load() > 0 && t.echoed(packet) {
		return true
	}
	from, body, ok := readICMP6(packet)
	if !ok || body[0] != routerAdvertisement {
		return false
	}
	r, err := readAdvertisement(from, packet[7], body)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.router, t.error = &r, err
	t.count++
	if t.heard != nil {
		close(t.heard)
		t.heard = nil
	}
	return true
}

// readAdvertisement reads a router advertisement as a 3GPP terminal does: there
// is exactly one prefix, of 64 bits, to make addresses of (RFC 4861 6.1.2,
// TS 29.061 11.2.1.3).
func readAdvertisement(from netip.Addr, hopLimit uint8, b []byte) (r Router, err error) {
	bad := func(what string) (Router, error) { return r, fmt.Errorf("%w: %s", ErrProtocol, what) }
	if hopLimit != 255 || !from.IsLinkLocalUnicast() || len(b) < 16 || b[1] != 0 {
		return bad("not from a neighbour, or too short")
	}
	r.Router, r.Lifetime = from, time.Duration(binary.BigEndian.Uint16(b[6:]))*time.Second
	for b = b[16:]; len(b) > 0; {
		if len(b) < 8 || b[1] == 0 || int(b[1])*8 > len(b) {
			return bad("an option's length")
		}
		o := b[:int(b[1])*8]
		b = b[len(o):]
		switch {
		case o[0] == optionMTU && len(o) == 8:
			r.MTU = int(binary.BigEndian.Uint32(o[4:]))
		case o[0] == optionPrefix && len(o) == 32:
			if r.Prefix.IsValid() {
				return bad("two prefixes")
			}
			if o[2] != 64 || o[3]&0x40 == 0 {
				return bad("a prefix not to make addresses of")
			}
			r.Prefix = netip.PrefixFrom(netip.AddrFrom16([16]byte(o[16:])), 64)
			r.OnLink, r.Valid = o[3]&0x80 != 0, time.Duration(binary.BigEndian.Uint32(o[4:]))*time.Second
		}
	}
	switch {
	case !r.Prefix.IsValid():
		return bad("no prefix")
	case r.Prefix != r.Prefix.Masked():
		return bad("bits after the prefix")
	case r.Valid == 0 || r.Lifetime == 0:
		return bad("no lifetime")
	}
	return r, nil
}
