package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"

	"github.com/sealedge/sealedge/cluster"
	"github.com/sealedge/sealedge/cluster/backup"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// newcomer measures how long a node with an empty directory takes to be as good as
// the others, in a cluster with n sessions. The leader got them by restoring a
// backup, so that the newcomer gets all of them in one snapshot, as it would from a
// leader that has worked for a while. Both are in this process and on its disk; the
// gateways around them are left out.
func (b *bench) newcomer(ctx context.Context, n int) (err error) {
	s, err := newSite(filepath.Join(b.dir, "newcomer"), b.bin, 3)
	if err != nil {
		return err
	}
	restored, err := s.restore(n)
	if err != nil {
		return err
	}
	leader, err := s.openNode(0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, leader.Close()) }()
	if err := until(ctx, func() bool { return leader.Holds() && leader.Barrier(ctx) == nil }); err != nil {
		return err
	}
	var runs [][]sample
	for range b.runs {
		run, err := s.welcome(ctx, leader, n)
		if err != nil {
			return err
		}
		runs = append(runs, append(run, sample{"backup restored", "s", restored.Seconds()}))
	}
	b.report(figure("memory", 0, fmt.Sprintf("new node, %s sessions", grouped(int64(n))), runs))
	return nil
}

// restore makes the data directory of the first node, with n sessions, and tells
// how long that took from the backup on.
func (s *site) restore(n int) (time.Duration, error) {
	var chain []*command.AuditEntry
	m, err := populate(s.layout.Policy, n, func(e *command.AuditEntry) { chain = append(chain, e) })
	if err != nil {
		return 0, err
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return 0, err
	}
	var file bytes.Buffer
	if err := backup.Write(&file, []age.Recipient{id.Recipient()}, backup.Source{
		Node: "bench", Created: time.Now(), Machine: m,
		Audit: func(yield func(*command.AuditEntry, error) bool) {
			for _, e := range chain {
				if !yield(e, nil) {
					return
				}
			}
		},
	}); err != nil {
		return 0, err
	}
	cfg := cluster.Config{
		NodeName: string(s.cfgs[0].Node.Name), DataDir: string(s.cfgs[0].Node.DataDir), Logger: slog.New(slog.DiscardHandler),
	}
	for _, p := range s.cfgs[0].Cluster.Peers {
		cfg.Peers = append(cfg.Peers, cluster.Peer{Name: string(p.Name), Address: string(p.Address)})
	}
	begin := time.Now()
	_, err = cluster.Restore(cfg, &file, []age.Identity{id})
	return time.Since(begin), err
}

// welcome has the second node join with an empty directory, and leave again.
func (s *site) welcome(ctx context.Context, leader *cluster.Node, n int) (_ []sample, err error) {
	cfg := s.cfgs[1]
	if err := os.RemoveAll(string(cfg.Node.DataDir)); err != nil {
		return nil, err
	}
	var target uint64
	leader.View(func(m *state.Machine) { target = m.Index() })
	audit := leader.Status().Audit
	begin := time.Now()
	node, err := s.openNode(1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, node.Close()) }()
	var took [3]time.Duration
	for i, done := range []func() bool{
		func() (done bool) {
			node.View(func(m *state.Machine) { done = m.Index() >= target && m.Counts().Sessions == n })
			return done
		},
		func() bool {
			for _, p := range leader.Status().Peers {
				if p.Name == string(cfg.Node.Name) && p.Voter {
					return true
				}
			}
			return false
		},
		func() bool { st := node.Status(); return st.AuditGaps == 0 && st.Audit >= audit },
	} {
		if err := until(ctx, done); err != nil {
			return nil, err
		}
		took[i] = time.Since(begin)
	}
	// While it still answers: the leader is a majority of what is left. On a busy
	// machine it may not lead for a moment.
	var refused error
	err = until(ctx, func() bool {
		if node.IsLeader() {
			refused = node.StepDown(ctx)
			return false
		}
		_, refused = leader.Remove(ctx, node.Status().ID)
		return refused == nil || errors.Is(refused, cluster.ErrNoMember)
	})
	if err != nil {
		return nil, errors.Join(err, refused)
	}
	return []sample{
		{"has the state", "s", took[0].Seconds()},
		{"votes", "s", took[1].Seconds()},
		{"has the audit chain", "s", took[2].Seconds()},
	}, nil
}

// until asks again and again.
func until(ctx context.Context, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
