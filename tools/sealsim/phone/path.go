package phone

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/sealedge/sealedge/tools/sealsim/carrier"
)

// Attach opens a bearer through the carrier and makes it the active path. The
// carrier's refusal is a *carrier.RefusedError.
func (p *Phone) Attach(ctx context.Context) error {
	p.procedure.Lock()
	defer p.procedure.Unlock()
	return p.attach(ctx)
}

func (p *Phone) attach(ctx context.Context) error {
	b, err := p.cfg.Operator.Attach(ctx, p.cfg.SIM)
	if err != nil {
		return err
	}
	if err := p.configure(ctx, b); err != nil {
		// What can't be used is given back, also when nobody waits any more. If
		// that fails too, the network finds out.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), detachTimeout)
		defer cancel()
		_ = b.Detach(ctx)
		return err
	}
	b.Handle(p.deliver)
	p.mu.Lock()
	p.bearer = b
	p.mu.Unlock()
	p.tasks.Go(func() { p.watch(b) })
	p.activate(CarrierPath, func(packet []byte) { _ = b.Send(packet) })
	return nil
}

// detachTimeout bounds the giving back of a bearer.
const detachTimeout = 5 * time.Second

// configure gives the stack what the bearer has: the IPv4 address, and an IPv6
// address that the phone makes itself of what the gateway advertises.
func (p *Phone) configure(ctx context.Context, b *carrier.Bearer) error {
	var router carrier.Router
	if b.Granted().Prefix.IsValid() {
		var err error
		if router, err = b.Autoconfigure(ctx); err != nil {
			return err
		}
	}
	if mtu := cmp.Or(b.MTU(), router.MTU); mtu > 0 {
		p.stack.SetMTU(mtu)
	}
	return errors.Join(p.stack.SetAddress(host(b.Address())), p.stack.SetAddress6(host(router.Address)))
}

// host is an address as the stack takes it; the zero Addr is the zero Prefix.
func host(a netip.Addr) netip.Prefix {
	if !a.IsValid() {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a, a.BitLen())
}

// watch notices the end of a bearer.
func (p *Phone) watch(b *carrier.Bearer) {
	select {
	case <-b.Done():
	case <-p.ctx.Done():
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bearer != b {
		return
	}
	p.bearer = nil
	p.log.Info("bearer lost", "reason", b.Err())
	if p.active == CarrierPath {
		p.setPath(NoPath, nil)
	}
}

func (p *Phone) activate(path Path, send func([]byte)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.setPath(path, send)
}

// Detach closes the bearer.
func (p *Phone) Detach(ctx context.Context) error {
	p.procedure.Lock()
	defer p.procedure.Unlock()
	b := p.Bearer()
	if b == nil {
		return ErrNoPath
	}
	return b.Detach(ctx)
}

// SwitchToFallback opens the WireGuard tunnel, makes it the active path and
// waits until the gateway answers through it. The IPv4 address stays; a phone
// that has none takes the one of its configuration. The carrier's bearer is left
// as it is. On an error the fallback stays the active path and keeps trying.
func (p *Phone) SwitchToFallback(ctx context.Context) error {
	p.procedure.Lock()
	defer p.procedure.Unlock()
	if p.cfg.Fallback == nil {
		return ErrNoFallback
	}
	if p.ctx.Err() != nil {
		return ErrClosed
	}
	if !p.cfg.Gateway.IsValid() || !p.stack.Address().IsValid() && !p.cfg.Fallback.Address.IsValid() {
		return errors.New("fallback: it takes an IPv4 address of the phone and one of the gateway")
	}
	if !p.stack.Address().IsValid() {
		if err := p.stack.SetAddress(host(p.cfg.Fallback.Address)); err != nil {
			return err
		}
	}
	// A new tunnel makes a new handshake, by which the gateway knows that
	// the phone came to this path.
	p.closeTunnel()
	t, err := newTunnel(p.cfg.Fallback, p.deliver, p.log)
	if err != nil {
		return fmt.Errorf("fallback: %w", err)
	}
	p.mu.Lock()
	p.tunnel = t
	p.mu.Unlock()
	p.activate(FallbackPath, t.send)
	if _, err := p.Ping(ctx); err != nil {
		return fmt.Errorf("fallback: %w", err)
	}
	return nil
}

// SwitchToCarrier makes the carrier the active path again and waits until the
// gateway answers through it: by the bearer that is still up, which the network
// announces to the gateway (Modify Bearer), or else by attaching anew. On an
// error the phone stays where it was.
func (p *Phone) SwitchToCarrier(ctx context.Context) error {
	p.procedure.Lock()
	defer p.procedure.Unlock()
	b := p.Bearer()
	if b != nil {
		err := b.ModifyBearer(ctx, carrier.Move{})
		switch {
		case err == nil:
			// What the fallback gave a phone of IPv6 goes with it.
			if err := p.stack.SetAddress(host(b.Address())); err != nil {
				return err
			}
			p.activate(CarrierPath, func(packet []byte) { _ = b.Send(packet) })
		case b.Err() == nil:
			return fmt.Errorf("carrier: %w", err)
		default:
			b = nil // the network lost it
		}
	}
	if b == nil {
		if err := p.attach(ctx); err != nil {
			return fmt.Errorf("carrier: %w", err)
		}
	}
	p.closeTunnel()
	if _, err := p.Ping(ctx); err != nil {
		return fmt.Errorf("carrier: %w", err)
	}
	return nil
}

func (p *Phone) closeTunnel() {
	p.mu.Lock()
	t := p.tunnel
	p.tunnel = nil
	if p.active == FallbackPath {
		p.setPath(NoPath, nil)
	}
	p.mu.Unlock()
	if t != nil {
		t.close()
	}
}
