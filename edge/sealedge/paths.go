package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/policy/view"
)

// proposer is the replicated log; *cluster.Node is.
type proposer interface {
	viewer
	Propose(ctx context.Context, c *command.Command) (*command.Result, error)
}

// paths turns what the planes notice into commands: a terminal that came to the
// other path, a tunnel whose far end is gone. Only the holder of the gateway
// address notices anything.
type paths struct {
	cluster proposer
	rules   func() *policy.Rules
	gateway string // name of the gateway address
	log     *slog.Logger

	work sync.WaitGroup
	slot chan struct{} // bounds the proposals under way

	mu      sync.Mutex
	refused map[[32]byte]refusal // guarded by mu: by WireGuard key, at most one a listed terminal
}

// refusal is what a terminal was refused for on the fallback path. It goes on
// trying, every few seconds for as long as it likes; the audit chain has room
// for what is new.
type refusal struct {
	code     policy.Code
	revision uint64 // of the policy
	version  uint64 // of the subscriber
}

// proposeTime bounds a proposal that nobody waits for; what it was about is
// noticed again.
const proposeTime = 5 * time.Second

func newPaths(c proposer, rules func() *policy.Rules, gateway string, log *slog.Logger) *paths {
	return &paths{cluster: c, rules: rules, gateway: gateway, log: log, slot: make(chan struct{}, 64), refused: map[[32]byte]refusal{}}
}

// propose proposes without keeping the packet path waiting. When too many are
// under way the event is dropped: it will be noticed again.
func (p *paths) propose(what string, build func() *command.Command) {
	select {
	case p.slot <- struct{}{}:
	default:
		return
	}
	p.work.Go(func() {
		defer func() { <-p.slot }()
		c := build()
		if c == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), proposeTime)
		defer cancel()
		r, err := p.cluster.Propose(ctx, c)
		switch {
		case err != nil:
			p.log.Warn(what+": not committed", "err", err)
		case r.Code != command.Code_OK:
			p.log.Info(what+": not done", "code", r.Code, "why", r.Message)
		default:
			p.log.Info(what)
		}
	})
}

// wait returns when no proposal is under way.
func (p *paths) wait() { p.work.Wait() }

// tunnelLost follows an Error Indication: the peer has no tunnel for the
// session any more, so it has lost the bearer (TS 23.007 21). teid is our
// end of the tunnel: the indication may be older than the session's path.
func (p *paths) tunnelLost(session uint64, teid uint32) {
	p.propose("carrier has lost a tunnel", func() *command.Command {
		var s *command.Session
		p.cluster.View(func(m *state.Machine) { s = m.Session(session) })
		if s.GetGtp() == nil || s.Gtp.LocalTeidU != teid {
			return nil
		}
		return command.New("paths", "", "gtp-u", &command.ClosePath{
			Session: session, Path: command.PathKind_GTP, LocalTeidC: s.Gtp.LocalTeidC, Reason: "error indication from the peer",
		})
	})
}

// backOnCarrier follows uplink packets through the carrier while the fallback
// is the active path.
func (p *paths) backOnCarrier(session uint64) {
	p.propose("terminal is back on the carrier's path", func() *command.Command {
		return command.New("paths", "", "gtp-u", &command.SelectPath{Session: session, Path: command.PathKind_GTP})
	})
}

// cameByFallback follows a terminal that proved its WireGuard key. It is
// admitted by the same policy as a SIM.
func (p *paths) cameByFallback(pub [32]byte) {
	p.propose("terminal on the fallback path", func() *command.Command {
		rules := p.rules()
		if rules == nil {
			return nil
		}
		var sub *command.Subscriber
		var here bool
		now := time.Now()
		p.cluster.View(func(m *state.Machine) {
			sub = m.SubscriberByWireGuardKey(pub[:])
			s := m.SessionByKey(sub.GetImsi(), fallbackAPN(sub))
			now = sealuse.Later(now, m.Clock())
			here = s.GetActive() == command.PathKind_WIREGUARD && fallbackAddress(s) == p.gateway
		})
		if fallbackAPN(sub) == "" || here {
			return nil
		}
		d, ok := p.admit(rules, sub, now)
		if ok {
			p.mu.Lock()
			delete(p.refused, pub)
			p.mu.Unlock()
		} else {
			if !p.isNew(pub, refusal{d.Code, rules.Revision, sub.Version}) {
				return nil
			}
			p.log.Warn("terminal refused on the fallback path", "code", d.Code, "reasons", d.Denials())
			return command.New("paths", "", "wireguard", &command.RecordDecision{
				Kind: "admit", Subject: sub.Imsi, Code: string(d.Code), Reasons: d.Denials(), PolicyRevision: d.Revision,
			})
		}
		return command.New("paths", "", "wireguard", &command.AttachWireGuard{
			Imsi: sub.Imsi, Apn: fallbackAPN(sub), PublicKey: pub[:], PolicyRevision: rules.Revision,
			SubscriberVersion: sub.Version, GatewayAddress: p.gateway,
		})
	})
}

// isNew notes a refusal, and tells whether it differs from the last one.
func (p *paths) isNew(pub [32]byte, r refusal) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	was, known := p.refused[pub]
	p.refused[pub] = r
	return !known || was != r
}

func (p *paths) admit(rules *policy.Rules, sub *command.Subscriber, now time.Time) (policy.Decision, bool) {
	imsi, err := ident.ParseIMSI(sub.Imsi)
	if err != nil {
		return policy.Decision{}, false
	}
	apn, err := ident.ParseAPN(fallbackAPN(sub))
	if err != nil {
		return policy.Decision{}, false
	}
	d := rules.Admit(policy.AdmitRequest{
		IMSI: imsi, Subscriber: view.Subscriber(sub), APN: apn, Path: policy.PathWireGuard, Now: now, Shown: policy.CredentialWireGuard,
	})
	return d, d.Allowed
}
