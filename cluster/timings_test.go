package cluster

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
)

// A node tells how long its log, its machine and its commands take, and of a command
// what it came to.
func TestTimings(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var appended, applied int
	var proposed []error
	c := newTestCluster(t, 1, func(cfg *Config) {
		cfg.Timings = Timings{
			Append: func(d time.Duration) {
				mu.Lock()
				defer mu.Unlock()
				if appended++; d <= 0 {
					t.Errorf("an append took %v", d)
				}
			},
			Apply: func(d time.Duration) {
				mu.Lock()
				defer mu.Unlock()
				if applied++; d <= 0 {
					t.Errorf("applying took %v", d)
				}
			},
			Propose: func(_ time.Duration, err error) {
				mu.Lock()
				defer mu.Unlock()
				proposed = append(proposed, err)
			},
		}
	})
	n := c.leader()
	mustPropose(t, n, put("001010000000001", ""))
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := n.Propose(over, put("001010000000002", "late")); err == nil {
		t.Fatal("a command was carried out whose time was over")
	}
	mu.Lock()
	defer mu.Unlock()
	if appended == 0 || applied == 0 {
		t.Errorf("%d appends and %d applications are told of", appended, applied)
	}
	if len(proposed) < 2 {
		t.Fatalf("%d commands are told of", len(proposed))
	}
	last := proposed[len(proposed)-1]
	if proposed[len(proposed)-2] != nil || !errors.Is(last, command.ErrNoQuorum) && !errors.Is(last, command.ErrUnknownOutcome) {
		t.Errorf("the commands came to %v", proposed)
	}
}
