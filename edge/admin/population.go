package admin

import (
	"slices"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/bundle"
	"github.com/sealedge/sealedge/policy/view"
)

// population is what a change of the policy is measured by: the allow-list, the
// orders that are open and the sessions that live, as this node knows them.
func (s *Server) population() bundle.Population {
	p := bundle.Population{MACs: map[string]string{}}
	s.cfg.Cluster.View(func(m *state.Machine) {
		p.Now = m.Clock()
		p.Terminals = make([]policy.Subscriber, 0, 1024)
		for sub := range m.Subscribers() {
			p.Terminals = append(p.Terminals, view.Subscriber(sub))
		}
		for b := range m.Barrels() {
			p.Barrels = append(p.Barrels, view.Barrel(b))
			p.MACs[b.Id] = b.Mac
		}
		for o := range m.Orders() {
			if order, open := openOrder(m, o); open && order.NotAfter.After(p.Now) {
				p.Orders = append(p.Orders, order)
			}
		}
		for ses := range m.Sessions() {
			for _, path := range []policy.PathKind{policy.PathGTP, policy.PathWireGuard} {
				if path == policy.PathGTP && ses.Gtp != nil || path == policy.PathWireGuard && ses.Wireguard != nil {
					p.Sessions = append(p.Sessions, bundle.Session{ID: ses.Id, Request: view.Attached(ses, m.Subscriber(ses.Imsi), path, m.FallbackLease(ses.Imsi), p.Now)})
				}
			}
		}
	})
	return p
}

// openOrder is an order of which uses are left, with what the seal server answered
// when it was used last.
func openOrder(m *state.Machine, o *command.Order) (bundle.Order, bool) {
	if o.State == command.OrderState_ENDED_ORDER || o.Excess > 0 || o.Reserved+o.Confirmed >= o.Permitted {
		return bundle.Order{}, false
	}
	v := bundle.Order{
		Number: o.Number, SealType: o.SealType, Permitted: o.Permitted, NotBefore: instantOf(o.NotBefore), NotAfter: instantOf(o.NotAfter),
	}
	if uses := slices.Collect(m.UsesOfOrder(o.Number)); len(uses) > 0 {
		last := uses[len(uses)-1]
		v.Level, v.Methods = int(last.Level), last.Methods
	}
	return v, true
}

// instantOf is a record's time; 0 is none.
func instantOf(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
