package phoneapi

import (
	"net/http"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy"
)

// decideAfter is how long to wait before a use is decided, and decided once
// more because the records had changed by the time its reservation was applied:
// as a rule they are here at once, and soon where this node is behind.
var decideAfter = [...]time.Duration{0, 0, 50 * time.Millisecond, 200 * time.Millisecond}

// ask reads what a use is asked for, and the token of who asks.
func (s *Server) ask(c *call) (ask sealuse.Ask, token string, err error) {
	var req wire.UseRequest
	if err := c.decode(&req); err != nil {
		return ask, "", err
	}
	if token, err = c.token(); err != nil {
		return ask, "", err
	}
	ask, bad := sealuse.Parse(req)
	if bad != nil { // not a nil problem in an error
		return ask, "", bad
	}
	if err := s.prove(c, req); err != nil {
		p := sealuse.FromError(err)
		s.refused(c, sealuse.KindUse, "order "+ask.Order.String()+" barrel "+ask.Barrel.String()+" request "+ask.RequestID, p)
		return ask, "", p
	}
	return ask, token, nil
}

// use is POST /v1/uses: sealuse steps 4 to 7.
func (s *Server) use(c *call) error {
	begun := time.Now()
	err := s.grant(c)
	if s.cfg.Used != nil {
		outcome := "granted"
		if err != nil {
			outcome = string(sealuse.FromError(err).Code)
		}
		s.cfg.Used(outcome, time.Since(begun))
	}
	return err
}

func (s *Server) grant(c *call) error {
	ask, token, err := s.ask(c)
	s.beginUse(c, spanRequest, ask.RequestID)
	if err != nil {
		return err
	}
	use, made, err := s.reserve(c, ask, token)
	if err != nil {
		p := sealuse.FromError(err)
		s.refused(c, sealuse.KindUse, "order "+ask.Order.String()+" barrel "+ask.Barrel.String()+" request "+ask.RequestID, p)
		return p
	}
	span := s.granting(c, use, made)
	answer, err := sealuse.Granted(use, s.cfg.GrantKey)
	span.End()
	if err != nil {
		return err
	}
	return c.reply(http.StatusCreated, answer)
}

// checkUse is POST /v1/uses/check: all of a use but the reservation. It asks for a
// quorum as a reservation does, and a refusal is recorded as one: who tries orders
// out is to be seen.
func (s *Server) checkUse(c *call) error {
	ask, token, err := s.ask(c)
	s.beginUse(c, spanCheck, "") // it is no use, and has no part in the trace of one
	if err != nil {
		return err
	}
	answer, err := s.check(c, ask, token)
	if err != nil {
		p := sealuse.FromError(err)
		s.refused(c, sealuse.KindUse, "check of order "+ask.Order.String()+" barrel "+ask.Barrel.String(), p)
		return p
	}
	return c.reply(http.StatusOK, answer)
}

func (s *Server) check(c *call, ask sealuse.Ask, token string) (wire.UseCheck, error) {
	f, step := s.screen(c, ask, true)
	if step.Refusal != nil {
		return wire.UseCheck{}, step.Refusal
	}
	answer, err := s.verify(c, token, sealuse.Question(f, ask))
	if err != nil {
		return wire.UseCheck{}, err
	}
	if err := s.cfg.Cluster.ReadIndex(c.r.Context()); err != nil {
		return wire.UseCheck{}, err
	}
	_, span := s.span(c.r.Context(), spanDecide)
	would, step := sealuse.Check(s.facts(c, ask), s.cfg.Rules(), ask, answer)
	stepped(span, 1, step)
	s.alarm(c, step.Alarm)
	if step.Refusal != nil {
		return would, step.Refusal
	}
	return would, nil
}

// screen decides whether a request may be put to the seal server; fresh: as if it had
// not been made before.
func (s *Server) screen(c *call, ask sealuse.Ask, fresh bool) (sealuse.Facts, sealuse.Step) {
	_, span := s.span(c.r.Context(), spanScreen)
	f := s.facts(c, ask)
	if fresh {
		f.Earlier = nil
	}
	step := sealuse.Screen(f, s.cfg.Rules(), ask)
	stepped(span, 0, step)
	return f, step
}

// verify asks the seal server. It isn't told of the trace: it is another's.
func (s *Server) verify(c *call, token string, question wire.VerifyRequest) (wire.VerifyAnswer, error) {
	ctx, span := s.span(c.r.Context(), spanVerify)
	answer, err := s.cfg.Server.Verify(ctx, token, question)
	verified(span, answer, err)
	return answer, err
}

// reserve gives the use that the request makes, or made before.
func (s *Server) reserve(c *call, ask sealuse.Ask, token string) (use *command.Use, made bool, err error) {
	f, step := s.screen(c, ask, false)
	if step.Refusal != nil {
		return nil, false, step.Refusal
	} else if step.Repeat != nil {
		return step.Repeat, false, nil
	}
	answer, err := s.verify(c, token, sealuse.Question(f, ask))
	if err != nil {
		return nil, false, err
	}
	var refusal *wire.Problem
	for i, wait := range decideAfter {
		if wait > 0 && !pause(c.r.Context(), wait) {
			break
		}
		_, span := s.span(c.r.Context(), spanDecide)
		step := sealuse.Permit(s.facts(c, ask), s.cfg.Rules(), ask, answer)
		stepped(span, i+1, step)
		s.alarm(c, step.Alarm)
		if step.Refusal != nil {
			return nil, false, step.Refusal
		} else if step.Repeat != nil {
			return step.Repeat, false, nil
		}
		res, err := s.cfg.Cluster.Propose(c.r.Context(), step.Propose)
		if err != nil {
			return nil, false, err
		}
		use, again, p := sealuse.Reserved(res, ask)
		if use != nil {
			return use, true, nil
		}
		if !again && (p.Code != wire.CodeRequestReused || !s.carriedOut(c, ask)) {
			return nil, false, p
		}
		refusal = p
	}
	return nil, false, refusal
}

func (s *Server) facts(c *call, ask sealuse.Ask) (f sealuse.Facts) {
	s.cfg.Cluster.View(func(m *state.Machine) { f = sealuse.Gather(m, time.Now(), c.from, ask) })
	if f.Barrel != nil {
		f.BarrelAlive = s.cfg.Barrels.Alive(f.Barrel.Id)
		f.Shown |= s.cfg.Barrels.Shown(f.Barrel.Id)
	}
	if f.Subscriber.GetVersion() == c.subscriber.GetVersion() { // what it was checked against
		f.Shown |= c.proved
	}
	if want := f.Subscriber.GetDeviceCertSha256(); len(want) > 0 && presented(c.r.TLS, want) {
		f.Shown |= policy.CredentialCertificate
	}
	return f
}

// carriedOut waits for the use that the same request id made through another
// node while this one was deciding.
func (s *Server) carriedOut(c *call, ask sealuse.Ask) bool {
	return s.await(c.r.Context(), func(m *state.Machine) bool {
		return m.UseByRequest(c.imsi(), ask.RequestID) != nil
	})
}

// useStatus is GET /v1/uses/{use}. That it isn't locked is said only by a node
// that would know.
func (s *Server) useStatus(c *call) error {
	if err := s.cfg.Cluster.ReadIndex(c.r.Context()); err != nil {
		return err
	}
	use, err := s.ownUse(c)
	if err != nil {
		return err
	}
	return c.reply(http.StatusOK, sealuse.Status(use))
}

// receipt is POST /v1/uses/{use}/receipts: step 9, by way of the terminal.
func (s *Server) receipt(c *call) error {
	var report wire.ReceiptReport
	if err := c.decode(&report); err != nil {
		return err
	}
	use, err := s.ownUse(c)
	if err != nil {
		return err
	}
	s.begin(c, spanReceipt, use)
	return s.said(c, use, sealuse.Receipt(s.cfg.Cluster, use.Barrel, use.Id, report.Receipt))
}

// settlement is POST /v1/uses/{use}/settlement: step 11, by way of the
// terminal.
func (s *Server) settlement(c *call) error {
	var report wire.SettlementReport
	if err := c.decode(&report); err != nil {
		return err
	}
	use, err := s.ownUse(c)
	if err != nil {
		return err
	}
	s.begin(c, spanSettlement, use)
	return s.said(c, use, sealuse.Statement(s.cfg.Cluster, use.Barrel, use.Id, report.Statement))
}

// said carries out a step on what a barrel signed.
func (s *Server) said(c *call, use *command.Use, step sealuse.Step) error {
	s.alarm(c, step.Alarm)
	after, err := s.propose(c, step)
	if err != nil {
		p := sealuse.FromError(err)
		s.refused(c, sealuse.KindReceipt, subject(use, 0), p)
		return p
	}
	return c.reply(http.StatusOK, sealuse.Status(after))
}
