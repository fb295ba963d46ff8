package phone

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/sealedge/sealedge/edge/pathwatch"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
	"github.com/sealedge/sealedge/tools/sealsim/ipstack"
)

// Attach opens a bearer through the carrier and makes it the active path. The
// carrier's refusal is a *carrier.RefusedError.
func (p *Phone) Attach(ctx context.Context) error {
	p.procedure.Lock()
	defer p.procedure.Unlock()
	return p.attach(ctx)
}

func (p *Phone) attach(ctx context.Context) error {
	if err := p.open(ctx); err != nil {
		return err
	}
	return p.Use(CarrierPath)
}

// open opens a bearer.
func (p *Phone) open(ctx context.Context) error {
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
	b.Handle(p.from(CarrierPath))
	p.mu.Lock()
	p.bearer = b
	p.mu.Unlock()
	p.tasks.Go(func() { p.watch(b) })
	return nil
}

// reopen opens a bearer, unless there is one that the network can still move.
func (p *Phone) reopen(ctx context.Context) error {
	if b := p.Bearer(); b != nil {
		err := b.ModifyBearer(ctx, carrier.Move{})
		if err == nil || b.Err() == nil {
			return err
		}
	}
	return p.open(ctx)
}

// Use makes a path that is open the active one, without asking anybody.
func (p *Phone) Use(path Path) error {
	p.mu.Lock()
	b, t := p.bearer, p.tunnel
	p.mu.Unlock()
	switch {
	case path == CarrierPath && b != nil:
		// What the fallback gave a phone of IPv6 goes with it.
		if err := p.stack.SetAddress(host(b.Address())); err != nil {
			return err
		}
		p.activate(CarrierPath, func(packet []byte) { _ = b.Send(packet) })
	case path == FallbackPath && t != nil:
		if own, _ := p.ends(FallbackPath); !p.stack.Address().IsValid() {
			if err := p.stack.SetAddress(host(own)); err != nil {
				return err
			}
		}
		p.activate(FallbackPath, t.send)
	default:
		return ErrNoPath
	}
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
	p.fit(cmp.Or(b.MTU(), router.MTU), 0)
	return errors.Join(p.stack.SetAddress(host(b.Address())), p.stack.SetAddress6(host(router.Address)))
}

// fit makes packets fit into both paths, whichever is active: a connection that begins
// on one goes on over the other. An MTU of 0 is not told.
func (p *Phone) fit(carrier, fallback int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mtus = [2]int{cmp.Or(carrier, p.mtus[0]), cmp.Or(fallback, p.mtus[1])}
	mtu := cmp.Or(p.mtus[0], ipstack.DefaultMTU)
	if p.mtus[1] > 0 {
		mtu = min(mtu, p.mtus[1])
	}
	p.stack.SetMTU(mtu)
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
	current := p.bearer == b
	if current {
		p.bearer = nil
		p.log.Info("bearer lost", "reason", b.Err())
		if p.active == CarrierPath {
			p.setPath(NoPath, nil)
		}
	}
	p.mu.Unlock()
	if current {
		p.tell(pathwatch.Disconnected{Path: pathwatch.Carrier})
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

// OpenFallback opens the WireGuard tunnel, unless it is open, and waits until the gateway
// answers a probe through it and admits the phone there, for which it takes some data. A
// phone that has no lease asks for one first: over the path that it is on, or else at a
// public listener. The phone's active path stays.
func (p *Phone) OpenFallback(ctx context.Context) (wire.ProbeAnswer, error) {
	p.procedure.Lock()
	defer p.procedure.Unlock()
	if err := p.openFallback(ctx); err != nil {
		return wire.ProbeAnswer{}, err
	}
	return p.admitted(ctx, FallbackPath)
}

func (p *Phone) openFallback(ctx context.Context) error {
	switch {
	case p.cfg.Fallback == nil:
		return ErrNoFallback
	case p.ctx.Err() != nil:
		return ErrClosed
	}
	if p.held().valid(p.cfg.Clock()) {
		return p.openTunnel()
	}
	if active, _ := p.Path(); active != NoPath {
		if _, err := p.RequestConnection(ctx, active); err == nil {
			return p.openTunnel()
		}
	}
	if len(p.cfg.Fallback.Requests) == 0 {
		return errNoListener
	}
	if err := p.app.again(ctx, func(ctx context.Context) error {
		_, err := p.RequestConnection(ctx, NoPath)
		return err
	}); err != nil {
		return err
	}
	return p.openTunnel()
}

// held is what the phone has for the fallback path, nil if that is nothing.
func (p *Phone) held() *lease {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lease != nil {
		return p.lease
	}
	return p.cfg.Fallback.issued()
}

// openTunnel brings the tunnel up, unless it is.
func (p *Phone) openTunnel() error {
	l := p.held()
	if l == nil {
		return errors.New("fallback: the phone has no lease")
	}
	own, gateway := p.ends(FallbackPath)
	if !own.IsValid() || !gateway.IsValid() {
		return errors.New("fallback: it takes an IPv4 address of the phone and one of the gateway")
	}
	p.mu.Lock()
	up := p.tunnel != nil
	p.mu.Unlock()
	if up {
		return nil
	}
	t, err := newTunnel(p.cfg.Fallback, l, p.from(FallbackPath), p.log)
	if err != nil {
		return fmt.Errorf("fallback: %w", err)
	}
	p.mu.Lock()
	p.tunnel = t
	p.mu.Unlock()
	return nil
}

// rekey has the tunnel shake hands anew, with the next of the gateway's keys and
// endpoints.
func (p *Phone) rekey(attempt int) {
	p.mu.Lock()
	t := p.tunnel
	p.mu.Unlock()
	l := p.held()
	if t == nil || l == nil {
		return
	}
	if err := t.configure(l, attempt); err != nil {
		p.log.Info("no handshake", "error", err)
		return
	}
	t.shake()
}

// SwitchToFallback opens the WireGuard tunnel with a new handshake, makes it the active
// path and waits until the gateway answers through it. The IPv4 address stays; a phone
// that has none takes the one of its configuration or its lease. The carrier's bearer is
// left as it is. On an error the fallback stays the active path and keeps trying, if it
// came that far.
func (p *Phone) SwitchToFallback(ctx context.Context) error {
	p.procedure.Lock()
	defer p.procedure.Unlock()
	p.closeTunnel()
	if err := p.openFallback(ctx); err != nil {
		return err
	}
	if err := p.Use(FallbackPath); err != nil {
		return err
	}
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
	if err := p.reopen(ctx); err != nil {
		return fmt.Errorf("carrier: %w", err)
	}
	if err := p.Use(CarrierPath); err != nil {
		return fmt.Errorf("carrier: %w", err)
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

// releaseTunnel closes the tunnel, unless it is the active path.
func (p *Phone) releaseTunnel() {
	p.procedure.Lock()
	defer p.procedure.Unlock()
	if active, _ := p.Path(); active != FallbackPath {
		p.closeTunnel()
	}
}
