package cluster

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// repeatAfter is how long a warning of Raft's is kept from being repeated: with a
// peer down it gives the same one dozens of times a second.
const repeatAfter = 10 * time.Second

// newRaftLogger passes Raft's log on to slog, one or two levels lower: what Raft
// calls an error is a peer that doesn't answer, what it calls information is its
// inner life. The events that an operator should see are logged by Node. When
// closing is closed, Raft's complaints about that are left out.
func newRaftLogger(to *slog.Logger, closing <-chan struct{}) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "raft", Output: io.Discard, Level: hclog.Off})
	l.RegisterSink(&raftSink{to: to.With("component", "raft"), closing: closing, last: map[string]time.Time{}})
	return l
}

type raftSink struct {
	to      *slog.Logger
	closing <-chan struct{}

	mu   sync.Mutex
	last map[string]time.Time // when a warning was last given, by its text
}

// Accept implements hclog.SinkAdapter.
func (s *raftSink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	var to slog.Level
	switch level {
	case hclog.Error:
		to = slog.LevelWarn
	case hclog.Warn, hclog.Info:
		to = slog.LevelDebug
	default:
		return
	}
	select {
	case <-s.closing:
		to = slog.LevelDebug
	default:
	}
	ctx := context.Background()
	if !s.to.Enabled(ctx, to) || (to >= slog.LevelWarn && !s.due(msg)) {
		return
	}
	for i, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			args[i] = fmt.Sprintf(fmt.Sprint(f[0]), f[1:]...)
		} else if i%2 == 1 {
			args[i] = fmt.Sprint(a) // Raft may go on changing what it passes
		}
	}
	s.to.Log(ctx, to, msg, args...)
}

func (s *raftSink) due(msg string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if at, ok := s.last[msg]; ok && now.Sub(at) < repeatAfter {
		return false
	}
	s.last[msg] = now
	return true
}
