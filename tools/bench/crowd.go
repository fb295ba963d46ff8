package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/sealedge/sealedge/cluster"
	"github.com/sealedge/sealedge/cluster/command"
)

// newcomers attach beside the crowd.
const newcomers = 2048

// crowd measures a real node with n sessions: its memory, its start, and how it
// attaches further ones. The sessions get into its log by the replicated log's
// own interface, in this process; then the node is started on what that left.
func (b *bench) crowd(ctx context.Context, n int) error {
	s, err := newSite(filepath.Join(b.dir, "crowd"), b.bin, 1)
	if err != nil {
		return err
	}
	defer s.stop()
	// Without sessions first: what a node takes anyway.
	if err := s.launch(ctx); err != nil {
		return err
	}
	empty, err := settledMemory(ctx, s.holder)
	if err != nil {
		return err
	}
	s.stop()
	begin := time.Now()
	if err := s.fill(ctx, n); err != nil {
		return err
	}
	filled := time.Since(begin)
	begin = time.Now()
	if err := s.launch(ctx); err != nil {
		return err
	}
	started := time.Since(begin)
	full, err := settledMemory(ctx, s.holder)
	if err != nil {
		return err
	}
	b.report(figure("memory", 0, fmt.Sprintf("node, %s sessions", grouped(int64(n))), [][]sample{{
		{"RSS", "MB", full / 1e6},
		{"RSS without sessions", "MB", empty / 1e6},
		{"RSS", "B/session", (full - empty) / float64(n)},
		{"log filled", "commands/s", float64(2*n) / filled.Seconds()},
		{"start until serving", "s", started.Seconds()},
	}}))
	return b.join(ctx, s, n)
}

// join attaches newcomers beside n sessions.
func (b *bench) join(ctx context.Context, s *site, n int) error {
	if _, err := s.enlist(ctx, n, newcomers); err != nil {
		return err
	}
	for _, outstanding := range []int{1, 16} {
		var runs [][]sample
		for range b.runs {
			run, err := b.steady(ctx, s, func() ([]sample, error) {
				return attachRound(ctx, s.target(n, newcomers), 2, outstanding, b.time)
			})
			if err != nil {
				return err
			}
			runs = append(runs, run)
		}
		b.report(figure("attach", 1, fmt.Sprintf("%d outstanding, %v, beside %s sessions", outstanding, protocol(2), grouped(int64(n))), runs))
	}
	return nil
}

// settledMemory is the resident memory after the process had time to give back
// what starting took.
func settledMemory(ctx context.Context, p *process) (float64, error) {
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(3 * time.Second):
	}
	rss, err := p.resident()
	return float64(rss), errors.Join(err, p.ended())
}

// fill puts n attached subscribers into the log of a site of one node that
// isn't running.
func (s *site) fill(ctx context.Context, n int) (err error) {
	node, shut, err := s.openNodes(ctx)
	defer func() { err = errors.Join(err, shut()) }()
	if err != nil {
		return err
	}
	policy, err := policyCommand(s.layout.Policy)
	if err != nil {
		return err
	}
	if err := carriedOut(ctx, node, policy); err != nil {
		return err
	}
	const atOnce = 256 // share their fsyncs
	for _, make := range []func(int) *command.Command{subscriberCommand, sessionCommand} {
		err := all(ctx, n, atOnce, func(ctx context.Context, i int) error { return carriedOut(ctx, node, make(i)) })
		if err != nil {
			return err
		}
	}
	return nil
}

func carriedOut(ctx context.Context, node *cluster.Node, c *command.Command) error {
	result, err := node.Propose(ctx, c)
	if err == nil && result.Code != command.Code_OK {
		err = fmt.Errorf("%v: %v: %s", c.Type, result.Code, result.Message)
	}
	return err
}
