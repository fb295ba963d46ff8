package barrel

import (
	"context"
	"fmt"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/edge/wire"
)

// resource is what a path takes: POST, with a payload of one format.
type resource struct {
	format int
	late   bool // open to a revoked barrel, too: what it owes the ledger
	post   func(*Server, context.Context, *association, []byte) (any, error)
}

var resources = map[string]resource{
	wire.PathHeartbeat:     {wire.ContentCBOR, false, (*Server).heartbeat},
	wire.PathBarrelEvent:   {wire.ContentCBOR, false, (*Server).event},
	wire.PathBarrelReceipt: {wire.ContentCOSE, true, (*Server).receipt},
	wire.PathBarrelSettle:  {wire.ContentCOSE, true, (*Server).settle},
	wire.PathBarrelLock:    {wire.ContentCBOR, true, (*Server).locked},
}

// handle answers one request. It runs on a goroutine of its own.
func (s *Server) handle(ctx context.Context, a *association, m message.Message) reply {
	r, wrong := parse(m)
	if wrong != nil {
		return *wrong
	}
	res, known := resources[r.path]
	switch {
	case !known:
		return refused(wire.NewProblem(wire.CodeNotFound, ""))
	case r.code != codes.POST:
		return refused(wire.NewProblem(wire.CodeMethodNotAllowed, ""))
	case r.format != res.format:
		return reply{code: codes.UnsupportedMediaType}
	case a.isRevoked() && !res.late:
		return refused(wire.NewProblem(wire.CodeBarrelRevoked, ""))
	}
	v, err := res.post(s, ctx, a, r.payload)
	if err != nil {
		return refused(sealuse.FromError(err))
	}
	return changed(v)
}

// locked is POST /lock: the barrel has carried out locks that came with a
// heartbeat.
func (s *Server) locked(ctx context.Context, a *association, payload []byte) (any, error) {
	var ack wire.LockAck
	if err := wire.UnmarshalCBOR(payload, &ack); err != nil {
		return nil, badRequest(err)
	}
	if len(ack.IDs) > maxLocks {
		return nil, wire.NewProblem(wire.CodeTooLarge, fmt.Sprintf("At most %d locks at once.", maxLocks))
	}
	for _, id := range ack.IDs {
		var l *command.Lock
		s.cfg.Cluster.View(func(m *state.Machine) { l = m.Lock(id) })
		switch {
		case l == nil || l.Barrel != a.id.barrel:
			return nil, wire.NewProblem(wire.CodeLockUnknown, "")
		case l.BarrelAcked:
			continue
		}
		res, err := s.cfg.Cluster.Propose(ctx, ackLock(a.id.barrel, id))
		if err != nil {
			s.noteCarriedOut(a.id.barrel, id) // it is, whether recorded or not
			return nil, err
		}
		if p := sealuse.FromResult(res); p != nil {
			return nil, p
		}
	}
	return nil, nil
}

// receipt is POST /receipt (sealuse step 9). It is answered when it is in the
// ledger; until then the barrel repeats it, to whichever node it reaches.
func (s *Server) receipt(ctx context.Context, a *association, raw []byte) (any, error) {
	return s.said(ctx, a, sealuse.Receipt(s.cfg.Cluster, a.id.barrel, 0, raw))
}

// settle is POST /settle (sealuse step 11), answered as a receipt is.
func (s *Server) settle(ctx context.Context, a *association, raw []byte) (any, error) {
	return s.said(ctx, a, sealuse.Statement(s.cfg.Cluster, a.id.barrel, 0, raw))
}

// said carries out a step on what a barrel signed.
func (s *Server) said(ctx context.Context, a *association, step sealuse.Step) (any, error) {
	if step.Alarm != "" {
		s.alarm(a, sealuse.KindReceipt, step.Alarm)
	}
	use := step.Repeat
	switch {
	case step.Refusal != nil:
		return nil, step.Refusal
	case use == nil:
		res, err := s.cfg.Cluster.Propose(ctx, step.Propose)
		if err != nil {
			return nil, err
		}
		if p := sealuse.FromResult(res); p != nil {
			return nil, p
		}
		use = new(command.Use)
		if err := res.Into(use); err != nil {
			return nil, err
		}
	}
	return wire.ReceiptAnswer{Use: use.Id, Confirmed: use.Confirmed, Settled: use.State == command.UseState_SETTLED}, nil
}

// event is POST /event. It is answered when it is in the audit chain; tampering
// stops the barrel's use besides.
func (s *Server) event(ctx context.Context, a *association, payload []byte) (any, error) {
	var e wire.BarrelEvent
	if err := wire.UnmarshalCBOR(payload, &e); err != nil {
		return nil, badRequest(err)
	}
	if e.Kind == "" || len(e.Kind) > 32 {
		return nil, wire.NewProblem(wire.CodeBadRequest, "kind: want 1 to 32 characters.")
	}
	tamper, limit := e.Kind == wire.EventTamper, a.events
	if tamper {
		limit = a.tampers
		s.leases.drop(a.id.barrel)
	}
	if !limit.Allow() {
		return nil, wire.NewProblem(wire.CodeRateLimited, "")
	}
	// With its time, because a barrel that lost its memory counts anew, and an
	// alarm must not be taken for one of long ago.
	number := fmt.Sprintf("event-%d-%d", e.Sequence, e.At)
	if tamper {
		s.log.Warn("alarm", "kind", kindBarrel, "barrel", a.id.barrel, "what", "the barrel was tampered with", "detail", clip(e.Detail))
		if err := s.carryOut(ctx, command.New(clientID(a.id.barrel), "", clientID(a.id.barrel), &command.Disconnect{
			SourceId: clientID(a.id.barrel) + "/" + number, Barrel: a.id.barrel, Reason: "the barrel was tampered with",
		})); err != nil {
			return nil, err
		}
	} else {
		s.log.Info("barrel reports", "barrel", a.id.barrel, "kind", clip(e.Kind), "detail", clip(e.Detail))
	}
	return nil, s.carryOut(ctx, command.New(clientID(a.id.barrel), number, clientID(a.id.barrel), &command.RecordDecision{
		Kind: kindBarrel, Subject: fmt.Sprintf("event use %d at %s", e.Use, time.UnixMilli(e.At).UTC().Format(time.RFC3339)),
		Allowed: !tamper, Code: plain(e.Kind), Reasons: []string{plain(clip(e.Detail))},
	}))
}

// carryOut proposes what has no answer of its own. That a barrel used a
// sequence number twice, after its memory was lost, mustn't make it repeat for
// ever.
func (s *Server) carryOut(ctx context.Context, c *command.Command) error {
	res, err := s.cfg.Cluster.Propose(ctx, c)
	if err != nil {
		return err
	}
	if res.GetCode() == command.Code_INVALID {
		s.log.Warn("an event of a barrel was refused", "client", c.ClientId, "request", c.RequestId, "why", res.GetMessage())
		return nil
	}
	if p := sealuse.FromResult(res); p != nil {
		return p
	}
	return nil
}

func badRequest(err error) error {
	return wire.NewProblem(wire.CodeBadRequest, clip(err.Error())+".")
}
