package phone

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
)

// silence is how long the gateway may say nothing on the event stream, not even
// a comment, before the app connects anew.
const silence = 40 * time.Second

// Watch listens for locks until ctx ends. For each it locks the barrel over the
// hotspot as far as that is reached, drops the local link, acknowledges to the
// gateway, and then tells seen, if that isn't nil; repetitions are only
// acknowledged again. A stream that breaks is opened again.
func (a *App) Watch(ctx context.Context, seen func(wire.LockEvent)) error {
	for wait := firstWait; ; wait = min(2*wait, longest) {
		began := time.Now()
		err := a.stream(ctx, seen)
		if time.Since(began) > longest {
			wait = firstWait
		}
		a.phone.log.Debug("event stream broke", "error", err)
		if err := a.pause(ctx, err, wait); err != nil {
			return err
		}
	}
}

// stream reads one event stream to its end.
func (a *App) stream(ctx context.Context, seen func(wire.LockEvent)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watchdog := time.AfterFunc(silence, cancel)
	defer watchdog.Stop()
	r, err := a.request(ctx, http.MethodGet, wire.PathEvents, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "text/event-stream")
	answer, err := a.client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if err := problem(answer); err != nil {
		return err
	}
	return readEvents(heard{answer.Body, watchdog}, func(e event) error {
		if e.name != wire.EventLock {
			return nil
		}
		var lock wire.LockEvent
		if err := json.Unmarshal([]byte(e.data), &lock); err != nil {
			return fmt.Errorf("lock event: %w", err)
		}
		return a.lock(ctx, lock, seen)
	})
}

// heard resets the watchdog whenever something is read.
type heard struct {
	body     interface{ Read([]byte) (int, error) }
	watchdog *time.Timer
}

func (h heard) Read(b []byte) (int, error) {
	n, err := h.body.Read(b)
	if n > 0 {
		h.watchdog.Reset(silence)
	}
	return n, err
}

// lock carries a lock event out. A lock without a number isn't in the cluster's
// log yet and can't be acknowledged; it comes again with one.
func (a *App) lock(ctx context.Context, lock wire.LockEvent, seen func(wire.LockEvent)) error {
	a.mu.Lock()
	done := lock.Lock != 0 && a.acked[lock.Lock]
	a.mu.Unlock()
	if !done {
		if err := a.LockBarrel(ctx, lock.Barrel, lock.Reason); err != nil {
			// The gateway tells the barrel, too, and it locks by itself
			// when it hears nothing.
			a.phone.log.Info("barrel not locked over the hotspot", "barrel", lock.Barrel, "error", err)
		}
		a.dropLocal()
	}
	if lock.Lock == 0 {
		return nil
	}
	if err := a.do(ctx, call{method: http.MethodPost, path: wire.LockAckPath(lock.Lock)}, nil); err != nil {
		return fmt.Errorf("acknowledging lock %d: %w", lock.Lock, err)
	}
	a.mu.Lock()
	a.acked[lock.Lock] = true
	a.mu.Unlock()
	if !done && seen != nil {
		seen(lock)
	}
	return nil
}
