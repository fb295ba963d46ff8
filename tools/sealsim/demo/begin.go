package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
)

// begin sets everything up as a company would: keys and configurations, people
// and orders, the policy and the allow-list.
func (s *story) begin(ctx context.Context) error {
	return s.show("three gateway nodes and the seal server run, policy and allow-list are in force", func() (string, error) {
		if _, err := s.ps.run(ctx, "", "sealedge", "init", "--nodes", "3", s.ps.dir); err != nil {
			return "", err
		}
		for _, p := range people {
			if _, err := s.ps.run(ctx, password(p.name)+"\n", "sealserver", "add-user", "--display", p.display, "--department", "sales", "--role", p.role, p.name); err != nil {
				return "", err
			}
		}
		if _, err := s.ps.start("sealserver", "sealserver", "serve", "--config", filepath.Join(s.ps.dir, "sealserver.yaml")); err != nil {
			return "", err
		}
		for _, name := range []string{"node1", "node2", "node3"} {
			if err := s.startNode(name); err != nil {
				return "", err
			}
		}
		logfile, err := os.Create(filepath.Join(s.ps.dir, "simulators.log"))
		if err != nil {
			return "", err
		}
		s.log = slog.New(slog.NewTextHandler(logfile, &slog.HandlerOptions{Level: slog.LevelDebug}))
		roots, err := s.ps.roots()
		if err != nil {
			return "", err
		}
		speak := func(text string) { s.say("barrel says: %q", text) }
		if s.world, err = newWorld(s.ps.dir, roots, speak, s.log); err != nil {
			return "", err
		}
		leader, err := s.ps.leader(ctx)
		if err != nil {
			return "", err
		}
		s.say("%s leads and holds the gateway address %s", leader, gatewayOuter)
		if _, err := s.ps.sealctl(ctx, "policy", "apply", "policy.yaml"); err != nil {
			return "", err
		}
		if _, err := s.ps.sealctl(ctx, "device", "import", s.world.devices); err != nil {
			return "", err
		}
		s.office = newOffice(sealServer, roots)
		return "leader " + leader + ", policy revision 1, one phone and one barrel listed", s.applyForOrders(ctx)
	})
}

// startNode starts a gateway node.
func (s *story) startNode(name string) (err error) {
	s.nodes[name], err = s.ps.start(name, "sealedge", "run", filepath.Join(s.ps.dir, name+".yaml"))
	return err
}

// Orders of the story.
const (
	orderLease    = "WO-1-LEASE"    // two pages, stamped as they should be
	orderSales    = "WO-2-SALES"    // a wrong page
	orderTomorrow = "WO-3-TOMORROW" // not yet
	orderSupply   = "WO-4-SUPPLY"   // the leader dies meanwhile
	orderRoad     = "WO-5-ROAD"     // over the fallback path
)

func (s *story) applyForOrders(ctx context.Context) error {
	now := time.Now()
	for number, count := range map[string]uint32{orderLease: 2, orderSales: 2, orderTomorrow: 1, orderSupply: 2, orderRoad: 1} {
		w := order{
			Number: number, Reason: "signing at the customer's", SealType: "contract", Count: count,
			NotBefore: now.Add(-time.Hour), NotAfter: now.Add(8 * time.Hour), DocumentName: number + ".pdf",
		}
		if number == orderTomorrow {
			w.NotBefore, w.NotAfter = now.Add(24*time.Hour), now.Add(32*time.Hour)
		}
		if err := s.office.approved(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

// refusedWith checks that err is a refusal with the code.
func refusedWith(err error, code wire.Code) error {
	var p *wire.Problem
	switch {
	case err == nil:
		return errors.New("it was allowed")
	case !errors.As(err, &p):
		return err
	case p.Code != code:
		return fmt.Errorf("refused as %q, not as %q: %w", p.Code, code, err)
	}
	return nil
}

// passing are refusals that a person would wait out and tap once more: a
// process is being started again, the barrel is connecting anew.
var passing = []wire.Code{
	wire.CodeBarrelOffline, wire.CodeBarrelBusy, wire.CodeServerUnreachable, wire.CodeNoQuorum, wire.CodeOutcomeUnknown, wire.CodeRateLimited,
}

// patiently tries until it succeeds or is refused for good.
func patiently[T any](ctx context.Context, try func() (T, error)) (v T, err error) {
	werr := until(ctx, "an answer", func() (bool, error) {
		v, err = try()
		var p *wire.Problem
		return !errors.As(err, &p) || !slices.Contains(passing, p.Code), err
	})
	if werr != nil {
		return v, werr
	}
	return v, err
}
