package state

import (
	"crypto/sha256"
	"slices"

	"github.com/sealedge/sealedge/cluster/command"
)

// putPolicy makes a new revision. Sessions keep their addresses, even such as
// the new pools no longer have; idle leases follow the pools.
func (m *Machine) putPolicy(p *command.PutPolicy, actor string) outcome {
	if p.BaseRevision != m.PolicyRevision() {
		return refuse(command.Code_CONFLICT, "the policy is at revision %d, not %d", m.PolicyRevision(), p.BaseRevision)
	}
	pools, err := compilePools(p.Pools)
	if err != nil {
		return invalid("%v", err)
	}
	for _, pool := range p.Pools {
		for _, x := range pool.Excluded {
			f, _ := familyOf(x)
			l := m.spaces[f].byAddress.get(f.number(x))
			if l == nil {
				continue
			}
			if _, static := m.staticOn(f, m.subscribers.get(l.Imsi), l.Apn); l.InUse || l.Pinned && static {
				return invalid("%s cannot be excluded: it is a terminal's; end its session or change its static address first", f.text(f.number(x)))
			}
		}
	}
	digest := sha256.Sum256(p.Document)
	m.keepFormer()
	m.policy = &command.Policy{
		Revision: p.BaseRevision + 1, Document: p.Document, Digest: digest[:],
		Pools: p.Pools, Applied: m.clock, Actor: actor,
	}
	for _, f := range families {
		s := &m.spaces[f]
		s.pools = pools[f]
		s.rebuildFree()
		for _, l := range slices.Collect(s.byAddress.values()) {
			if waiting(l) && s.pools.owner(f.number(l.Address)) != l.Apn {
				m.retire(f, l)
			}
		}
	}
	for s := range m.subscribers.values() {
		if len(s.StaticAddress) > 0 || len(s.StaticPrefix6) > 0 || len(s.WireguardPublicKey) > 0 {
			m.settleLeases(s.Imsi)
		}
	}
	answer := shallow(m.policy)
	answer.Document = nil
	return done(answer, "")
}

// decidedOn checks what a decision about a subscriber was based on.
func (m *Machine) decidedOn(imsi string, policyRevision, version uint64) (*command.Subscriber, outcome) {
	s := m.subscribers.get(imsi)
	switch {
	case s == nil:
		return nil, refuse(command.Code_NOT_FOUND, "no such subscriber")
	case s.State == command.DeviceState_REVOKED_DEVICE:
		return nil, refuse(command.Code_REVOKED, "the subscriber is revoked")
	case s.State != command.DeviceState_ACTIVE:
		return nil, refuse(command.Code_CONFLICT, "the subscriber is suspended")
	case s.Version != version:
		return nil, refuse(command.Code_CONFLICT, "the subscriber is at version %d, not %d", s.Version, version)
	case m.PolicyRevision() != policyRevision:
		return nil, refuse(command.Code_CONFLICT, "the policy is at revision %d, not %d", m.PolicyRevision(), policyRevision)
	}
	return s, outcome{code: command.Code_OK}
}
