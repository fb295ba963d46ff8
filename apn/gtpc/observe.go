package gtpc

import (
	"net"
	"net/netip"
	"time"

	"github.com/sealedge/sealedge/apn/gtp"
)

// Event is one message of the signalling, for whoever traces it.
type Event struct {
	Time        time.Time // of its arrival, or of its sending
	Sent        bool      // by us
	Local, Peer netip.AddrPort
	Datagram    []byte // not to be changed
	IMSI        string // whom it is about; empty: nobody, or not known
	Comment     string // what was decided upon it, for people; may be empty
}

// observe reports a message, if anybody wants to know.
func (l *loop) observe(e Event) {
	if l.s.cfg.Observe == nil {
		return
	}
	e.Local = l.local
	l.s.cfg.Observe(e)
}

// arrived reports a message from a peer, once it is known whom it is about.
func (l *loop) arrived(a arrival, imsi, comment string) {
	l.observe(Event{Time: a.at, Peer: a.peer, Datagram: a.raw, IMSI: imsi, Comment: comment})
}

// imsiOf is whom a message says that it is about; empty when it doesn't say.
func imsiOf(m gtp.Message) string {
	switch m := m.(type) {
	case *gtp.CreateSessionRequest:
		return m.IMSI.String()
	case *gtp.CreatePDPContextRequest:
		return m.IMSI.String()
	case *gtp.UpdatePDPContextRequest:
		return m.IMSI.String()
	}
	return ""
}

// localAddr is the address of a socket that has one.
func localAddr(c Conn) netip.AddrPort {
	if c, ok := c.(interface{ LocalAddr() net.Addr }); ok {
		if a, ok := c.LocalAddr().(*net.UDPAddr); ok {
			p := a.AddrPort()
			return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
		}
	}
	return netip.AddrPort{}
}
