package phone

import (
	"context"
	"fmt"
	"net/netip"

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
	if err := p.stack.SetAddress(netip.PrefixFrom(b.Address(), 32)); err != nil {
		return err
	}
	if b.MTU() > 0 {
		p.stack.SetMTU(b.MTU())
	}
	b.Handle(p.deliver)
	p.mu.Lock()
	p.bearer = b
	p.mu.Unlock()
	p.tasks.Go(func() { p.watch(b) })
	p.activate(CarrierPath, func(packet []byte) { _ = b.Send(packet) })
	return nil
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
// waits until the gateway answers through it. The address stays; a phone that
// has none yet takes the one of its configuration. The carrier's bearer is left
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
	if !p.stack.Address().IsValid() {
		if err := p.stack.SetAddress(netip.PrefixFrom(p.cfg.Fallback.Address, 32)); err != nil {
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
