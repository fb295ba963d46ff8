package e2e

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sealedge/sealedge/tools/sealsim/carrier"
)

// tap keeps every datagram that a carrier sends and hears. It needs no
// privilege, as it sits on the simulator's own sockets.
type tap struct {
	t *testing.T

	mu      sync.Mutex
	frames  []frame                         // guarded by mu
	budget  int                             // guarded by mu: bytes of the user plane that still get through; 0: all do, negative: none
	sockets map[netip.AddrPort]*net.UDPConn // guarded by mu
}

// frame is one datagram.
type frame struct {
	at       time.Time
	from, to netip.AddrPort
	payload  []byte
	heard    bool // by the carrier
}

// Message types of GTPv2-C (TS 29.274 table 6.1-1) and GTP-U (TS 29.281
// table 6-1) that scenarios look for.
const (
	createSessionRequest  = 32
	createSessionResponse = 33
	modifyBearerRequest   = 34
	deleteSessionRequest  = 36
	deleteBearerRequest   = 99
	errorIndication       = 26
)

// is tells whether a frame is a GTP message of that type, of the plane that
// its port says.
func (f frame) is(port uint16, kind byte) bool {
	return (f.from.Port() == port || f.to.Port() == port) && len(f.payload) >= 8 && f.payload[1] == kind
}

func newTap(t *testing.T) *tap { return &tap{t: t, sockets: map[netip.AddrPort]*net.UDPConn{}} }

// listen is the seam of carrier.Config.
func (p *tap) listen(at netip.AddrPort) (carrier.Conn, error) {
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sockets[at] = conn
	return &tapped{conn, p, at}, nil
}

func (p *tap) note(from, to netip.AddrPort, payload []byte, heard bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frames = append(p.frames, frame{time.Now(), from, to, slices.Clone(payload), heard})
}

// all lists the frames so far that are wanted.
func (p *tap) all(wanted func(frame) bool) []frame {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []frame
	for _, f := range p.frames {
		if wanted(f) {
			out = append(out, f)
		}
	}
	return out
}

// limit has what the carrier sends on the user plane be lost after so many bytes, until
// the limit is 0.
func (p *tap) limit(bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.budget = bytes
}

// spend tells whether bytes of the user plane are lost.
func (p *tap) spend(bytes int) (lost bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.budget < 0:
		return true
	case p.budget > 0:
		if p.budget -= bytes; p.budget <= 0 {
			p.budget = -1
		}
	}
	return false
}

// heardDistinct is how many messages of a type the carrier heard, each counted once:
// a busy machine answers late, and then a request is sent again as it was.
func (p *tap) heardDistinct(kind byte) int {
	return len(distinct(p.all(func(f frame) bool { return f.heard && f.is(carrier.ControlPort, kind) })))
}

// distinct are the frames without those that are sent again.
func distinct(frames []frame) (all []frame) {
	for _, f := range frames {
		if !slices.ContainsFunc(all, func(g frame) bool { return g.from == f.from && g.to == f.to && bytes.Equal(g.payload, f.payload) }) {
			all = append(all, f)
		}
	}
	return all
}

// one waits for the first wanted frame.
func (p *tap) one(what string, wanted func(frame) bool) frame {
	p.t.Helper()
	var found []frame
	until(p.t, what, func() bool { found = p.all(wanted); return len(found) > 0 })
	return found[0]
}

// send sends bytes from one of the carrier's sockets, behind its back.
func (p *tap) send(from, to netip.AddrPort, payload []byte) {
	p.t.Helper()
	p.mu.Lock()
	conn := p.sockets[from]
	p.mu.Unlock()
	p.note(from, to, payload, false)
	if _, err := conn.WriteToUDPAddrPort(payload, to); err != nil {
		p.t.Fatal(err)
	}
}

// noEnding fails the test if the gateway ended a session: the carrier must not
// have heard a Delete Bearer Request or an Error Indication.
func (p *tap) noEnding() {
	p.t.Helper()
	for _, f := range p.all(func(f frame) bool {
		return f.heard && (f.is(carrier.ControlPort, deleteBearerRequest) || f.is(carrier.UserPort, errorIndication))
	}) {
		p.t.Errorf("the carrier heard message type %d from %s: % x", f.payload[1], f.from, f.payload)
	}
}

// tapped is a socket of the carrier. It is no *net.UDPConn, so the carrier
// reads and writes one datagram at a time.
type tapped struct {
	conn *net.UDPConn
	tap  *tap
	at   netip.AddrPort
}

func (c *tapped) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	n, from, err := c.conn.ReadFromUDPAddrPort(b)
	if err == nil {
		c.tap.note(netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), c.at, b[:n], true)
	}
	return n, from, err
}

func (c *tapped) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	c.tap.note(c.at, to, b, false)
	if to.Port() == carrier.UserPort && c.tap.spend(len(b)) {
		return len(b), nil // lost on the way
	}
	return c.conn.WriteToUDPAddrPort(b, to)
}

func (c *tapped) Close() error { return c.conn.Close() }

func (f frame) String() string {
	return fmt.Sprintf("%s > %s: % x", f.from, f.to, f.payload)
}
