package gtpc

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
)

// firewall says which datagrams are looked at. The node's configuration names
// the peers; the policy's carriers narrow down what each may say, and about whom.
// Message types that have no business at a PGW or GGSN are the parser's to drop,
// and whose session a TEID is, apn/session's to know. The reader owns it.
type firewall struct {
	*bounds // as they were at this datagram
	all     bucket
	peers   *buckets[netip.Addr] // of Creates, for those peers whose carrier has a limit
}

func newFirewall(allowed []netip.Prefix, createRate int) *firewall {
	return &firewall{bounds: &bounds{allowed: allowed, rate: perSecond(createRate)}, peers: newBuckets[netip.Addr]()}
}

// prefixOf returns the allow-listed range that a peer is in, the narrowest.
func prefixOf(allowed []netip.Prefix, peer netip.Addr) (found netip.Prefix, ok bool) {
	for _, p := range allowed {
		if p.Contains(peer) && (!ok || p.Bits() > found.Bits()) {
			found, ok = p, true
		}
	}
	return found, ok
}

// screen judges a datagram before anything is spent on reading it. A reason of ""
// lets it pass; carrier is then whom its peer belongs to.
func (f *firewall) screen(now time.Time, rules *policy.Rules, peer netip.Addr, b []byte) (carrier *policy.Carrier, reason string) {
	if _, ok := prefixOf(f.allowed, peer); !ok {
		return nil, countPeerNotAllowed
	}
	carrier, ok := rules.CarrierOf(peer)
	if !ok {
		return nil, countPeerNotOfCarrier
	}
	if len(b) < 2 {
		return carrier, "" // the parser has the word for it
	}
	version := b[0] >> 5
	// Of other versions the peer is told that nobody here speaks them.
	if (version == 1 || version == 2) && len(carrier.Versions) > 0 && !slices.Contains(carrier.Versions, version) {
		return nil, countVersionNotOfPeer
	}
	if isCreate(version, b[1]) {
		return carrier, f.create(now, peer, carrier)
	}
	return carrier, ""
}

// create takes one Create from the tokens of its peer and of all. A
// retransmission counts like the first: to tell them apart is what costs.
func (f *firewall) create(now time.Time, peer netip.Addr, c *policy.Carrier) (reason string) {
	var own *bucket
	var ownPace pace
	if n := c.CreatesPerSecond; n > 0 {
		own, ownPace = f.peers.of(now, peer), perSecond(int(n))
		if !own.allows(now, ownPace) {
			return countCreateRatePeer
		}
	}
	if !f.all.allows(now, f.rate) {
		return countCreateRate
	}
	if own != nil {
		own.spend(now, ownPace)
	}
	f.all.spend(now, f.rate)
	return ""
}

// inspect judges a message by what it says: a carrier speaks only of its own
// subscribers, serving networks and radio accesses. What a message doesn't say
// is for the procedures to miss.
func inspect(c *policy.Carrier, m gtp.Message) (reason string) {
	switch m := m.(type) {
	case *gtp.CreateSessionRequest:
		return says(c, m.IMSI, m.ServingNetwork, m.RAT)
	case *gtp.CreatePDPContextRequest:
		return says(c, m.IMSI, m.ServingNetwork, m.RAT)
	case *gtp.ModifyBearerRequest:
		return says(c, ident.IMSI{}, m.ServingNetwork, m.RAT)
	case *gtp.UpdatePDPContextRequest:
		return says(c, m.IMSI, m.ServingNetwork, m.RAT)
	case *gtp.ChangeNotificationRequest:
		return says(c, ident.IMSI{}, ident.PLMN{}, m.RAT)
	}
	return ""
}

func says(c *policy.Carrier, imsi ident.IMSI, plmn ident.PLMN, rat uint8) (reason string) {
	switch {
	case !imsi.IsZero() && !c.Serves(imsi.String()):
		return countIMSINotOfPeer
	case len(c.PLMNs) > 0 && !plmn.IsZero() && !slices.Contains(c.PLMNs, plmn):
		return countPLMNNotOfPeer
	case len(c.RATs) > 0 && rat != 0 && !slices.Contains(c.RATs, policy.RAT(rat)):
		return countRATNotOfPeer
	}
	return ""
}

// named judges the addresses that a message says are the peer's: what we send goes
// there, and sessions are whose they name. Each must be one of the allow-list,
// and none another carrier's.
func (f *firewall) named(rules *policy.Rules, c *policy.Carrier, m gtp.Message) error {
	ours := func(named gtp.FTEID) bool {
		if !named.Addr.IsValid() {
			return true
		}
		if _, ok := prefixOf(f.allowed, named.Addr.Unmap()); !ok {
			return false
		}
		// A user plane may have addresses that no carrier's signalling comes from.
		whose, known := rules.CarrierOf(named.Addr)
		return !known || whose == c
	}
	var all []gtp.FTEID
	switch m := m.(type) {
	case *gtp.CreateSessionRequest:
		all = []gtp.FTEID{m.Sender, m.Bearer.User}
	case *gtp.ModifyBearerRequest:
		all = []gtp.FTEID{m.Sender}
		for _, b := range m.Bearers {
			all = append(all, b.User)
		}
	case *gtp.CreatePDPContextRequest:
		all = []gtp.FTEID{m.Control, m.User}
	case *gtp.UpdatePDPContextRequest:
		all = []gtp.FTEID{m.Control, m.User}
	}
	for _, a := range all {
		if !ours(a) {
			return fmt.Errorf("it names %s", a.Addr)
		}
	}
	return nil
}

// isCreate tells the requests that make sessions: Create Session Request
// (TS 29.274 7.2.1) and Create PDP Context Request (TS 29.060 7.3.1).
func isCreate(version, typ uint8) bool {
	return version == 2 && typ == gtp.TypeCreateSessionRequest || version == 1 && typ == gtp.TypeCreatePDPContextRequest
}
