package cluster

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

// lookupPatience is how long a connection by name may take before the address is tried,
// too, at which the peer was found last.
const lookupPatience = 50 * time.Millisecond

// dialer opens connections to peers by name. A name is looked up each time, since a
// node may have moved. But an election must not wait for a name server: those that
// remain have to find each other just when a machine is gone on which one ran, and a
// resolver gives a server that is silent 5 s as a rule. So when that takes long, or
// fails, the address is tried at which the peer was found last. Whoever is there has to
// prove that he is the peer.
type dialer struct {
	connect func(ctx context.Context, address string) (net.Conn, error) // by name or address

	mu   sync.Mutex
	last map[string]netip.AddrPort // where a name and port was found
}

func newDialer() *dialer {
	return &dialer{
		connect: func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		},
		last: map[string]netip.AddrPort{},
	}
}

// dial opens a connection to host:port.
func (d *dialer) dial(ctx context.Context, address string) (net.Conn, error) {
	if _, err := netip.ParseAddrPort(address); err == nil {
		return d.connect(ctx, address)
	}
	d.mu.Lock()
	last, known := d.last[address]
	d.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // a connection that is open stays
	type attempt struct {
		conn   net.Conn
		err    error
		byName bool
	}
	attempts := make(chan attempt, 2)
	try := func(at string, byName bool) {
		conn, err := d.connect(ctx, at)
		attempts <- attempt{conn, err, byName}
	}
	go try(address, true)
	open := 1
	var patience <-chan time.Time
	if known {
		timer := time.NewTimer(lookupPatience)
		defer timer.Stop()
		patience = timer.C
	}
	again := func() {
		if known {
			known = false
			open++
			go try(last.String(), false)
		}
	}
	var failed error
	for open > 0 {
		select {
		case <-patience:
			again()
		case a := <-attempts:
			open--
			switch {
			case a.err == nil:
				if open > 0 {
					go func() {
						if other := <-attempts; other.err == nil {
							other.conn.Close()
						}
					}()
				}
				if a.byName {
					d.found(address, a.conn)
				}
				return a.conn, nil
			case a.byName || failed == nil:
				failed = a.err
			}
			again()
		}
	}
	return nil, failed
}

// found notes where a name led to.
func (d *dialer) found(address string, conn net.Conn) {
	if at, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		d.mu.Lock()
		d.last[address] = netip.AddrPortFrom(at.AddrPort().Addr().Unmap(), at.AddrPort().Port())
		d.mu.Unlock()
	}
}
