package main

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/edge/wireguard"
	"github.com/sealedge/sealedge/policy/view"
)

// fallbackAPN is the access point that a subscriber reaches over the fallback
// path: a WireGuard key stands for one inner address, so it is the first of the
// subscriber's list.
func fallbackAPN(s *command.Subscriber) string {
	if len(s.GetApns()) == 0 {
		return ""
	}
	return s.Apns[0]
}

// peerOwner is what a terminal's pre-shared key is wrapped for.
func peerOwner(imsi string) string { return "wireguard-psk:" + imsi }

// wantedPeer is a peer of the endpoints, and the lease that has its pre-shared key;
// nil: it has none.
type wantedPeer struct {
	wireguard.Peer
	lease *command.FallbackLease
}

// wantedPeers lists who may come over the fallback path: active subscribers with a key
// and an address reserved for it. until is when the first of their leases is over; the
// zero time: none is.
func wantedPeers(m *state.Machine, now time.Time) (peers []wantedPeer, until time.Time) {
	now = sealuse.Later(now, m.Clock())
	for sub, lease := range m.WireGuardPeers() {
		addr, ok := netip.AddrFromSlice(lease.GetAddress())
		// Of IPv6 there is nothing on this path.
		if !ok || !addr.Is4() || lease.Apn != fallbackAPN(sub) || len(sub.WireguardPublicKey) != 32 || sub.State != command.DeviceState_ACTIVE {
			continue
		}
		s := m.SessionByAddress(addr)
		p := wantedPeer{
			Peer: wireguard.Peer{
				PublicKey: [32]byte(sub.WireguardPublicKey), Address: addr, Active: byFallback(s), Endpoint: endpointOf(s.GetWireguard()),
			},
			lease: view.Lease(m.FallbackLease(sub.Imsi), now),
		}
		if l := p.lease; l != nil {
			if end := time.Unix(0, l.Expires); until.IsZero() || end.Before(until) {
				until = end
			}
		}
		peers = append(peers, p)
	}
	return peers, until
}

// byFallback tells whether what is sent to a session over IPv4 goes by the fallback
// path: what the carrier's path doesn't carry is the other's, whichever is active.
func byFallback(s *command.Session) bool {
	return s.GetActive() == command.PathKind_WIREGUARD || s.GetWireguard() != nil && !carriesIPv4(s.Gtp)
}

// endpointOf is where a terminal was heard from last; the zero value: not known.
func endpointOf(path *command.WireGuardPath) netip.AddrPort {
	addr, ok := netip.AddrFromSlice(path.GetEndpoint())
	if !ok || path.EndpointPort == 0 || path.EndpointPort > 1<<16-1 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(path.EndpointPort))
}

// presharedKeys remembers what was unwrapped, by the number of the lease. It has no
// more than the leases that are good.
type presharedKeys map[uint64][32]byte

// unlock gives peers the pre-shared keys of their leases. One whose key doesn't open
// is left out: without it the terminal would get in by less than it was let in for.
func (t *tunnels) unlock(wanted []wantedPeer) (peers []wireguard.Peer, err error) {
	keys := make(presharedKeys)
	for _, w := range wanted {
		if l := w.lease; l != nil {
			key, known := t.psks[l.Number]
			if !known {
				raw, failed := t.unwrap(peerOwner(l.Imsi), l.PresharedKey)
				if failed == nil && len(raw) != len(key) {
					failed = fmt.Errorf("it has %d bytes", len(raw))
				}
				if failed != nil {
					err = fmt.Errorf("pre-shared key of lease %d: %w", l.Number, failed)
					continue
				}
				key = [32]byte(raw)
				clear(raw)
			}
			w.PresharedKey, keys[l.Number] = key, key
		}
		peers = append(peers, w.Peer)
	}
	clear(t.psks)
	t.psks = keys
	return peers, err
}
