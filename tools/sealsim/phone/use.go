package phone

import (
	"context"
	"crypto/rand"
	"net/http"

	"github.com/sealedge/sealedge/edge/pathwatch"
	"github.com/sealedge/sealedge/edge/wire"
)

// NewUseRequest makes a request with a fresh id, the phone's own address and
// the phone's clock.
func (a *App) NewUseRequest(order, barrel string, count uint32) wire.UseRequest {
	return wire.UseRequest{
		RequestID: rand.Text(), TerminalAddress: a.phone.Address().String(), ServerAddress: a.cfg.SealServer,
		Time: a.phone.cfg.Clock(), Order: order, Barrel: barrel, Count: count,
	}
}

// RequestUse asks for the use of a seal; count 0 asks for as many stampings as
// the order has left.
func (a *App) RequestUse(ctx context.Context, order, barrel string, count uint32) (wire.UseAnswer, error) {
	return a.SendUseRequest(ctx, a.NewUseRequest(order, barrel, count))
}

// SendUseRequest sends a request as it is. Sending one twice gives the same
// grant; a try that fails is repeated with the same request id.
func (a *App) SendUseRequest(ctx context.Context, r wire.UseRequest) (wire.UseAnswer, error) {
	var out wire.UseAnswer
	err := a.do(ctx, call{method: http.MethodPost, path: wire.PathUses, body: r}, &out)
	if err == nil {
		a.using(out.Use, true)
	}
	return out, err
}

// using tells the watcher that a use goes on, or has ended, once each.
func (a *App) using(use uint64, goes bool) {
	a.mu.Lock()
	did, known := a.uses[use]
	if !known && goes || known && did && !goes {
		a.uses[use] = goes
	}
	a.mu.Unlock()
	switch {
	case !known && goes:
		a.phone.tell(pathwatch.UseBegan{})
	case did && !goes:
		a.phone.tell(pathwatch.UseEnded{})
	}
}

// CheckUse asks what a request would be granted. Nothing is reserved by it.
func (a *App) CheckUse(ctx context.Context, order, barrel string, count uint32) (wire.UseCheck, error) {
	var out wire.UseCheck
	err := a.do(ctx, call{method: http.MethodPost, path: wire.PathUseCheck, body: a.NewUseRequest(order, barrel, count)}, &out)
	return out, err
}

// Use asks what became of a use.
func (a *App) Use(ctx context.Context, use uint64) (wire.UseStatus, error) {
	var out wire.UseStatus
	err := a.do(ctx, call{method: http.MethodGet, path: wire.UsePath(use)}, &out)
	if err == nil && out.State == wire.UseSettled {
		a.using(use, false)
	}
	return out, err
}

// SendReceipt carries a barrel's receipt to the gateway.
func (a *App) SendReceipt(ctx context.Context, use uint64, receipt []byte) (wire.UseStatus, error) {
	var out wire.UseStatus
	err := a.do(ctx, call{method: http.MethodPost, path: wire.ReceiptsPath(use), body: wire.ReceiptReport{Receipt: receipt}}, &out)
	return out, err
}

// SendStatement carries a barrel's settlement statement to the gateway.
func (a *App) SendStatement(ctx context.Context, use uint64, statement []byte) (wire.UseStatus, error) {
	var out wire.UseStatus
	err := a.do(ctx, call{method: http.MethodPost, path: wire.SettlementPath(use), body: wire.SettlementReport{Statement: statement}}, &out)
	return out, err
}
