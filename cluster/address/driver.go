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
	// Up makes a this machine's in a tenure of that epoch. It returns when packets for a
	// arrive here as far as that is for the driver to bring about, or with an error and
	// nothing changed. The sockets at a are open already: what arrived before them would
	// be answered with "port unreachable".
	Up(ctx context.Context, a netip.Addr, epoch uint64) error
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
	// Service tells a Service of Kubernetes which pod the holder is, by its EndpointSlice.
	// The address is the load balancer's, the sockets are at the pod's own.
	Service Kind = "service"
)

// UnmarshalText wants the name of a driver.
func (k *Kind) UnmarshalText(b []byte) error {
	switch kind := Kind(b); kind {
	case Loopback, Netlink, External, Service:
		*k = kind
		return nil
	}
	return fmt.Errorf("%q is no way to move an address; write loopback, netlink, external or service", b)
}

// Settings are what drivers need.
type Settings struct {
	Addresses []netip.Addr          // of the cluster; this node holds none yet
	Holds     func(netip.Addr) bool // whether this node may use an address right now
	Interface string                // Netlink's
	Endpoint  Endpoint              // Service's
	// Life tells the lives of a cluster apart, in which epochs may begin anew: it is
	// greater after each restore and forced recovery. Service's.
	Life   func() int64
	Logger *slog.Logger
}

// NewDriver makes the driver of a kind. What a process before left on the machine is
// taken away. The driver of the kinds that have nothing to do is nil, which a Keeper
// takes.
func NewDriver(kind Kind, s Settings) (Driver, error) {
	switch kind {
	case Netlink:
		return newNetlink(s.Interface, s.Addresses, s.Holds, s.Logger)
	case Service:
		return newService(s)
	}
	return nil, nil
}

// ListenConfig opens sockets as a driver of the kind needs them: before the address
// is there, except on loopback and at a pod's address.
func ListenConfig(kind Kind) net.ListenConfig {
	if kind == Loopback || kind == Service {
		return net.ListenConfig{}
	}
	return net.ListenConfig{Control: freeBind}
}
