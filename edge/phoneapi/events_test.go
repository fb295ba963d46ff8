package phoneapi

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
)

// eventReader is a terminal at its event stream.
type eventReader struct {
	t      *testing.T
	locks  chan wire.LockEvent
	ended  chan struct{}
	cancel func()
}

func (r *rig) listen(imsi string) *eventReader {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", "https://gateway"+wire.PathEvents, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	res, err := r.phone(usetest.Address(imsi)).Do(req)
	if err != nil || res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		r.t.Fatalf("%v, %v", res, err)
	}
	l := &eventReader{t: r.t, locks: make(chan wire.LockEvent, 100), ended: make(chan struct{}), cancel: cancel}
	go func() {
		defer close(l.ended)
		defer res.Body.Close()
		l.read(res.Body)
	}()
	return l
}

func (l *eventReader) read(body io.Reader) {
	event := ""
	for lines := bufio.NewScanner(body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch name {
		case "event":
			event = value
		case "data":
			var e wire.LockEvent
			if err := json.Unmarshal([]byte(value), &e); err != nil || event != wire.EventLock {
				l.t.Errorf("event %q, data %s: %v", event, value, err)
			}
			l.locks <- e
		}
	}
}

// got takes all that has arrived.
func (l *eventReader) got() (locks []wire.LockEvent) {
	synctest.Wait()
	for {
		select {
		case e := <-l.locks:
			locks = append(locks, e)
		default:
			return locks
		}
	}
}

func TestLocksComeUntilAcknowledged(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		u := r.use("r1")
		mine, other := r.listen(usetest.Terminal), r.listen(usetest.Other)
		defer mine.cancel()
		defer other.cancel()
		if got := mine.got(); len(got) != 0 {
			t.Fatalf("before: %+v", got)
		}
		r.w.Do(&command.Disconnect{SourceId: "d1", Order: usetest.Order, Use: u.Use, Reason: "wrong page"})
		got := mine.got() // no time has gone by
		if len(got) != 1 || got[0].Lock == 0 || got[0].Use != u.Use || got[0].Barrel != usetest.Barrel || got[0].Reason != "wrong page" {
			t.Fatalf("at once: %+v", got)
		}
		time.Sleep(2*resendLock + time.Second)
		if got := mine.got(); len(got) != 2 {
			t.Errorf("not acknowledged, it came %d times more; want 2", len(got))
		}
		// The node dies. The next one has it from the state.
		r.stop()
		<-mine.ended
		r.start()
		again := r.listen(usetest.Terminal)
		defer again.cancel()
		next := again.got() // once or twice: it may be pushed as the stream begins
		if len(next) == 0 || next[0] != got[0] {
			t.Errorf("from the next node: %+v, want %+v", next, got[0])
		}
		r.sendFrom(usetest.Address(usetest.Other), "POST", wire.LockAckPath(got[0].Lock), nil).refused(t, wire.CodeLockUnknown)
		for range 2 {
			r.send("POST", wire.LockAckPath(got[0].Lock), nil).want(t, 204, nil)
		}
		time.Sleep(5 * resendLock)
		if got := again.got(); len(got) != 0 {
			t.Errorf("acknowledged, it came again: %+v", got)
		}
		if got := other.got(); len(got) != 0 {
			t.Errorf("another terminal heard of it: %+v", got)
		}
	})
}

// What revokes waits for no quorum.
func TestPushWithoutQuorum(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		l := r.listen(usetest.Terminal)
		defer l.cancel()
		r.w.Fail(command.ErrNoQuorum)
		r.srv.Push(&command.Lock{Barrel: usetest.Barrel, Imsi: usetest.Terminal, Reason: "wrong page"})
		if got := l.got(); len(got) != 1 || got[0].Lock != 0 || got[0].Barrel != usetest.Barrel || !got[0].Created.Equal(time.Now()) {
			t.Errorf("got %+v", got)
		}
	})
}

func TestStreamEndsWithTheSession(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		l := r.listen(usetest.Terminal)
		defer l.cancel()
		r.w.Do(&command.ClosePath{Session: 1, Reason: "detached"})
		time.Sleep(resendLock)
		synctest.Wait()
		select {
		case <-l.ended:
		default:
			t.Error("the stream goes on")
		}
	})
}

func TestStreamLivesOn(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		l := r.listen(usetest.Terminal)
		defer l.cancel()
		time.Sleep(time.Hour)
		synctest.Wait()
		select {
		case <-l.ended:
			t.Error("the stream ended in silence")
		default:
		}
	})
}

func TestOldestStreamMakesRoom(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		var all []*eventReader
		for range maxStreams + 1 {
			l := r.listen(usetest.Terminal)
			defer l.cancel()
			all = append(all, l)
		}
		synctest.Wait()
		for i, l := range all {
			ended := false
			select {
			case <-l.ended:
				ended = true
			default:
			}
			if ended != (i == 0) {
				t.Errorf("stream %d ended: %v", i, ended)
			}
		}
	})
}

func TestConnectionsOfATerminalAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		from := usetest.Address(usetest.Terminal)
		for i := range maxConns + 2 {
			c, err := r.ln.dial(t.Context(), from)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			synctest.Wait()
			if i < maxConns {
				continue
			}
			if _, err := c.Read(make([]byte, 1)); err == nil {
				t.Errorf("connection %d is open", i)
			}
		}
		r.sendFrom(usetest.Address(usetest.Other), "GET", wire.PathStatus, nil).want(t, 200, nil)
		// Those that say nothing are closed in time.
		time.Sleep(headerTimeout + time.Second)
		r.send("GET", wire.PathStatus, nil).want(t, 200, nil)
	})
}

// A stream that is not read doesn't hold up the others.
func TestSlowListener(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		st := r.srv.streams.open(usetest.Terminal, func() {})
		defer r.srv.streams.close(usetest.Terminal, st)
		l := r.listen(usetest.Terminal)
		defer l.cancel()
		for i := range 50 {
			r.srv.Push(&command.Lock{Id: uint64(i + 1), Imsi: usetest.Terminal, Reason: fmt.Sprint(i)})
			synctest.Wait()
		}
		if got := l.got(); len(got) != 50 {
			t.Errorf("%d of 50 arrived", len(got))
		}
	})
}
