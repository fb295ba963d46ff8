// Package outbox delivers the seal server's disconnects to the gateway. A
// disconnect is a promise that a barrel locks: it is tried at every gateway
// node in turn until one has it in the cluster's log, across restarts.
package outbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/tools/sealserver/store"
)

// Store is what the outbox needs of the store.
type Store interface {
	Disconnects(ctx context.Context, pending bool) ([]store.Disconnect, error)
	NoteDelivery(ctx context.Context, id, failure string, now time.Time) error
}

// Outbox delivers from one goroutine, that of Run.
type Outbox struct {
	Store    Store
	Gateways []string // base URLs, such as https://127.0.1.1:7444
	HTTP     *http.Client
	Logger   *slog.Logger
	Wake     <-chan struct{} // a disconnect was queued
}

// Waits between attempts while some disconnect is not delivered.
const (
	firstWait = 200 * time.Millisecond
	lastWait  = 5 * time.Second
)

// Run delivers until ctx ends.
func (o *Outbox) Run(ctx context.Context) error {
	wait := firstWait
	for {
		left, err := o.deliver(ctx)
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("outbox: %w", err)
		}
		var again <-chan time.Time
		if left > 0 {
			again = time.After(wait)
			wait = min(2*wait, lastWait)
		} else {
			wait = firstWait
		}
		select {
		case <-ctx.Done():
			return nil
		case <-o.Wake:
			wait = firstWait
		case <-again:
		}
	}
}

// deliver tries every pending disconnect once and tells how many are left.
func (o *Outbox) deliver(ctx context.Context) (left int, err error) {
	pending, err := o.Store.Disconnects(ctx, true)
	if err != nil {
		return 0, err
	}
	for _, d := range pending {
		failure := ""
		if err := o.post(ctx, d); err != nil {
			failure = err.Error()
			left++
			o.Logger.Warn("disconnect is not delivered yet", "id", d.ID, "order", d.Order, "attempt", d.Attempts+1, "err", err)
		} else {
			o.Logger.Info("disconnect delivered", "id", d.ID, "order", d.Order)
		}
		if err := o.Store.NoteDelivery(ctx, d.ID, failure, time.Now()); err != nil {
			return left, err
		}
	}
	return left, nil
}

// post tries the nodes in turn until one has committed the disconnect. A node
// that only pushed it (202) counts as not delivered: the push may be lost.
func (o *Outbox) post(ctx context.Context, d store.Disconnect) error {
	body, err := json.Marshal(wire.Disconnect{ID: d.ID, Order: d.Order, Use: d.Use, Reason: clip(d.Reason)})
	if err != nil {
		return err
	}
	var errs []error
	for _, base := range o.Gateways {
		err := o.postTo(ctx, base+wire.PathDisconnects, body)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// clip keeps a reviewer's words from making a request that the gateway won't
// read: it would be repeated for ever, and nothing would lock.
func clip(words string) string {
	const most = 500
	if r := []rune(words); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return words
}

func (o *Outbox) postTo(ctx context.Context, url string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := o.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		_, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
		return err
	}
	words, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
	return fmt.Errorf("%s answered %s: %s", url, resp.Status, words)
}
