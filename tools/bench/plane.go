package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealedge/sealedge/tools/sealsim/carrier"
)

// packetSizes are those of inner packets, in bytes.
var packetSizes = []int{64, 512, 1400}

const (
	tunnels   = 32  // that packets are sent through in turn
	burstSize = 32  // packets sent with one system call
	inFlight  = 256 // packets on their way at once
)

// planes measures the user plane through the carrier's tunnels: packets up,
// and packets up that are answered.
func (b *bench) planes(ctx context.Context, s *site, c *carrier.Carrier, subs []carrier.Subscriber) error {
	bearers := make([]*carrier.Bearer, min(tunnels, len(subs)))
	err := all(ctx, len(bearers), hands, func(ctx context.Context, i int) (err error) {
		bearers[i], err = c.Attach(ctx, subs[i])
		return err
	})
	if err != nil {
		return err
	}
	for _, size := range packetSizes {
		yardstick, err := b.peer(ctx, size)
		if err != nil {
			return err
		}
		up, err := b.plane(ctx, s, bearers, size, false)
		if err != nil {
			return err
		}
		both, err := b.plane(ctx, s, bearers, size, true)
		if err != nil {
			return err
		}
		both.add("CPU down", "µs/packet", max(0, both.value("CPU")-up.value("CPU")))
		for _, f := range []*Figure{&up, &both} {
			f.add("rate beside peer", "", per(f.value("packets"), yardstick.value("packets")))
			f.add("CPU beside peer", "", per(f.value("CPU"), yardstick.value("CPU")))
		}
		b.report(yardstick)
		b.report(up)
		b.report(both)
	}
	return all(ctx, len(bearers), hands, func(ctx context.Context, i int) error { return bearers[i].Detach(ctx) })
}

// plane measures one size and kind of packets.
func (b *bench) plane(ctx context.Context, s *site, bearers []*carrier.Bearer, size int, answered bool) (Figure, error) {
	marks := 1 // the last of a burst asks for an answer, so that the window moves
	name := fmt.Sprintf("%d bytes up", size)
	if answered {
		marks = burstSize
		name = fmt.Sprintf("%d bytes up and down", size)
	}
	w := newWindow(inFlight * marks / burstSize)
	var batches []*carrier.Batch
	var bursts [][][]byte
	for _, bearer := range bearers {
		bearer.Handle(func(p []byte) {
			if isEchoReply(p) {
				w.returned()
			}
		})
		defer bearer.Handle(nil)
		burst := make([][]byte, burstSize)
		for i := range burst {
			if i < burstSize-marks {
				burst[i] = datagram(bearer.Address(), size)
			} else {
				burst[i] = echo(bearer.Address(), size)
			}
		}
		batches, bursts = append(batches, bearer.NewBatch()), append(bursts, burst)
	}
	next := 0
	send := func() error {
		next = (next + 1) % len(batches)
		_, err := batches[next].SendAll(bursts[next])
		return err
	}
	var runs [][]sample
	for range b.runs {
		run, err := b.steady(ctx, s, func() ([]sample, error) {
			before, _, err := s.cpu()
			if err != nil {
				return nil, err
			}
			sent, took, err := w.run(b.time, marks, send)
			after, _, errCPU := s.cpu()
			return packets(sent*burstSize, size, took, after-before, per(float64(w.lost), float64(sent*marks))), errors.Join(err, errCPU, s.alive())
		})
		if err != nil {
			return Figure{}, err
		}
		runs = append(runs, run)
	}
	return figure("plane", len(s.nodes), name, runs), nil
}

// packets are the columns of a user plane, of packets in one direction.
func packets(n, size int, took, cpu time.Duration, lost float64) []sample {
	return []sample{
		{"packets", "/s", per(float64(n), took.Seconds())},
		{"", "Mbit/s", per(float64(n*size*8)/1e6, took.Seconds())},
		{"CPU", "µs/packet", per(microseconds(cpu), float64(n))},
		{"lost", "%", 100 * lost},
	}
}
