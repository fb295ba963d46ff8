package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// repeated is how many answered Creates are sent again in turn. The gateway
// remembers more than that.
const repeated = 1024

// duplicates measures what it costs to answer a request again that was answered
// before.
func (b *bench) duplicates(ctx context.Context, s *site) error {
	t := s.target(0, repeated)
	for _, version := range []protocol{2, 1} {
		var runs [][]sample
		for range b.runs {
			run, err := b.steady(ctx, s, func() ([]sample, error) { return duplicateRound(ctx, s, t, version, b.time) })
			if err != nil {
				return err
			}
			runs = append(runs, run)
		}
		b.report(figure("duplicate", len(s.nodes), fmt.Sprintf("%d outstanding, %v", 2*hands, version), runs))
	}
	return nil
}

func duplicateRound(ctx context.Context, s *site, t target, version protocol, d time.Duration) (_ []sample, err error) {
	a, err := t.open(version)
	if err != nil {
		return nil, err
	}
	defer a.close()
	defer func() { err = errors.Join(err, a.detach(ctx), t.live()) }()
	if _, err := a.attach(ctx, round{outstanding: 2 * hands, most: len(a.creates), time: time.Minute}); err != nil {
		return nil, err
	}
	was, err := s.counted(ctx, "gtpc.duplicate-answered")
	if err != nil {
		return nil, err
	}
	before, _, err := s.cpu()
	if err != nil {
		return nil, err
	}
	m, err := a.run(ctx, plan{
		round: round{outstanding: 2 * hands, most: 1 << 30, time: d}, keep: true,
		request: func(n int) []byte { return a.creates[n%len(a.creates)] },
		answered: func(n int, answer []byte) error {
			_, teid, err := a.version.read(answer)
			if err == nil && teid != a.control[n%len(a.creates)] {
				err = errors.New("a duplicate is answered with another session")
			}
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	after, _, err := s.cpu()
	if err != nil {
		return nil, err
	}
	now, err := s.counted(ctx, "gtpc.duplicate-answered")
	if err == nil && now-was < uint64(m.calls) {
		err = fmt.Errorf("the gateway counts %d of %d duplicates", now-was, m.calls)
	}
	return append(
		m.measured.samples(),
		sample{"CPU", "ns/duplicate", per(float64(after-before), float64(m.calls))},
		sample{"sent again", "", float64(m.repeats)}, m.share(),
	), err
}

// counted is the sum of some of the holder's counters.
func (s *site) counted(ctx context.Context, names ...string) (n uint64, err error) {
	var all map[string]uint64
	if err := s.admin.call(ctx, "GET", "/v1/counters?stale=true", nil, &all); err != nil {
		return 0, err
	}
	for _, name := range names {
		n += all[name]
	}
	return n, nil
}
