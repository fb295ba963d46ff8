package phone

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/tools/sealsim/coap"
)

// ErrNoBarrel is returned when the barrel isn't on the hotspot.
var ErrNoBarrel = errors.New("the barrel is not on the hotspot")

// BarrelError is a request that the barrel refused.
type BarrelError struct {
	Status  coap.Code
	Problem wire.ConciseProblem
}

func (e *BarrelError) Error() string {
	return fmt.Sprintf("the barrel refused (%s): %s: %s", e.Status, e.Problem.Title, e.Problem.Detail)
}

// Over the hotspot answers come soon or not at all.
const (
	localAckTimeout = 250 * time.Millisecond
	lockTimeout     = 2 * time.Second
)

// Unlock connects to a barrel on the hotspot and hands it a grant. The barrel
// then asks the user for what the grant demands.
func (a *App) Unlock(ctx context.Context, use wire.UseAnswer, user, title string) (wire.UnlockAnswer, error) {
	var out wire.UnlockAnswer
	err := a.ask(ctx, use.Barrel, coap.Request{
		Method: coap.POST, Path: wire.PathLocalUnlock, Format: wire.ContentCBOR,
		Payload: wire.MarshalCBOR(wire.UnlockRequest{Grant: use.Grant, User: user, Title: title}),
	}, &out)
	return out, err
}

// BarrelStatus asks a barrel on the hotspot how it is.
func (a *App) BarrelStatus(ctx context.Context, barrel string) (wire.BarrelStatus, error) {
	var out wire.BarrelStatus
	err := a.ask(ctx, barrel, coap.Request{Method: coap.GET, Path: wire.PathLocalStatus}, &out)
	return out, err
}

// BarrelReceipts fetches what a barrel on the hotspot signed for a use.
func (a *App) BarrelReceipts(ctx context.Context, barrel string, use uint64) (wire.LocalReceipts, error) {
	var out wire.LocalReceipts
	err := a.ask(ctx, barrel, coap.Request{
		Method: coap.GET, Path: wire.PathLocalReceipts, Query: []string{"use=" + strconv.FormatUint(use, 10)},
	}, &out)
	return out, err
}

// LockBarrel locks a barrel on the hotspot and so ends its use.
func (a *App) LockBarrel(ctx context.Context, barrel, reason string) error {
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	return a.ask(ctx, barrel, coap.Request{
		Method: coap.POST, Path: wire.PathLocalLock, Format: wire.ContentCBOR,
		Payload: wire.MarshalCBOR(wire.LocalLock{Reason: reason}),
	}, nil)
}

// ask sends a request over the local link, opening that if need be.
func (a *App) ask(ctx context.Context, barrel string, r coap.Request, out any) error {
	at, err := a.phone.barrelAddress(barrel)
	if err != nil {
		return err
	}
	link, err := a.link()
	if err != nil {
		return err
	}
	answer, err := link.Do(ctx, net.UDPAddrFromAddrPort(at), r)
	if err != nil {
		return err
	}
	if answer.Code >= coap.BadRequest {
		refused := &BarrelError{Status: answer.Code}
		if answer.Format == wire.ContentProblem {
			_ = wire.UnmarshalCBOR(answer.Payload, &refused.Problem) // the code says enough
		}
		return refused
	}
	if out == nil {
		return nil
	}
	return wire.UnmarshalCBOR(answer.Payload, out)
}

// link is the local link to the barrel.
func (a *App) link() (*coap.Endpoint, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.phone.ctx.Err() != nil {
		return nil, ErrClosed
	}
	if a.local == nil {
		socket, err := a.phone.hotspot.Host().ListenUDP(0)
		if err != nil {
			return nil, fmt.Errorf("local link: %w", err)
		}
		a.local = coap.NewEndpoint(socket, coap.Config{AckTimeout: localAckTimeout, Logger: a.phone.log})
	}
	return a.local, nil
}

// dropLocal closes the local link.
func (a *App) dropLocal() {
	a.mu.Lock()
	link := a.local
	a.local = nil
	a.mu.Unlock()
	if link != nil {
		_ = link.Close()
	}
}
