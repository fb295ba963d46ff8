package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
	"github.com/sealedge/sealedge/tools/sealsim/wifi"
)

// accessDenied is the cause for a handset that isn't bound to the SIM
// (TS 29.274 8.4).
const accessDenied = 93

func (s *story) attach(ctx context.Context) error {
	if err := s.show("the listed SIM in its handset is admitted", func() (string, error) {
		if err := s.world.phone.Attach(ctx); err != nil {
			return "", err
		}
		rtt, err := s.world.phone.Ping(ctx)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("inner address %s, the gateway answers a ping in %s", s.world.phone.Address(), rtt.Round(time.Microsecond)), nil
	}); err != nil {
		return err
	}
	return s.show("the same SIM in another handset is refused", func() (string, error) {
		_, err := s.world.carrier.Attach(ctx, sim(otherIMEI))
		var refused *carrier.RefusedError
		switch {
		case err == nil:
			return "", errors.New("it was admitted")
		case !errors.As(err, &refused):
			return "", err
		case refused.Cause != accessDenied:
			return "", fmt.Errorf("refused with cause %d, not %d", refused.Cause, accessDenied)
		}
		if _, err := s.world.phone.Ping(ctx); err != nil {
			return "", fmt.Errorf("the right handset suffers from it: %w", err)
		}
		return fmt.Sprintf("GTPv2 cause %d (%s); the session of the right handset goes on", refused.Cause, carrier.CauseText(refused.Cause)), nil
	})
}

func (s *story) hotspot(ctx context.Context) error {
	if err := s.show("the barrel with a listed MAC gets onto the hotspot and to the gateway", func() (string, error) {
		if err := s.world.barrel.PowerOn(); err != nil {
			return "", err
		}
		if err := s.world.barrel.Join(ctx, s.world.phone.Hotspot()); err != nil {
			return "", err
		}
		if err := s.world.awaitBarrel(ctx, "alive", func(st wire.BarrelStatus) bool { return st.LeaseMs > 0 }); err != nil {
			return "", err
		}
		return barrelID + " heartbeats over DTLS through the phone's tunnel; it is locked", nil
	}); err != nil {
		return err
	}
	return s.show("a device with an unlisted MAC is kept off the hotspot", func() (string, error) {
		link, err := s.world.phone.Hotspot().Join(ctx, wifi.Station{MAC: must(ident.ParseMAC(strangerMAC)), Hostname: "stranger"})
		if err == nil {
			link.Leave()
		}
		return "mac-not-allowed", refusedWith(err, wire.CodeMACNotAllowed)
	})
}

func (s *story) login(ctx context.Context) error {
	user := people[0]
	if err := s.show("the user logs in and sees his approved orders", func() (string, error) {
		_, err := patiently(ctx, func() (wire.LoginAnswer, error) {
			return s.world.phone.App().Login(ctx, user.name, "wrong"+password(user.name))
		})
		if bad := refusedWith(err, wire.CodeLoginFailed); bad != nil {
			return "", fmt.Errorf("a wrong password: %w", bad)
		}
		a, err := patiently(ctx, func() (wire.LoginAnswer, error) {
			return s.world.phone.App().Login(ctx, user.name, password(user.name))
		})
		if err != nil {
			return "", err
		}
		orders, err := patiently(ctx, func() ([]wire.Order, error) { return s.world.phone.App().Orders(ctx) })
		if err != nil {
			return "", err
		}
		if len(orders) != 5 {
			return "", fmt.Errorf("%d orders, not 5", len(orders))
		}
		return fmt.Sprintf("%s, %d orders; a wrong password was refused", a.Name, len(orders)), nil
	}); err != nil {
		return err
	}
	go func() {
		// Locks arrive here until the phone is switched off.
		_ = s.world.phone.App().Watch(context.WithoutCancel(ctx), func(l wire.LockEvent) {
			s.say("phone is told to disconnect: %s", l.Reason)
		})
	}()
	return nil
}

// unlock asks for the use of an order and unlocks the barrel with finger and
// face.
func (s *story) unlock(ctx context.Context, number string) (wire.UseAnswer, error) {
	use, err := s.request(ctx, number)
	if err != nil {
		return use, err
	}
	return use, s.verify(ctx, use, number)
}

// verify unlocks the barrel with a grant, finger and face.
func (s *story) verify(ctx context.Context, use wire.UseAnswer, number string) error {
	user := people[0]
	if _, err := s.world.phone.App().Unlock(ctx, use, user.name, number); err != nil {
		return err
	}
	if _, err := s.world.barrel.Press(); err == nil {
		return errors.New("the barrel stamped before anybody was verified")
	}
	if err := s.world.barrel.Finger(user.name); err != nil {
		return err
	}
	if st, _ := s.world.barrel.Status(); !st.Locked {
		return errors.New("the barrel unlocked after the finger alone, for a level 1 seal")
	}
	if err := s.world.barrel.Face(user.name); err != nil {
		return err
	}
	return s.world.awaitBarrel(ctx, "unlocked", func(st wire.BarrelStatus) bool { return !st.Locked })
}

// request asks for the use of an order.
func (s *story) request(ctx context.Context, number string) (wire.UseAnswer, error) {
	use, err := patiently(ctx, func() (wire.UseAnswer, error) { return s.world.phone.App().RequestUse(ctx, number, barrelID, 0) })
	if err != nil {
		return use, err
	}
	s.say("order %s granted: use %d, %d stampings, level %d, methods %v", number, use.Use, use.Count, use.Level, use.Methods)
	return use, nil
}

// press stamps a page, waits for the receipt to be in the ledger and sends the
// photograph.
func (s *story) press(ctx context.Context, use wire.UseAnswer, page string) error {
	n, err := s.world.barrel.Press()
	if err != nil {
		return err
	}
	s.say("stamped %s (stamping %d of %d)", page, n, use.Count)
	if err := s.awaitUse(ctx, use.Use, "confirmed", func(u wire.UseStatus) bool { return u.Confirmed >= n }); err != nil {
		return err
	}
	image, err := s.world.barrel.Photograph(page, int(n))
	if err != nil {
		return err
	}
	a, err := patiently(ctx, func() (wire.EvidenceAnswer, error) {
		return s.world.phone.App().UploadEvidence(ctx, use.Use, n, image, "image/png")
	})
	if err != nil {
		return err
	}
	s.say("photograph stored by the seal server: %d bytes, SHA-256 %x...", a.Size, a.Digest[:6])
	return nil
}

func (s *story) awaitUse(ctx context.Context, use uint64, what string, wanted func(wire.UseStatus) bool) error {
	var last wire.UseStatus
	return until(ctx, fmt.Sprintf("use %d %s", use, what), func() (ok bool, err error) {
		if last, err = s.world.phone.App().Use(ctx, use); err != nil {
			return false, err
		}
		return wanted(last), fmt.Errorf("it is %+v", last)
	})
}

func (s *story) settled(ctx context.Context, use uint64) error {
	return s.awaitUse(ctx, use, "settled", func(u wire.UseStatus) bool { return u.State == wire.UseSettled })
}

func (s *story) stamp(ctx context.Context) error {
	var use wire.UseAnswer
	if err := s.show("a level 1 seal unlocks only after fingerprint and face", func() (how string, err error) {
		use, err = s.unlock(ctx, orderLease)
		return "the barrel verified the grant itself and asked for both", err
	}); err != nil {
		return err
	}
	if err := s.show("two stampings, each with its evidence stored", func() (string, error) {
		for _, page := range []string{"lease page 1", "lease page 2"} {
			if err := s.press(ctx, use, page); err != nil {
				return "", err
			}
		}
		list, err := s.office.evidence(ctx, orderLease)
		if err != nil {
			return "", err
		}
		for _, e := range list {
			if err := s.office.verdict(ctx, wire.EvidenceRef{Order: orderLease, Use: e.Use, Stamp: e.Stamp}, true, ""); err != nil {
				return "", err
			}
		}
		return fmt.Sprintf("%d images with the reviewer, who found them right", len(list)), s.settled(ctx, use.Use)
	}); err != nil {
		return err
	}
	return s.show("the third stamping is refused, by the barrel and by the ledger", func() (string, error) {
		if n, err := s.world.barrel.Press(); err == nil {
			return "", fmt.Errorf("the barrel stamped a %d. time", n)
		}
		_, err := s.request(ctx, orderLease)
		return "the barrel is locked; order-exhausted", refusedWith(err, wire.CodeOrderExhausted)
	})
}

func (s *story) mismatch(ctx context.Context) error {
	return s.show("a wrong page is reported, and the disconnect locks the barrel", func() (string, error) {
		use, err := s.unlock(ctx, orderSales)
		if err != nil {
			return "", err
		}
		if err := s.press(ctx, use, "a page that is no sales contract"); err != nil {
			return "", err
		}
		ref := wire.EvidenceRef{Order: orderSales, Use: use.Use, Stamp: 1}
		if err := s.office.verdict(ctx, ref, false, "the page is not the sales contract"); err != nil {
			return "", err
		}
		began := time.Now()
		if err := s.world.awaitBarrel(ctx, "locked", func(st wire.BarrelStatus) bool { return st.Locked }); err != nil {
			return "", err
		}
		took := time.Since(began)
		if _, err := s.world.barrel.Press(); err == nil {
			return "", errors.New("the barrel still stamps")
		}
		if err := s.settled(ctx, use.Use); err != nil {
			return "", err
		}
		_, err = s.request(ctx, orderSales)
		var p *wire.Problem
		if !errors.As(err, &p) {
			return "", fmt.Errorf("the order goes on: %w", err)
		}
		return fmt.Sprintf("locked %s after the verdict; the order is ended (%s)", took.Round(time.Millisecond), p.Code), nil
	})
}

func (s *story) closed(ctx context.Context) error {
	return s.show("an order outside its window is refused", func() (string, error) {
		_, err := s.request(ctx, orderTomorrow)
		if bad := refusedWith(err, wire.CodeOrderNotOpen); bad != nil {
			return "", bad
		}
		var p *wire.Problem
		errors.As(err, &p)
		return string(p.Code) + ": " + p.Detail, nil
	})
}
