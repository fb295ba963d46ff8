package address

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
)

// Driver moves a gateway address to this machine and away from it. One driver
// may carry several addresses. A [Keeper] calls it in the course of a tenure.
type Driver interface {
	// Up makes a this machine's. It returns when packets for a arrive here as far as
	// that is for the driver to bring about, or with an error and nothing changed.
	// The sockets at a are open already: what arrived before them would be answered
	// with "port unreachable".
	Up(ctx context.Context, a netip.Addr) error
	// Down undoes Up. When it returns, this machine answers for a no more.
	Down(a netip.Addr) error
}

// Kind names a driver.
type Kind string

// The drivers.
const (
	// Loopback is for addresses that every node has anyway, as all of 127.0.0.0/8 is:
	// there is nothing to do. Nodes on one machine exclude each other as only one of
	// them can open the sockets.
	Loopback Kind = "loopback"
	// Netlink puts the address on an interface while the node holds it, and tells the
	// neighbours.
	Netlink Kind = "netlink"
	// External leaves it to something else, such as a load balancer or an operator, to
	// bring packets to the holder. The sockets are open on the holder, whether its
	// machine has the address or not.
	External Kind = "external"
)

// UnmarshalText wants the name of a driver.
func (k *Kind) UnmarshalText(b []byte) error {
	switch kind := Kind(b); kind {
	case Loopback, Netlink, External:
		*k = kind
		return nil
	}
	return fmt.Errorf("%q is no way to move an address; write loopback, netlink or external", b)
}

// NewDriver makes the driver of a kind for addresses, which this node doesn't hold
// yet: what a process before left on the machine is taken away. holds tells whether this
// node may use an address right now; iface is Netlink's. The driver of the kinds
// that have nothing to do is nil, which a Keeper takes.
func NewDriver(kind Kind, iface string, addresses []netip.Addr, holds func(netip.Addr) bool, log *slog.Logger) (Driver, error) {
	if kind != Netlink {
		return nil, nil
	}
	return newNetlink(iface, addresses, holds, log)
}

// ListenConfig opens sockets as a driver of the kind needs them: before the address
// is there, except on loopback.
func ListenConfig(kind Kind) net.ListenConfig {
	if kind == Loopback {
		return net.ListenConfig{}
	}
	return net.ListenConfig{Control: freeBind}
}
