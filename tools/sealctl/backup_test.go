package main

import (
	"context"
	"io"
	"os"
	"slices"
	"strconv"
	"time"

	"filippo.io/age"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sealedge/sealedge/cluster/backup"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// backup is what a node does that has its log.
func (n *node) backup(_ context.Context, w io.Writer, to []age.Recipient) error {
	n.mu.Lock()
	m, chain := n.machine.Clone(), slices.Clone(n.entries)
	n.mu.Unlock()
	return backup.Write(w, to, backup.Source{
		Node: "node1", Created: time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC), Machine: m,
		Audit: func(yield func(*command.AuditEntry, error) bool) {
			for _, e := range chain {
				if !yield(e, nil) {
					return
				}
			}
		},
	})
}

// identity FILE NAME: an age identity, its recipient in the environment under NAME.
func identity(ts *testscript.TestScript, _ bool, args []string) {
	id, err := age.GenerateX25519Identity()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(id.String()+"\n"), 0o600))
	ts.Setenv(args[1], id.Recipient().String())
}

// damage FILE: one bit in its midst is another.
func damage(ts *testscript.TestScript, _ bool, args []string) {
	b := []byte(ts.ReadFile(args[0]))
	b[len(b)/2] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o600))
}

// loses CAUSE: the cluster's memory was lost in part.
func loses(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(ts.Value("node").(*node).propose(&command.RaiseEpoch{Cause: args[0]}))
}

// reports BARREL N: the barrel signed for N stampings in its life, as it was asked.
func reports(ts *testscript.TestScript, _ bool, args []string) {
	lifetime, err := strconv.ParseUint(args[1], 10, 64)
	ts.Check(err)
	n := ts.Value("node").(*node)
	var b *command.Barrel
	n.View(func(m *state.Machine) { b = m.Barrel(args[0]) })
	ts.Check(n.propose(&command.ReconcileBarrel{Barrel: b.GetId(), Use: b.GetAskedUse(), Lifetime: lifetime, Statement: []byte("signed")}))
}

// jumps DURATION: the node's own clock is that far ahead of the others'.
func jumps(ts *testscript.TestScript, _ bool, args []string) {
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	n := ts.Value("node").(*node)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.off = d
}
