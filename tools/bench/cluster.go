package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// listed is how many subscribers a cluster has for its attaches.
const listed = 8192

// cluster measures what needs a running cluster of n nodes.
func (b *bench) cluster(ctx context.Context, n int, asked func(string) bool) error {
	s, err := newSite(filepath.Join(b.dir, fmt.Sprintf("cluster%d", n)), b.bin, n)
	if err != nil {
		return err
	}
	defer s.stop()
	if err := s.launch(ctx); err != nil {
		return err
	}
	if err := s.applyPolicy(ctx); err != nil {
		return err
	}
	c, err := newCarrier()
	if err != nil {
		return err
	}
	defer c.Close()
	subs, err := s.enlist(ctx, 0, listed)
	if err != nil {
		return err
	}
	var errs []error
	if asked("attach") {
		errs = append(errs, b.attaches(ctx, s, b.other))
	}
	if asked("paced") && ctx.Err() == nil {
		errs = append(errs, b.pacedAttaches(ctx, s))
	}
	// The log has no part in these: one size is enough.
	if asked("duplicate") && n == b.largest && ctx.Err() == nil {
		errs = append(errs, b.duplicates(ctx, s))
	}
	if asked("firewall") && n == b.largest && ctx.Err() == nil {
		errs = append(errs, b.firewall(ctx, s))
	}
	if asked("use") && ctx.Err() == nil {
		errs = append(errs, b.sealUses(ctx, s, c, subs))
	}
	if asked("plane") && ctx.Err() == nil {
		errs = append(errs, b.planes(ctx, s, c, subs))
	}
	return errors.Join(errs...)
}

// tries is how often a run is measured that a change of leader disturbs.
const tries = 4

// steady measures a run once more when the leader changed meanwhile: how long
// that takes is another question, and processor time would be another node's.
func (b *bench) steady(ctx context.Context, s *site, run func() ([]sample, error)) ([]sample, error) {
	for range tries {
		if err := s.await(ctx); err != nil {
			return nil, err
		}
		epoch := s.epoch
		samples, err := run()
		if lost := s.await(ctx); lost != nil {
			return nil, errors.Join(err, lost)
		}
		if s.epoch == epoch {
			return samples, err
		}
		b.result.Disturbed++
		fmt.Fprintln(b.progress, "          the leader changed; once more:", err)
	}
	return nil, fmt.Errorf("the leader changed in each of %d tries: this machine is too busy, or too slow", tries)
}

// compare puts the attaches beside the replicated log's own rate, at the same
// number of nodes and calls under way.
func (b *bench) compare() {
	for i := range b.result.Figures {
		f := &b.result.Figures[i]
		if f.Part != "attach" && f.Part != "use" {
			continue
		}
		outstanding, _, _ := strings.Cut(f.Case, ",")
		for _, log := range b.result.Figures {
			if log.Part == "commit" && log.Nodes == f.Nodes && log.Case == outstanding {
				f.add("of log", "%", 100*per(f.value("rate"), log.value("rate")))
			}
		}
	}
}
