package cluster

import (
	"context"
	"sync"
)

// event is a condition that can be waited for again and again: every fire wakes
// all who took the channel before it.
type event struct {
	mu sync.Mutex
	ch chan struct{}
}

// next returns a channel that is closed by the next fire.
func (e *event) next() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ch == nil {
		e.ch = make(chan struct{})
	}
	return e.ch
}

func (e *event) fire() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ch != nil {
		close(e.ch)
		e.ch = nil
	}
}

// await returns when ok does; ok is asked again at every fire.
func (e *event) await(ctx context.Context, ok func() bool) error {
	for {
		next := e.next()
		if ok() {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// latest delivers values to subscribers that may be slow: what they didn't read
// yet is replaced.
type latest[T any] struct {
	mu    sync.Mutex
	value T
	subs  []chan T
}

func (l *latest[T]) subscribe() <-chan T {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := make(chan T, 1)
	c <- l.value
	l.subs = append(l.subs, c)
	return c
}

func (l *latest[T]) publish(v T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.value = v
	for _, c := range l.subs {
		select {
		case <-c:
		default:
		}
		c <- v
	}
}
