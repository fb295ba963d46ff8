package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
)

// imsiOf numbers subscribers of the test network 001-01.
func imsiOf(i int) string { return fmt.Sprintf("00101%010d", i) }

// subscriber is what the carrier tells of subscriber i.
func subscriber(i int) (carrier.Subscriber, error) {
	imsi, err1 := ident.ParseIMSI(imsiOf(i))
	msisdn, err2 := ident.ParseMSISDN(msisdnOf(i))
	imei, err3 := ident.ParseIMEI(imeiOf(i))
	apn, err4 := ident.ParseAPN(apnName)
	plmn, err5 := ident.ParsePLMN("00101")
	return carrier.Subscriber{IMSI: imsi, MSISDN: msisdn, IMEI: imei, APN: apn, PLMN: plmn, TAC: 1, Cell: uint32(i)},
		errors.Join(err1, err2, err3, err4, err5)
}

const apnName = "seal.corp"

func msisdnOf(i int) string { return fmt.Sprintf("86138%08d", i) }

func imeiOf(i int) string { return fmt.Sprintf("35693803%06d", i) }

func macOf(i int) string {
	return fmt.Sprintf("02:00:5e:%02x:%02x:%02x", i>>16&0xff, i>>8&0xff, i&0xff)
}

// enlist puts subscribers on the allow-list, by the admin API.
func (s *site) enlist(ctx context.Context, from, n int) ([]carrier.Subscriber, error) {
	subs := make([]carrier.Subscriber, n)
	err := all(ctx, n, hands, func(ctx context.Context, i int) (err error) {
		if subs[i], err = subscriber(from + i); err != nil {
			return err
		}
		imsi := imsiOf(from + i)
		return s.admin.call(ctx, "PUT", "/v1/terminals/"+imsi, adminapi.Terminal{
			IMSI: imsi, MSISDN: msisdnOf(from + i), IMEIs: []string{imeiOf(from + i)}, APNs: []string{apnName},
			WiFiMAC: macOf(from + i), Label: "bench",
		}, nil)
	})
	return subs, err
}

func newCarrier() (*carrier.Carrier, error) {
	return carrier.New(carrier.Config{Address: carrierAddress, Gateway: gatewayAddress, Logger: slog.New(slog.DiscardHandler)})
}

// outstandings are how many calls are under way at once.
var outstandings = []int{1, 16, 64}

// attaches measures Create Session procedures of fresh sessions. What was
// attached is detached between rounds, untimed.
func (b *bench) attaches(ctx context.Context, s *site, c *carrier.Carrier, subs []carrier.Subscriber) error {
	for _, outstanding := range outstandings {
		var runs [][]sample
		for range b.runs {
			run, err := b.steady(ctx, s, func() ([]sample, error) {
				return attachRound(ctx, s, c, subs, round{outstanding, len(subs), b.time})
			})
			if err != nil {
				return err
			}
			runs = append(runs, run)
		}
		b.report(figure("attach", len(s.nodes), fmt.Sprintf("%d outstanding", outstanding), runs))
	}
	return nil
}

func attachRound(ctx context.Context, s *site, c *carrier.Carrier, subs []carrier.Subscriber, r round) ([]sample, error) {
	bearers := make([]*carrier.Bearer, len(subs))
	holder, nodes, err := s.cpu()
	if err != nil {
		return nil, err
	}
	m, err := r.run(ctx, func(ctx context.Context, i int) (time.Duration, error) {
		begin := time.Now()
		bearer, err := c.Attach(ctx, subs[i])
		bearers[i] = bearer
		return time.Since(begin), err
	})
	holderAfter, nodesAfter, errCPU := s.cpu()
	errDetach := all(ctx, len(bearers), hands, func(ctx context.Context, i int) error {
		if bearers[i] == nil {
			return nil
		}
		return bearers[i].Detach(ctx)
	})
	if err := errors.Join(err, errCPU, errDetach, s.alive()); err != nil {
		return nil, err
	}
	return append(m.samples(), m.cost(holderAfter-holder, nodesAfter-nodes)...), nil
}
