package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// atRate sends what is due at a rate, whatever comes back, until the time is over.
// The kernel lets it sleep no shorter than it likes, so what is due goes at
// once.
func atRate(ctx context.Context, rate float64, d time.Duration, send func(n int) error) error {
	begin := time.Now()
	for done := 0; ; {
		passed := time.Since(begin)
		due := int(min(passed, d).Seconds() * rate)
		if due > done {
			if err := send(due - done); err != nil {
				return err
			}
			done = due
		}
		if passed >= d || ctx.Err() != nil {
			return ctx.Err()
		}
		time.Sleep(500 * time.Microsecond)
	}
}

// paced is what came of calls at a rate of their own.
type paced struct {
	asked
	refused int // answered with another cause than acceptance
	lost    int // not answered in pacedPatience, which then counts as their time
}

// pacedPatience is how long the answers to the last calls may take.
const pacedPatience = time.Second

// attachPaced attaches subscribers at a rate, for as long as there are some that
// aren't.
func (a *attachers) attachPaced(ctx context.Context, rate float64, d time.Duration) (m paced, err error) {
	if most := time.Duration(float64(len(a.creates)) / rate * float64(time.Second)); most < d {
		d = most
	}
	first := a.last + 1
	times := make([]atomic.Int64, len(a.creates)) // ns after begin: when it was sent
	own, begin := ownCPU(), time.Now()
	var sent atomic.Int64
	sending := make(chan error, 1)
	go func() {
		sending <- atRate(ctx, rate, d, func(n int) error {
			for range min(n, len(a.creates)-int(sent.Load())) {
				i := int(sent.Load())
				a.version.number(a.creates[i], first+uint16(i))
				a.queue(a.creates[i])
				times[i].Store(int64(time.Since(begin)))
				sent.Add(1)
			}
			return a.flush()
		})
	}()
	seen := make([]bool, len(a.creates))
	for over := false; ; {
		select {
		case err := <-sending:
			if err != nil {
				return m, err
			}
			over = true
			m.took = time.Since(begin)
			if err := a.conn.SetReadDeadline(time.Now().Add(pacedPatience)); err != nil {
				return m, err
			}
		default:
		}
		if over && len(m.latencies) == int(sent.Load()) {
			break
		}
		if !over {
			if err := a.conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
				return m, err
			}
		}
		got, err := a.batch.ReadBatch(a.in, 0)
		now := time.Since(begin)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && over:
			m.lost = int(sent.Load()) - len(m.latencies)
			for range m.lost {
				m.latencies = append(m.latencies, pacedPatience)
			}
		case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
			return m, err
		}
		for _, in := range a.in[:max(0, got)] {
			b := in.Buffers[0][:in.N]
			if len(b) < 12 {
				continue
			}
			i := int(a.sequence(b) - first)
			if i >= int(sent.Load()) || seen[i] {
				continue
			}
			seen[i] = true
			m.latencies = append(m.latencies, now-time.Duration(times[i].Load()))
			if cause, _, err := a.version.read(b); err != nil || !a.version.accepted(cause) {
				m.refused++
			} else if err := a.note(i, b); err != nil {
				return m, err
			}
		}
	}
	if err := a.conn.SetReadDeadline(time.Time{}); err != nil {
		return m, err
	}
	a.last = first + uint16(sent.Load())
	m.own, m.calls = ownCPU()-own, len(m.latencies)
	return m, nil
}

// load is the share of the peak rate, in per cent, that latencies are measured
// at.
const load = 80

// pacedAttaches measures how long attaches take when they come at a share of the
// peak rate, whether or not those before are answered.
func (b *bench) pacedAttaches(ctx context.Context, s *site) error {
	for _, version := range []protocol{2, 1} {
		t := s.target(0, listed)
		peak := b.peak(len(s.nodes), version)
		if peak == 0 { // the part that measures it wasn't asked for
			var rates []float64
			for range b.runs {
				run, err := b.steady(ctx, s, func() ([]sample, error) {
					return attachRound(ctx, t, version, attachOutstandings[len(attachOutstandings)-1], b.time)
				})
				if err != nil {
					return err
				}
				rates = append(rates, run[0].value)
			}
			peak = median(rates)
		}
		var runs [][]sample
		for range b.runs {
			run, err := b.steady(ctx, s, func() ([]sample, error) { return pacedRound(ctx, t, version, peak*load/100, b.time) })
			if err != nil {
				return err
			}
			runs = append(runs, run)
		}
		f := figure("paced", len(s.nodes), fmt.Sprintf("%d %% of the peak, %v", load, version), runs)
		// A median tells nothing of whether any call took too long.
		for _, v := range f.Values {
			if v.Name == "max" {
				f.add("worst of all rounds", "ms", v.Max)
				break
			}
		}
		b.report(f)
	}
	return nil
}

// peak is the highest median rate of attaches on so many nodes, 0 if it wasn't
// measured.
func (b *bench) peak(nodes int, version protocol) (rate float64) {
	for _, f := range b.result.Figures {
		for _, outstanding := range attachOutstandings {
			if f.Part == "attach" && f.Nodes == nodes && f.Case == fmt.Sprintf("%d outstanding, %v", outstanding, version) {
				rate = max(rate, f.value("rate"))
			}
		}
	}
	return rate
}

func pacedRound(ctx context.Context, t target, version protocol, rate float64, d time.Duration) ([]sample, error) {
	a, err := t.open(version)
	if err != nil {
		return nil, err
	}
	defer a.close()
	m, err := a.attachPaced(ctx, rate, d)
	if err := errors.Join(err, a.detach(ctx), t.live()); err != nil {
		return nil, err
	}
	return m.samples(), nil
}

// samples are the columns of calls at a rate of their own.
func (m paced) samples() []sample {
	return append(
		m.measured.samples(),
		sample{"max", "ms", milliseconds(quantile(m.latencies, 1))},
		sample{"refused", "%", 100 * per(float64(m.refused), float64(m.calls))},
		sample{"lost", "%", 100 * per(float64(m.lost), float64(m.calls))},
		m.share(),
	)
}
