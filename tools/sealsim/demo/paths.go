package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sealedge/sealedge/edge/pathwatch"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/tools/sealsim/ipstack"
	"github.com/sealedge/sealedge/tools/sealsim/phone"
)

// flow has 100 packets a second go to the gateway and back while something happens.
func (s *story) flow(ctx context.Context, happens func() error) (ipstack.Flow, error) {
	type result struct {
		f   ipstack.Flow
		err error
	}
	flowing, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan result, 1)
	var answers atomic.Int64
	go func() {
		f, err := s.world.phone.Stack().FlowTold(flowing, gatewayInner, 10*time.Millisecond, func(n int) { answers.Store(int64(n)) })
		done <- result{f, err}
	}()
	more := func() error {
		before := answers.Load()
		return until(ctx, "packets flowing", func() (bool, error) { return answers.Load() >= before+50, nil })
	}
	err := more()
	if err == nil {
		err = happens()
	}
	if err == nil {
		err = more()
	}
	stop()
	r := <-done
	return r.f, errors.Join(err, r.err)
}

// bothPaths has the phone ask for the fallback path ahead of need, and go from one path
// that lives to the other and back.
func (s *story) bothPaths(ctx context.Context) error {
	p := s.world.phone
	if err := s.show("the phone asks for the fallback path while the carrier is there, and is on both", func() (string, error) {
		lease, err := patiently(ctx, func() (*wire.ConnectionAnswer, error) { return p.RequestConnection(ctx, phone.CarrierPath) })
		if err != nil {
			return "", err
		}
		if _, err := p.OpenFallback(ctx); err != nil {
			return "", err
		}
		return fmt.Sprintf("connection %d until %s, pre-shared key and %d endpoint(s); the gateway answers a probe by either path",
			lease.Connection, lease.Expires.Local().Format(time.TimeOnly), len(lease.Endpoints)), nil
	}); err != nil {
		return err
	}
	return s.show("nothing is lost between two paths that live", func() (string, error) {
		f, err := s.flow(ctx, func() error {
			for _, to := range []phone.Path{phone.FallbackPath, phone.CarrierPath} {
				if err := p.Use(to); err != nil {
					return err
				}
				if err := until(ctx, "the gateway following to the "+string(to), func() (bool, error) {
					a, err := p.Probe(ctx, to)
					return err == nil && a.Active, err
				}); err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil && f.Sent != f.Answered {
			err = fmt.Errorf("to the fallback and back: %v", f)
		}
		return "to the fallback and back, 100 packets a second: " + f.String(), err
	})
}

// fallback cuts the carrier off without any signalling.
func (s *story) fallback(ctx context.Context) error {
	return s.show("the carrier is cut off; the phone finds out, and is back over WireGuard with the same address", func() (string, error) {
		p := s.world.phone
		address := p.Address()
		// From now on the phone decides for itself, until it is switched off.
		go func() {
			if err := p.Roam(context.WithoutCancel(ctx), pathwatch.Config{}); err != nil {
				s.log.Info("the phone roams no more", "reason", err)
			}
		}()
		use, err := s.request(ctx, orderRoad)
		if err != nil {
			return "", err
		}
		f, err := s.flow(ctx, func() error {
			s.world.carrier.Cut()
			s.say("the carrier's network is gone")
			return until(ctx, "the phone on the fallback", func() (bool, error) {
				is, _ := p.Path()
				return is == phone.FallbackPath, nil
			})
		})
		if err != nil {
			return "", err
		}
		if p.Address() != address {
			return "", fmt.Errorf("the phone's address was %s and is %s", address, p.Address())
		}
		out, err := s.ps.sealctl(ctx, "session", "list")
		if err != nil {
			return "", err
		}
		if !strings.Contains(out, "wireguard") || strings.Count(out, address.String()) != 1 {
			return "", fmt.Errorf("the gateway's session is not the same one:\n%s", out)
		}
		if err := s.world.awaitBarrel(ctx, "alive", func(st wire.BarrelStatus) bool { return st.LeaseMs > 0 }); err != nil {
			return "", err
		}
		if err := s.verify(ctx, use, orderRoad); err != nil {
			return "", err
		}
		if err := s.press(ctx, use, "a page on the road"); err != nil {
			return "", err
		}
		return fmt.Sprintf("%s again after %s, same session record; the use that was under way went on",
			address, f.Gap.Round(time.Millisecond)), s.settled(ctx, use.Use)
	})
}
