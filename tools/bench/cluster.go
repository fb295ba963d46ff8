package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// listed is how many subscribers a cluster has for its attaches.
const listed = 4096

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
		errs = append(errs, b.attaches(ctx, s, c, subs))
	}
	if asked("use") && ctx.Err() == nil {
		errs = append(errs, b.uses(ctx, s, c, subs))
	}
	if asked("plane") && ctx.Err() == nil {
		errs = append(errs, b.planes(ctx, s, c, subs))
	}
	return errors.Join(errs...)
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
