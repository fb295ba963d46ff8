package ipstack

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// Flow is what became of echo requests that were sent at a steady pace.
type Flow struct {
	Sent, Answered int
	// Gap is the longest time that went by between two requests in a row that were
	// answered; it is the pace if none was lost.
	Gap time.Duration
}

func (f Flow) String() string {
	return fmt.Sprintf("%d sent, %d lost, longest gap %v", f.Sent, f.Sent-f.Answered, f.Gap.Round(time.Millisecond))
}

// lateEchoes is how long Flow waits for answers after the last request.
const lateEchoes = 2 * time.Second

// Flow sends an ICMP echo request to an IPv4 address at every tick until ctx ends, never
// two for one tick, and counts the answers, each once.
func (s *Stack) Flow(ctx context.Context, to netip.Addr, every time.Duration) (Flow, error) {
	return s.FlowTold(ctx, to, every, func(int) {})
}

// FlowTold is Flow that tells, after each request, how many were answered.
func (s *Stack) FlowTold(ctx context.Context, to netip.Addr, every time.Duration, answers func(int)) (Flow, error) {
	var queue waiter.Queue
	ep, tcpErr := s.stack.NewEndpoint(icmp.ProtocolNumber4, protocolOf(to), &queue)
	if tcpErr != nil {
		return Flow{}, failed("flow", netip.AddrPortFrom(to, 0), tcpErr)
	}
	defer ep.Close()
	if tcpErr := ep.Connect(full(netip.AddrPortFrom(to, 0))); tcpErr != nil {
		return Flow{}, failed("flow", netip.AddrPortFrom(to, 0), tcpErr)
	}
	entry, readable := waiter.NewChannelEntry(waiter.ReadableEvents)
	queue.EventRegister(&entry)
	defer queue.EventUnregister(&entry)
	var sent []time.Time
	var answered []bool
	n := 0
	read := func() {
		for {
			var b bytes.Buffer
			if _, tcpErr := ep.Read(&b, tcpip.ReadOptions{}); tcpErr != nil {
				return
			}
			if b.Len() < header.ICMPv4MinimumSize+8 {
				continue
			}
			i := binary.BigEndian.Uint64(b.Bytes()[header.ICMPv4MinimumSize:])
			if i < uint64(len(answered)) && !answered[i] {
				answered[i], n = true, n+1
			}
		}
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-readable:
			read()
		case <-ticker.C:
			echo := header.ICMPv4(make([]byte, header.ICMPv4MinimumSize+8))
			echo.SetType(header.ICMPv4Echo)
			echo.SetSequence(uint16(len(sent)))
			binary.BigEndian.PutUint64(echo[header.ICMPv4MinimumSize:], uint64(len(sent)))
			sent, answered = append(sent, time.Now()), append(answered, false)
			_, _ = ep.Write(bytes.NewReader(echo), tcpip.WriteOptions{}) // what isn't sent is lost
			answers(n)
		case <-ctx.Done():
		}
	}
	for late := time.NewTimer(lateEchoes); n < len(sent); {
		select {
		case <-readable:
			read()
			continue
		case <-late.C:
		}
		break
	}
	return tally(sent, answered, n), nil
}

// tally counts a flow's losses. A request that is lost at the end counts to its time.
func tally(sent []time.Time, answered []bool, n int) Flow {
	f := Flow{Sent: len(sent), Answered: n}
	if len(sent) == 0 {
		return f
	}
	last := sent[0]
	for i, at := range sent {
		if answered[i] || i == len(sent)-1 {
			f.Gap = max(f.Gap, at.Sub(last))
			last = at
		}
	}
	return f
}
