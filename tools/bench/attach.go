package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
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

// attachOutstandings are the same of attaches: a node of the carrier has many
// subscribers.
var attachOutstandings = []int{1, 16, 256}

// attachers are who attaches: the carrier's node over one version of GTP-C.
type attachers struct {
	*asker
	creates [][]byte // a Create for each subscriber
	control []uint32 // the gateway's control TEIDs of those attached, else 0
}

// newAttachers makes what n subscribers from the first on attach with.
func newAttachers(version protocol, from netip.Addr, to netip.AddrPort, first, n int) (*attachers, error) {
	a, err := newAsker(version, from, to)
	if err != nil {
		return nil, err
	}
	at := &attachers{asker: a, control: make([]uint32, n)}
	for i := range n {
		at.creates = append(at.creates, version.create(first+i, from))
	}
	return at, nil
}

// attach makes the sessions of the next subscribers, in a closed loop.
func (a *attachers) attach(ctx context.Context, r round) (asked, error) {
	return a.run(ctx, plan{
		round:    r,
		request:  func(n int) []byte { return a.creates[n] },
		answered: a.note,
	})
}

// note keeps what detaching needs.
func (a *attachers) note(n int, answer []byte) error {
	cause, teid, err := a.version.read(answer)
	switch {
	case err != nil:
		return err
	case !a.version.accepted(cause) || answer[1] != a.version.created() || teid == 0:
		return fmt.Errorf("attach %d over %v is answered with message type %d, cause %d", n, a.version, answer[1], cause)
	}
	a.control[n] = teid
	return nil
}

// detach ends all sessions.
func (a *attachers) detach(ctx context.Context) error {
	var all []int
	for n, teid := range a.control {
		if teid != 0 {
			all = append(all, n)
		}
	}
	_, err := a.run(ctx, plan{
		round:   round{outstanding: 2 * hands, most: len(all), time: time.Minute},
		request: func(n int) []byte { return a.version.remove(a.control[all[n]]) },
		answered: func(n int, answer []byte) error {
			if cause, _, err := a.version.read(answer); err != nil || !a.version.accepted(cause) {
				return fmt.Errorf("a detach over %v is answered with cause %d, %v", a.version, cause, err)
			}
			a.control[all[n]] = 0
			return nil
		},
	})
	return err
}

// target is a gateway under load.
type target struct {
	// open makes attachers at the carrier's address, a socket of their own.
	open func(version protocol) (*attachers, error)
	cpu  func() (holder, all time.Duration, err error)
	live func() error
}

// target is the site's gateway, where n subscribers from the first on attach.
func (s *site) target(first, n int) target {
	at := netip.AddrPortFrom(gatewayAddress, carrier.ControlPort)
	return target{
		cpu: s.cpu, live: s.alive,
		open: func(v protocol) (*attachers, error) { return newAttachers(v, carrierAddress, at, first, n) },
	}
}

// attaches measures procedures that make sessions, over both versions of GTP-C.
// Over GTPv1 each round is followed by one with osmo-ggsn, if that could be
// started, and both hold as many sessions as osmo-ggsn can.
func (b *bench) attaches(ctx context.Context, s *site, other *ggsn) error {
	for _, version := range []protocol{2, 1} {
		most := listed
		if version == 1 {
			most = ggsnContexts
		}
		ours := s.target(0, most)
		for _, outstanding := range attachOutstandings {
			var runs, others [][]sample
			for range b.runs {
				run, err := b.steady(ctx, s, func() ([]sample, error) { return attachRound(ctx, ours, version, outstanding, b.time) })
				if err != nil {
					return err
				}
				runs = append(runs, run)
				if version == 1 && other != nil {
					if run, err = attachRound(ctx, other.target(), version, outstanding, b.time/2); err != nil {
						return fmt.Errorf("osmo-ggsn: %w", err)
					}
					others = append(others, run)
				}
			}
			name := fmt.Sprintf("%d outstanding, %v", outstanding, version)
			f := figure("attach", len(s.nodes), name, runs)
			if len(others) > 0 {
				theirs := figure("attach", 0, fmt.Sprintf("%s, osmo-ggsn (beside %d)", name, len(s.nodes)), others)
				f.add("of osmo-ggsn", "%", 100*per(f.value("rate"), theirs.value("rate")))
				b.report(theirs)
			}
			b.report(f)
		}
	}
	return nil
}

// attachRound attaches subscribers for d, in as many passes as that takes: after
// each they are detached, untimed.
func attachRound(ctx context.Context, t target, version protocol, outstanding int, d time.Duration) ([]sample, error) {
	var all asked
	var holder, nodes time.Duration
	for all.took < d {
		m, err := attachPass(ctx, t, version, round{outstanding: outstanding, time: d - all.took}, &holder, &nodes)
		if err != nil {
			return nil, err
		}
		all.add(m)
	}
	return append(all.samples(), all.cost(holder, nodes)...), nil
}

// attachPass attaches every subscriber once, at most. It adds to what the
// gateway's processes took.
func attachPass(ctx context.Context, t target, version protocol, r round, holder, nodes *time.Duration) (asked, error) {
	a, err := t.open(version)
	if err != nil {
		return asked{}, err
	}
	defer a.close()
	holderBefore, nodesBefore, err := t.cpu()
	if err != nil {
		return asked{}, err
	}
	r.most = len(a.creates)
	m, err := a.attach(ctx, r)
	holderAfter, nodesAfter, errCPU := t.cpu()
	*holder += holderAfter - holderBefore
	*nodes += nodesAfter - nodesBefore
	return m, errors.Join(err, errCPU, a.detach(ctx), t.live())
}
