package phone

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/sealedge/sealedge/edge/pathwatch"
	"github.com/sealedge/sealedge/edge/wire"
)

// roamer carries a watcher's actions out.
type roamer struct {
	phone  *Phone
	events chan pathwatch.Event
	ctx    context.Context
}

// errRoaming is for who lets a phone roam twice.
var errRoaming = errors.New("the phone roams already")

// Roam keeps the phone on a path that lives, as package pathwatch decides, until ctx
// ends or the phone is switched off. A lease that the phone has is used.
func (p *Phone) Roam(ctx context.Context, cfg pathwatch.Config) error {
	p.tasks.Add(1) // what it begins is waited for
	defer p.tasks.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()
	r := &roamer{phone: p, events: make(chan pathwatch.Event, 64), ctx: ctx}
	if !p.roamer.CompareAndSwap(nil, r) {
		return errRoaming
	}
	defer p.roamer.Store(nil)

	cfg.NoFallback = p.cfg.Fallback == nil || !p.cfg.Gateway.IsValid()
	cfg.Static = p.cfg.Fallback.issued() != nil
	if cfg.FirstNonce == 0 {
		cfg.FirstNonce = rand.Uint64()
	}
	w := pathwatch.New(cfg, time.Now())
	handle := func(events ...pathwatch.Event) {
		for _, e := range events {
			for _, a := range w.Handle(time.Now(), e) {
				r.act(a)
			}
		}
	}
	if l := p.held(); l.valid(p.cfg.Clock()) && !cfg.Static {
		handle(pathwatch.Leased{RenewAfter: l.renew, Expires: l.expires})
	}
	handle(pathwatch.LinkUp{Path: pathwatch.Carrier}, pathwatch.LinkUp{Path: pathwatch.Fallback})
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if next := w.Next(); next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(next))
		}
		select {
		case e := <-r.events:
			handle(e)
		case <-timer.C:
			handle(pathwatch.Tick{})
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// tell tells the watcher, if there is one.
func (p *Phone) tell(e pathwatch.Event) {
	if r := p.roamer.Load(); r != nil {
		r.tell(e)
	}
}

func (r *roamer) tell(e pathwatch.Event) {
	select {
	case r.events <- e:
	case <-r.ctx.Done():
	}
}

// act does what takes no time, and begins what does.
func (r *roamer) act(a pathwatch.Action) {
	p := r.phone
	switch a := a.(type) {
	case pathwatch.SendProbe:
		p.sendProbe(pathOf(a.Path), a.Nonce)
	case pathwatch.Select:
		if err := p.Use(pathOf(a.Path)); err != nil {
			p.log.Info("path not taken", "path", a.Path, "error", err)
		}
	case pathwatch.Announce:
		p.announce(pathOf(a.Path))
	case pathwatch.Release:
		p.tasks.Go(p.releaseTunnel)
	case pathwatch.Connect:
		p.tasks.Go(func() { r.tell(r.connect(a.Path)) })
	case pathwatch.Rekey:
		p.tasks.Go(func() { p.rekey(a.Attempt) })
	case pathwatch.RequestConnection:
		p.tasks.Go(func() { r.tell(r.request(pathOf(a.Over))) })
	}
}

func (r *roamer) connect(path pathwatch.Path) pathwatch.Event {
	p := r.phone
	p.procedure.Lock()
	defer p.procedure.Unlock()
	var err error
	if path == pathwatch.Carrier {
		err = p.reopen(r.ctx)
	} else {
		p.closeTunnel()
		err = p.openTunnel()
	}
	if err != nil {
		p.log.Info("no connection", "path", path, "error", err)
		return pathwatch.ConnectFailed{Path: path}
	}
	return pathwatch.Connected{Path: path}
}

func (r *roamer) request(over Path) pathwatch.Event {
	answer, err := r.phone.RequestConnection(r.ctx, over)
	if err == nil {
		return pathwatch.Leased{RenewAfter: answer.RenewAfter, Expires: answer.Expires}
	}
	r.phone.log.Info("no lease of the fallback path", "over", over, "error", err)
	var refused *wire.Problem
	if errors.As(err, &refused) {
		return pathwatch.RequestFailed{RetryAfter: time.Duration(refused.RetryAfterSeconds) * time.Second}
	}
	return pathwatch.RequestFailed{}
}

// pathOf is a path as the phone names it.
func pathOf(p pathwatch.Path) Path {
	switch p {
	case pathwatch.Carrier:
		return CarrierPath
	case pathwatch.Fallback:
		return FallbackPath
	}
	return NoPath
}

// watched is a path as the watcher names it.
func (p Path) watched() pathwatch.Path {
	switch p {
	case CarrierPath:
		return pathwatch.Carrier
	case FallbackPath:
		return pathwatch.Fallback
	}
	return pathwatch.NoPath
}
