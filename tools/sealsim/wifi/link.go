package wifi

import (
	"net/netip"
	"sync/atomic"
)

// Link is a station's association.
type Link struct {
	ap      *AccessPoint
	station Station
	address netip.Addr
	handler atomic.Pointer[func([]byte)]
	done    chan struct{}
	err     error // written before done is closed
}

// Address is the station's address and network, as DHCP would give them.
func (l *Link) Address() netip.Prefix {
	return netip.PrefixFrom(l.address, l.ap.cfg.Prefix.Bits())
}

// Router is the handset's address on the hotspot.
func (l *Link) Router() netip.Addr { return l.ap.cfg.Prefix.Addr() }

// Done is closed when the association ended; Err tells why.
func (l *Link) Done() <-chan struct{} { return l.done }

// Err returns why the association ended, nil while it holds.
func (l *Link) Err() error {
	select {
	case <-l.done:
		return l.err
	default:
		return nil
	}
}

// Handle makes fn receive the packets for the station; until then they are
// lost. fn must not keep the slice.
func (l *Link) Handle(fn func(packet []byte)) { l.handler.Store(&fn) }

func (l *Link) deliver(packet []byte) {
	if fn := l.handler.Load(); fn != nil {
		(*fn)(packet)
	}
}

// Send takes a packet of the station to the hotspot; it may be changed in
// place. After the end of the link it is lost.
func (l *Link) Send(packet []byte) {
	if l.Err() == nil {
		l.ap.fromStation(l, packet)
	}
}

// Leave ends the association.
func (l *Link) Leave() {
	l.ap.mu.Lock()
	defer l.ap.mu.Unlock()
	l.ap.remove(l, ErrLeft)
}
