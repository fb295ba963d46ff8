package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
)

// flood is a kind of Creates that the firewall drops.
type flood struct {
	name     string
	peers    []netip.Addr
	imsi     string
	counters []string // that they are dropped under
}

// Peers that are on the allow-list but break the rules of their carrier.
var (
	foreignPeer = netip.MustParseAddr("127.1.20.100")
	hastyPeer   = netip.MustParseAddr("127.1.20.101")
)

// floodCarriers are put under the first policy's spec. The first is who attaches
// really.
const floodCarriers = `
  carriers:
    - {name: bench, peers: [127.1.20.0/24]}
    - {name: foreign, peers: [127.1.20.100], imsiPrefixes: [99999]}
    - {name: hasty, peers: [127.1.20.101], createsPerSecond: 10}
`

func floods() []flood {
	var strangers []netip.Addr
	for i := range byte(16) {
		strangers = append(strangers, netip.AddrFrom4([4]byte{127, 1, 21, i + 1}))
	}
	const unlisted = "001019999999999"
	return []flood{
		{"from strangers", strangers, unlisted, []string{"gtpc.peer-not-allowed"}},
		{"of a peer, above its rate", []netip.Addr{hastyPeer}, unlisted, []string{"gtpc.create-rate-peer"}},
		{"of a peer, for subscribers not its own", []netip.Addr{foreignPeer}, unlisted, []string{"gtpc.imsi-not-of-peer"}},
	}
}

// floodRates are how many spoofed Creates come in a second.
var floodRates = []float64{5_000, 20_000, 50_000, 100_000}

// realRate is how many real attaches come in a second meanwhile.
const realRate = 1000

// firewall measures what spoofed Creates do to real ones. Each kind has its own
// rounds without any, in turn with the others.
func (b *bench) firewall(ctx context.Context, s *site) (err error) {
	doc, err := os.ReadFile(s.layout.Policy)
	if err != nil {
		return err
	}
	apply := func(doc string) error {
		var is adminapi.Policy
		if err := s.admin.call(ctx, "GET", "/v1/policy", nil, &is); err != nil {
			return err
		}
		return s.admin.call(ctx, "PUT", "/v1/policy", adminapi.Policy{Document: doc, BaseRevision: is.Revision}, nil)
	}
	if err := apply(string(doc) + floodCarriers); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, apply(string(doc))) }()
	for _, kind := range floods() {
		if err := b.flooded(ctx, s, kind); err != nil {
			return fmt.Errorf("spoofed Creates %s: %w", kind.name, err)
		}
	}
	return nil
}

// flooded measures one kind at all rates.
func (b *bench) flooded(ctx context.Context, s *site, kind flood) error {
	rates := append([]float64{0}, floodRates...)
	runs := make([][][]sample, len(rates))
	// The rates take turns, so that what else the machine does meets all of them.
	for range min(b.runs, 3) {
		for i, rate := range rates {
			run, err := b.steady(ctx, s, func() ([]sample, error) { return floodRound(ctx, s, kind, rate, 2*b.time) })
			if err != nil {
				return err
			}
			runs[i] = append(runs[i], run)
		}
	}
	var quiet float64
	bearable := 0.0
	for i, rate := range rates {
		name := fmt.Sprintf("%s/s %s", grouped(int64(rate)), kind.name)
		if rate == 0 {
			name = "none " + kind.name
		}
		f := figure("firewall", len(s.nodes), name, runs[i])
		p99 := f.value("p99")
		if rate == 0 {
			quiet = p99
		}
		f.add("p99 beside none", "", per(p99, quiet))
		if p99 <= 2*quiet && bearable == rates[max(0, i-1)] {
			bearable = rate
		}
		b.report(f)
	}
	f := Figure{Part: "firewall", Nodes: len(s.nodes), Case: "most with p99 within 2x, " + kind.name, Runs: len(runs[0])}
	f.add("rate", "/s", bearable)
	b.report(f)
	return nil
}

// floodRound attaches at the real rate while spoofed Creates come.
func floodRound(ctx context.Context, s *site, kind flood, rate float64, d time.Duration) (_ []sample, err error) {
	t := s.target(0, 2*realRate)
	a, err := t.open(2)
	if err != nil {
		return nil, err
	}
	defer a.close()
	was, err := s.counted(ctx, kind.counters...)
	if err != nil {
		return nil, err
	}
	holder, _, err := s.cpu()
	if err != nil {
		return nil, err
	}
	type sum struct {
		sent int
		err  error
	}
	spoofing := make(chan sum, 1)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if rate > 0 {
		go func() {
			n, err := kind.send(ctx, rate, d)
			spoofing <- sum{n, err}
		}()
	} else {
		spoofing <- sum{}
	}
	m, err := a.attachPaced(ctx, realRate, d)
	if err != nil {
		return nil, err
	}
	spoofed := <-spoofing
	after, _, errCPU := s.cpu()
	now, errCount := s.counted(ctx, kind.counters...)
	if err := errors.Join(spoofed.err, errCPU, errCount, a.detach(ctx), t.live()); err != nil {
		return nil, err
	}
	samples := slices.DeleteFunc(m.samples(), func(c sample) bool { return c.name == "rate" })
	return append([]sample{
		{"spoofed", "/s", per(float64(spoofed.sent), d.Seconds())},
		{"not even read", "%", 100 * per(max(0, float64(spoofed.sent)-float64(now-was)), float64(spoofed.sent))},
		{"gateway CPU", "%", 100 * per((after-holder).Seconds(), m.took.Seconds())},
	}, samples...), nil
}

// send sends spoofed Creates at a rate, from each peer in turn.
func (f flood) send(ctx context.Context, rate float64, d time.Duration) (sent int, err error) {
	to := net.UDPAddrFromAddrPort(netip.AddrPortFrom(gatewayAddress, carrier.ControlPort))
	var sockets []*ipv4.PacketConn
	for _, p := range f.peers {
		conn, err := listen(netip.AddrPortFrom(p, 0))
		if err != nil {
			return 0, err
		}
		defer conn.Close()
		sockets = append(sockets, ipv4.NewPacketConn(conn))
	}
	out := make([]ipv4.Message, askBatch)
	for i := range out {
		b := protocol(2).createOf(f.imsi, msisdnOf(i), imeiOf(i), uint32(2*i+1), f.peers[0])
		out[i] = ipv4.Message{Buffers: [][]byte{b}, Addr: to}
	}
	number, turn := uint16(0), 0
	err = atRate(ctx, rate, d, func(n int) error {
		for n > 0 {
			some := out[:min(n, len(out))]
			for i := range some {
				number++
				protocol(2).number(some[i].Buffers[0], number)
			}
			turn = (turn + 1) % len(sockets)
			got, err := sockets[turn].WriteBatch(some, 0)
			if err != nil {
				return err
			}
			n -= got
			sent += got
		}
		return nil
	})
	return sent, err
}
