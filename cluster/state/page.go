package state

import (
	"iter"
	"net/netip"

	"github.com/sealedge/sealedge/cluster/command"
)

// Lists are read page by page. Each of these goes on after the key with which the
// last page ended, whether its record is still there or not; the zero key is the
// beginning. What is added or removed meanwhile shifts nothing.

// SubscribersAfter goes through the subscribers after an IMSI.
func (m *Machine) SubscribersAfter(imsi string) iter.Seq[*command.Subscriber] {
	return after(m.subscribers, imsi)
}

// BarrelsAfter goes through the barrels after a serial number.
func (m *Machine) BarrelsAfter(id string) iter.Seq[*command.Barrel] { return after(m.barrels, id) }

// SessionsAfter goes through the sessions that are younger than one.
func (m *Machine) SessionsAfter(id uint64) iter.Seq[*command.Session] { return after(m.sessions, id) }

// OrdersAfter goes through the orders after a number.
func (m *Machine) OrdersAfter(number string) iter.Seq[*command.Order] {
	return after(m.orders, number)
}

// UsesAfter goes through the uses that are younger than one.
func (m *Machine) UsesAfter(id uint64) iter.Seq[*command.Use] { return after(m.uses, id) }

// PeersAfter goes through the peers after an address; the zero Addr is the
// beginning.
func (m *Machine) PeersAfter(peer netip.Addr) iter.Seq[*command.GTPPeer] {
	var k peerKey
	if peer.IsValid() {
		k = peer.As16()
	}
	return after(m.peers, k)
}

func after[K comparable, V any](t table[K, V], last K) iter.Seq[V] {
	return func(yield func(V) bool) {
		for k, v := range t.from(last) {
			if k != last && !yield(v) {
				return
			}
		}
	}
}
