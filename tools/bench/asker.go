package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
)

// asker sends requests to a gateway and takes the answers: one goroutine, many
// datagrams with one system call, so that it takes little of the processors that
// it shares with the gateway.
type asker struct {
	version protocol
	conn    *net.UDPConn
	batch   *ipv4.PacketConn
	to      *net.UDPAddr
	in, out []ipv4.Message
	last    uint16         // sequence number
	calls   [1 << 16]int32 // by sequence number: the call's number + 1
}

// askBatch is how many datagrams go with one system call.
const askBatch = 32

// newAsker opens a socket at an address of ours. Each has a port of its own.
func newAsker(version protocol, from netip.Addr, to netip.AddrPort) (*asker, error) {
	conn, err := listen(netip.AddrPortFrom(from, 0))
	if err != nil {
		return nil, err
	}
	a := &asker{version: version, conn: conn, batch: ipv4.NewPacketConn(conn), to: net.UDPAddrFromAddrPort(to)}
	for range askBatch {
		a.in = append(a.in, ipv4.Message{Buffers: [][]byte{make([]byte, 2048)}})
	}
	return a, nil
}

func (a *asker) close() { _ = a.conn.Close() }

// asked is what came of calls.
type asked struct {
	measured
	repeats int           // requests sent again
	own     time.Duration // processor time of the load itself
}

// add puts further calls to these.
func (m *asked) add(more asked) {
	m.calls += more.calls
	m.took += more.took
	m.latencies = append(m.latencies, more.latencies...)
	m.repeats += more.repeats
	m.own += more.own
}

// samples are the columns of a table of requests.
func (m asked) samples() []sample {
	return append(
		m.measured.samples(),
		sample{"max", "ms", milliseconds(quantile(m.latencies, 1))},
		sample{"sent again", "", float64(m.repeats)},
		m.share(),
	)
}

// share is what the load itself took of all processors: near 100 it would be
// what limits the rate.
func (m asked) share() sample {
	return sample{"generator", "%", 100 * per(m.own.Seconds(), m.took.Seconds()*float64(runtime.NumCPU()))}
}

// ownCPU is the processor time of this process.
func ownCPU() time.Duration {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// Retransmission of the load's own (T3-RESPONSE, N3-REQUESTS of TS 29.274 7.6).
const (
	askAgain = time.Second
	askTimes = 8
)

// plan is a closed loop of calls.
type plan struct {
	round
	// request returns the octets of call n, which are the asker's until the
	// answer has come.
	request func(n int) []byte
	// keep: the requests have their sequence numbers, of which no two calls that
	// are under way have the same.
	keep bool
	// answered hears of the answer to call n.
	answered func(n int, answer []byte) error
}

// run makes calls until there were most of them or the time is over, and waits
// for the answers to all.
func (a *asker) run(ctx context.Context, p plan) (m asked, err error) {
	type sent struct {
		b     []byte
		at    time.Time // for the first time
		again time.Time
		times int
		done  bool
	}
	var calls []sent
	clear(a.calls[:]) // what an earlier run gave up may still be answered
	open, oldest := 0, 0
	own, begin := ownCPU(), time.Now()
	more := func(now time.Time) bool {
		return len(calls) < p.most && now.Sub(begin) < p.time && ctx.Err() == nil
	}
	queue := func(now time.Time) {
		n := len(calls)
		b := p.request(n)
		if !p.keep {
			a.last++
			a.version.number(b, a.last)
		}
		a.calls[a.sequence(b)] = int32(n) + 1
		calls = append(calls, sent{b: b, at: now, again: now.Add(askAgain), times: 1})
		a.queue(b)
		open++
	}
	for more(begin) && open < p.outstanding {
		queue(begin)
	}
	if err := a.flush(); err != nil {
		return m, err
	}
	deadline := time.Time{}
	for open > 0 {
		now := time.Now()
		if now.Add(askAgain / 10).After(deadline) {
			deadline = now.Add(askAgain / 5)
			if err := a.conn.SetReadDeadline(deadline); err != nil {
				return m, err
			}
			for ; oldest < len(calls) && calls[oldest].done; oldest++ {
			}
			for n := oldest; n < len(calls) && !calls[n].again.After(now); n++ {
				if c := &calls[n]; !c.done {
					if c.times++; c.times > askTimes || ctx.Err() != nil {
						return m, errors.Join(ctx.Err(), fmt.Errorf("%s does not answer request %d", a.to, n))
					}
					c.again = now.Add(askAgain)
					m.repeats++
					a.queue(c.b)
				}
			}
		}
		got, err := a.batch.ReadBatch(a.in, 0)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return m, err
		}
		now = time.Now()
		for _, in := range a.in[:max(0, got)] {
			b := in.Buffers[0][:in.N]
			n := a.callOf(b)
			if n < 0 || calls[n].done {
				continue // a second answer to a request sent again
			}
			calls[n].done = true
			a.calls[a.sequence(b)] = 0
			open--
			m.latencies = append(m.latencies, now.Sub(calls[n].at))
			if err := p.answered(n, b); err != nil {
				return m, err
			}
			if more(now) {
				queue(now)
			}
		}
		if err := a.flush(); err != nil {
			return m, err
		}
	}
	m.took, m.own, m.calls = time.Since(begin), ownCPU()-own, len(m.latencies)
	return m, ctx.Err()
}

// sequence is what calls are told apart by: the last two octets.
func (a *asker) sequence(b []byte) uint16 {
	at := a.version.sequenceAt()
	return uint16(b[at])<<8 | uint16(b[at+1])
}

// callOf is the number of the call that a datagram answers, -1 if none.
func (a *asker) callOf(b []byte) int {
	if len(b) < 12 || b[0]>>5 != byte(a.version) {
		return -1
	}
	return int(a.calls[a.sequence(b)]) - 1
}

// queue has a datagram sent at the next flush.
func (a *asker) queue(b []byte) {
	a.out = append(a.out, ipv4.Message{Buffers: [][]byte{b}, Addr: a.to})
}

func (a *asker) flush() error {
	for rest := a.out; len(rest) > 0; {
		n, err := a.batch.WriteBatch(rest[:min(len(rest), askBatch)], 0)
		if err != nil {
			return err
		}
		rest = rest[n:]
	}
	a.out = a.out[:0]
	return nil
}
