package phoneapi

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/edge/wire"
)

const (
	lookAgain = time.Second // for what is overdue or settled
	// reportFor is for how long a settled use is told to the seal server again
	// by a node that begins to lead: it doesn't know whether the one before had
	// done it, and the server takes the same report any number of times.
	reportFor = 7 * 24 * time.Hour
)

// Run does what no request asks for, until ctx ends: it records decisions and
// pushes locks, on every node, and on the one that leads it marks missing
// evidence overdue and reports settled uses to the seal server.
func (s *Server) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.record.run(ctx, s.cfg.Cluster) })
	g.Go(func() error { return s.dispatch(ctx) })
	g.Go(func() error { return s.markOverdue(ctx) })
	g.Go(func() error { return s.reportSettled(ctx) })
	return g.Wait()
}

func (s *Server) markOverdue(ctx context.Context) error {
	for pause(ctx, lookAgain) {
		if !s.cfg.Leading() {
			continue
		}
		var mark []*command.Command
		s.cfg.Cluster.View(func(m *state.Machine) { mark = sealuse.Overdue(m, time.Now()) })
		for _, c := range mark {
			s.mark(ctx, c)
		}
	}
	return nil
}

// mark proposes one mark; what fails is found again a second later.
func (s *Server) mark(ctx context.Context, c *command.Command) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	res, err := s.cfg.Cluster.Propose(ctx, c)
	var order command.Order
	switch {
	case err != nil:
		s.log.Warn("overdue evidence not marked yet", "err", err)
	case res.Into(&order) != nil:
		s.log.Debug("overdue evidence not marked", "code", res.GetCode(), "why", res.GetMessage())
	default:
		s.log.Warn("alarm", "kind", sealuse.KindEvidence, "what", "evidence is overdue; the order is suspended", "order", order.Number)
	}
}

func (s *Server) reportSettled(ctx context.Context) error {
	var p *pendingReports
	for pause(ctx, lookAgain) {
		if !s.cfg.Leading() {
			p = nil
			continue
		}
		if p == nil {
			p = newPendingReports()
		}
		var due []wire.SettledReport
		s.cfg.Cluster.View(func(m *state.Machine) { due = p.due(m) })
		for _, r := range due {
			if err := s.report(ctx, r); err != nil {
				s.log.Warn("settled use not reported yet", "use", r.Use, "err", err)
				break // the rest would fare no better now
			}
			p.done(r.Use)
		}
	}
	return nil
}

func (s *Server) report(ctx context.Context, r wire.SettledReport) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return s.cfg.Server.Settled(ctx, r)
}

// pendingReports are the uses that the seal server has yet to hear of.
type pendingReports struct {
	seen uint64              // the highest use that was looked at
	open map[uint64]struct{} // not settled yet, or not reported
}

func newPendingReports() *pendingReports { return &pendingReports{open: make(map[uint64]struct{})} }

// due takes new uses in and gives the reports of those that are settled.
func (p *pendingReports) due(m *state.Machine) (reports []wire.SettledReport) {
	since := m.Clock().Add(-reportFor).UnixNano()
	if p.seen == 0 {
		for use := range m.Uses() {
			p.take(use, since)
		}
	}
	for use := m.Use(p.seen + 1); use != nil; use = m.Use(p.seen + 1) {
		p.take(use, since)
	}
	for id := range p.open {
		if use := m.Use(id); use.GetState() == command.UseState_SETTLED {
			reports = append(reports, sealuse.Settled(use))
		}
	}
	return reports
}

func (p *pendingReports) take(use *command.Use, since int64) {
	p.seen = max(p.seen, use.Id)
	if use.State != command.UseState_SETTLED || use.SettledAt >= since {
		p.open[use.Id] = struct{}{}
	}
}

func (p *pendingReports) done(use uint64) { delete(p.open, use) }
