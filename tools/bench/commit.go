package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/sealedge/sealedge/cluster"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/config"
)

// openNode opens node n of a site in this process: the replicated log and the
// state machine, without the gateway around them.
func (s *site) openNode(n int) (*cluster.Node, error) {
	cfg := s.cfgs[n]
	roots, err := cfg.TLS.CA.Pool()
	if err != nil {
		return nil, err
	}
	pair, err := config.Pair(cfg.TLS.Cert, cfg.TLS.Key)
	if err != nil {
		return nil, err
	}
	var peers []cluster.Peer
	for _, p := range cfg.Cluster.Peers {
		peers = append(peers, cluster.Peer{Name: string(p.Name), Address: string(p.Address)})
	}
	return cluster.Open(cluster.Config{
		NodeName: string(cfg.Node.Name), DataDir: string(cfg.Node.DataDir), Listen: string(cfg.Cluster.Listen), Peers: peers,
		TLS: &tls.Config{
			MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*pair},
			RootCAs: roots, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert,
		},
		Bootstrap: true, HeartbeatTimeout: cfg.Cluster.HeartbeatTimeout, ElectionTimeout: cfg.Cluster.ElectionTimeout,
		LeaderLease: cfg.Cluster.LeaderLease, SnapshotThreshold: cfg.Cluster.SnapshotThreshold, ApplyTimeout: 10 * time.Second,
		DiskStall: 10 * time.Second, Logger: slog.New(slog.DiscardHandler),
	})
}

// openNodes opens all nodes and returns the one that leads.
func (s *site) openNodes(ctx context.Context) (leader *cluster.Node, shut func() error, err error) {
	var nodes []*cluster.Node
	shut = func() error {
		var errs []error
		for _, n := range nodes {
			errs = append(errs, n.Close())
		}
		return errors.Join(errs...)
	}
	for n := range s.cfgs {
		node, err := s.openNode(n)
		if err != nil {
			return nil, shut, err
		}
		nodes = append(nodes, node)
	}
	if err := nodes[0].Barrier(ctx); err != nil {
		return nil, shut, err
	}
	for _, n := range nodes {
		if n.IsLeader() {
			return n, shut, nil
		}
	}
	return nil, shut, errors.New("no node leads")
}

// logOutstandings are those of all that goes through the log.
var logOutstandings = []int{1, 16, 64, 256}

// commits measures the bare replicated log: a command as long as an audited
// refusal, proposed at the leader, committed with an fsync on a majority and
// applied. It is the yardstick of everything that goes through the log.
func (b *bench) commits(ctx context.Context, nodes int) (err error) {
	s, err := newSite(filepath.Join(b.dir, fmt.Sprintf("commit%d", nodes)), b.bin, nodes)
	if err != nil {
		return err
	}
	leader, shut, err := s.openNodes(ctx)
	defer func() { err = errors.Join(err, shut()) }()
	if err != nil {
		return err
	}
	var next atomic.Int64
	for _, outstanding := range logOutstandings {
		var runs [][]sample
		for range b.runs {
			m, err := round{outstanding, 1 << 30, b.time}.run(ctx, func(ctx context.Context, _ int) (time.Duration, error) {
				begin := time.Now()
				_, err := leader.Propose(ctx, command.New("bench", strconv.FormatInt(next.Add(1), 10), "bench", &command.RecordDecision{
					Kind: "admit", Subject: imsiOf(1), Allowed: true, Reasons: []string{"subscriber is active", "handset is bound"},
				}))
				return time.Since(begin), err
			})
			if err != nil {
				return err
			}
			runs = append(runs, m.samples())
		}
		b.report(figure("commit", nodes, fmt.Sprintf("%d outstanding", outstanding), runs))
	}
	return nil
}
