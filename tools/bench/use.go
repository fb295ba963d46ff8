package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
)

// A round of seal-use requests makes one use of each barrel: a barrel has one
// unsettled use at a time.
const (
	phones          = 64
	barrelsPerPhone = 4
)

// callsPerSecond stays below what the phone API lets one terminal ask.
const callsPerSecond = 15

// uses measures seal-use requests, first with a seal server that answers at
// once, then with the real one. Between rounds every use is settled by its
// barrel's signed word that nothing was stamped, untimed.
func (b *bench) uses(ctx context.Context, s *site, c *carrier.Carrier, subs []carrier.Subscriber) (err error) {
	list, err := s.terminals(ctx, c, subs[:phones], barrelsPerPhone)
	defer func() {
		for _, t := range list {
			if t != nil {
				t.close()
			}
		}
	}()
	if err != nil {
		return err
	}
	shut, err := s.stub(ctx)
	if err != nil {
		return err
	}
	err = b.useRounds(ctx, s, list, ordersOf("STUB"), "seal server excluded")
	if err = errors.Join(err, shut()); err != nil {
		return err
	}
	o, err := s.openOffice(ctx)
	if err != nil {
		return err
	}
	defer o.stop()
	orders := ordersOf("REAL")
	if err := o.approve(ctx, orders); err != nil {
		return err
	}
	return b.useRounds(ctx, s, list, orders, "seal server included")
}

// ordersOf numbers an order for each phone.
func ordersOf(name string) []string {
	var list []string
	for i := range phones {
		list = append(list, fmt.Sprintf("%s-%03d", name, i))
	}
	return list
}

func (b *bench) useRounds(ctx context.Context, s *site, list []*terminal, orders []string, name string) error {
	// One login for all: its cost is the seal server's password hash.
	var login wire.LoginAnswer
	if err := list[0].call(ctx, "POST", wire.PathLogin, wire.LoginRequest{User: userName, Password: password}, &login); err != nil {
		return err
	}
	for _, t := range list {
		t.token = login.Token
	}
	// A first round opens connections.
	if _, err := useRound(ctx, s, list, orders, round{hands, phones, time.Minute}); err != nil {
		return err
	}
	begin, calls := time.Now(), 0
	for _, outstanding := range outstandings {
		var runs [][]sample
		for range b.runs {
			pace := time.Duration(calls) * time.Second / callsPerSecond / phones
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Until(begin.Add(pace))):
			}
			run, err := useRound(ctx, s, list, orders, round{outstanding, phones * barrelsPerPhone, b.time})
			if err != nil {
				return err
			}
			calls += 2 * phones * barrelsPerPhone
			runs = append(runs, run)
		}
		b.report(figure("use", len(s.nodes), fmt.Sprintf("%d outstanding, %s", outstanding, name), runs))
	}
	return nil
}

// useRound makes uses, phone after phone, and settles them.
func useRound(ctx context.Context, s *site, list []*terminal, orders []string, r round) ([]sample, error) {
	answers := make([]wire.UseAnswer, r.most)
	who := func(i int) (*terminal, *sealBarrel) {
		t := list[i%len(list)]
		return t, t.barrels[i/len(list)]
	}
	holder, nodes, err := s.cpu()
	if err != nil {
		return nil, err
	}
	m, err := r.run(ctx, func(ctx context.Context, i int) (took time.Duration, err error) {
		t, b := who(i)
		begin := time.Now()
		answers[i], err = t.request(ctx, orders[i%len(orders)], b)
		return time.Since(begin), err
	})
	if err != nil {
		return nil, errors.Join(err, s.alive())
	}
	holderAfter, nodesAfter, err := s.cpu()
	if err != nil {
		return nil, err
	}
	err = all(ctx, m.calls, hands, func(ctx context.Context, i int) error {
		t, b := who(i)
		return t.settle(ctx, answers[i], b)
	})
	return append(m.samples(), m.cost(holderAfter-holder, nodesAfter-nodes)...), err
}
