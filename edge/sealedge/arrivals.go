package main

import (
	"bytes"
	"net/netip"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/view"
)

// roamEvery spaces what is put on record of where one session is heard from.
const roamEvery = 10 * time.Second

// placesLevel is the command level from which the state notes leases and endpoints.
const placesLevel = 2

// refusal is what a terminal was refused for on the fallback path. It goes on
// trying, every few seconds for as long as it likes; the audit chain has room
// for what is new.
type refusal struct {
	code     policy.Code
	revision uint64 // of the policy
	version  uint64 // of the subscriber
	lease    uint64 // its number
}

// arrival is a terminal that sent data over the fallback path, with what the state has
// of it.
type arrival struct {
	key     [32]byte
	from    netip.AddrPort // outside
	sub     *command.Subscriber
	session *command.Session       // on its access point; nil: none
	lease   *command.FallbackLease // a good one; nil: none
	now     time.Time
	level   uint32
}

// cameByFallback follows a terminal that proved its WireGuard key, and has sent data
// from an address.
func (p *paths) cameByFallback(key [32]byte, from netip.AddrPort) {
	p.propose(func() *step {
		rules := p.rules()
		if rules == nil {
			return nil
		}
		a := arrival{key: key, from: netip.AddrPortFrom(from.Addr().Unmap(), from.Port())}
		p.cluster.View(func(m *state.Machine) {
			a.now, a.level = sealuse.Later(p.now(), m.Clock()), m.Level()
			a.sub = m.SubscriberByWireGuardKey(key[:])
			a.session = m.SessionByKey(a.sub.GetImsi(), fallbackAPN(a.sub))
			a.lease = view.Lease(m.FallbackLease(a.sub.GetImsi()), a.now)
		})
		switch {
		case fallbackAPN(a.sub) == "":
			return nil
		case !a.attached(p.gateway):
			return p.attach(rules, a)
		case !byFallback(a.session):
			return p.move(a.session, command.PathKind_WIREGUARD, "wireguard")
		}
		return p.roam(a)
	})
}

// attached tells whether the session has the path that the terminal came by. One that
// was admitted with a lease that is over, or before there was one, is to be admitted
// anew.
func (a arrival) attached(gateway string) bool {
	w := a.session.GetWireguard()
	return w != nil && bytes.Equal(w.PublicKey, a.key[:]) && fallbackAddress(a.session) == gateway && (w.Lease != 0) == (a.lease != nil)
}

// attach admits a terminal by the same policy as a SIM. Where the carrier's path is the
// active one it moves.
func (p *paths) attach(rules *policy.Rules, a arrival) *step {
	moves := a.session.GetGtp() != nil && !byFallback(a.session)
	if d := rules.Admit(a.request()); !d.Allowed {
		return p.refuse(rules, a, d)
	}
	p.mu.Lock()
	delete(p.refused, a.key)
	p.mu.Unlock()
	if moves && !p.mayMove(a.session.Id) {
		return nil
	}
	attach := &command.AttachWireGuard{
		Imsi: a.sub.Imsi, Apn: fallbackAPN(a.sub), PublicKey: a.key[:], PolicyRevision: rules.Revision,
		SubscriberVersion: a.sub.Version, GatewayAddress: p.gateway,
	}
	if a.level >= placesLevel {
		attach.Lease = a.lease.GetNumber()
		if a.from.IsValid() {
			attach.Endpoint, attach.EndpointPort = a.from.Addr().AsSlice(), uint32(a.from.Port())
		}
	}
	return &step{"terminal on the fallback path", command.New("paths", "", "wireguard", attach), func(r *command.Result) {
		opened := new(command.Opened)
		if err := r.Into(opened); err != nil {
			p.log.Error("attached on the fallback path", "err", err)
			return
		}
		if moves {
			p.moved(opened.Session.Id)
		}
		p.noted(opened.Session.Id, a)
	}}
}

// request is what policy is asked: whether the session that would be may be.
func (a arrival) request() policy.AdmitRequest {
	return view.Attached(&command.Session{
		Imsi: a.sub.Imsi, Apn: fallbackAPN(a.sub), Gtp: a.session.GetGtp(), LastPlace: a.session.GetLastPlace(),
		Wireguard: &command.WireGuardPath{PublicKey: a.key[:]},
	}, a.sub, policy.PathWireGuard, a.lease, a.now)
}

// refuse puts on record what a terminal is refused for, once.
func (p *paths) refuse(rules *policy.Rules, a arrival, d policy.Decision) *step {
	is := refusal{d.Code, rules.Revision, a.sub.Version, a.lease.GetNumber()}
	p.mu.Lock()
	was, known := p.refused[a.key]
	p.refused[a.key] = is
	p.mu.Unlock()
	if known && was == is {
		return nil
	}
	p.log.Warn("terminal refused on the fallback path", "code", d.Code, "reasons", d.Denials())
	return &step{what: "terminal refused on the fallback path: on record", command: command.New("paths", "", "wireguard", &command.RecordDecision{
		Kind: "admit", Subject: a.sub.Imsi, Code: string(d.Code), Reasons: d.Denials(), PolicyRevision: d.Revision,
	})}
}

// roam puts on record that a terminal is heard from elsewhere, so that who takes over
// can shake hands with it; not more often than every roamEvery. What is left is put on
// record later, by settle.
func (p *paths) roam(a arrival) *step {
	if a.level < placesLevel || !a.from.IsValid() {
		return nil
	}
	id := a.session.Id
	p.mu.Lock()
	defer p.mu.Unlock()
	if endpointOf(a.session.Wireguard) == a.from {
		if known, ok := p.places[id]; ok {
			known.news = false
			p.places[id] = known
		}
		return nil
	}
	known := p.places[id]
	known.key, known.from, known.news = a.key, a.from, true
	p.places[id] = known
	if p.now().Sub(known.told) < roamEvery {
		return nil
	}
	return &step{
		"terminal on the fallback path is heard from elsewhere",
		command.New("paths", "", "wireguard", &command.RoamWireGuard{
			Session: id, PublicKey: a.key[:], Endpoint: a.from.Addr().AsSlice(), EndpointPort: uint32(a.from.Port()),
		}),
		func(*command.Result) { p.count.roams.Add(1); p.noted(id, a) },
	}
}

// noted remembers that it is on record where a session is heard from.
func (p *paths) noted(session uint64, a arrival) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.places[session]
	if at.from == a.from || !at.news { // else it was heard from yet another place
		at = place{key: a.key, from: a.from}
	}
	at.told = p.now()
	p.places[session] = at
}

// settle puts on record what had to wait, and forgets what needs to wait no more.
func (p *paths) settle() {
	var news []place
	p.mu.Lock()
	for id, at := range p.places {
		switch {
		case p.now().Sub(at.told) < roamEvery:
		case at.news:
			news = append(news, at)
		default:
			delete(p.places, id)
		}
	}
	p.mu.Unlock()
	for _, at := range news {
		p.cameByFallback(at.key, at.from)
	}
}
