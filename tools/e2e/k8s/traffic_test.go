//go:build linux

package k8s

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
	"github.com/sealedge/sealedge/tools/sealsim/ipstack"
	"github.com/sealedge/sealedge/tools/sealsim/phone"
)

// traffic is a carrier with phones that have sessions all the time.
type traffic struct {
	carrier  *carrier.Carrier
	phones   []*phone.Phone
	addr     []netip.Addr // the phones'
	sessions []uint64     // of the phones, by the gateway's id
	counter  uint8        // the gateway's restart counter
	endings  atomic.Int64 // messages that say that a session is over
}

// Message types that the carrier must not hear (TS 29.274 table 6.1-1, TS 29.281
// table 6-1): Delete Bearer Request, Error Indication.
const deleteBearerRequest, errorIndication = 99, 26

// listener is a socket of the carrier, which counts what it must not hear.
type listener struct {
	*net.UDPConn
	traffic *traffic
	port    uint16
}

// ReadFromUDPAddrPort implements carrier.Conn.
func (l listener) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	n, from, err := l.UDPConn.ReadFromUDPAddrPort(b)
	if err == nil && n >= 8 && (l.port == carrier.ControlPort && b[1] == deleteBearerRequest || l.port == carrier.UserPort && b[1] == errorIndication) {
		l.traffic.endings.Add(1)
	}
	return n, from, err
}

// startTraffic has some phones attach.
func (s *site) startTraffic(phones int) {
	s.Helper()
	tr := &traffic{}
	var err error
	tr.carrier, err = carrier.New(carrier.Config{
		Address: carrierAddress, Gateway: gatewayAddress, RestartCounter: 1, T3: time.Second, N3: 60, Logger: s.simulators(),
		Listen: func(at netip.AddrPort) (carrier.Conn, error) {
			conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
			return listener{conn, tr, at.Port()}, err
		},
	})
	if err != nil {
		s.Fatal(err)
	}
	s.life.Cleanup(func() { _ = tr.carrier.Close() })
	s.traffic = tr
	tr.phones = s.phones(tr.carrier, phones)
	s.attach()
}

// reattach has the phones attach anew, after the gateway forgot their sessions.
func (s *site) reattach() {
	s.Helper()
	s.until("the carrier hears that sessions are lost", func() bool {
		_, _ = s.traffic.carrier.Echo(s.soon()) // the answer tells
		return s.traffic.carrier.Bearers() == 0
	})
	s.attach()
}

// attach has the phones attach, and keeps what they are not to lose.
func (s *site) attach() {
	s.Helper()
	tr := s.traffic
	tr.addr = nil
	for _, p := range tr.phones {
		if err := p.Attach(s.soon()); err != nil {
			s.Fatal(err)
		}
		tr.addr = append(tr.addr, p.Address())
	}
	tr.sessions = s.sessions()
	tr.endings.Store(0)
	var err error
	if tr.counter, err = tr.carrier.Echo(s.soon()); err != nil {
		s.Fatal(err)
	}
}

// sessions lists the ids of the phones' sessions; 0: it has none.
func (s *site) sessions() (ids []uint64) {
	s.Helper()
	by := map[string]uint64{}
	for _, v := range list[adminapi.Session](s, "session", "list") {
		by[v.IMSI] = v.ID
	}
	for i := range s.traffic.phones {
		ids = append(ids, by[imsi(i)])
	}
	return ids
}

// during has packets go to and fro through a tunnel while something happens, and tells
// the longest time without.
func (s *site) during(what string, happens func()) ipstack.Flow {
	s.Helper()
	ctx, cancel := context.WithCancel(s.Context())
	var flow ipstack.Flow
	var err error
	var task sync.WaitGroup
	flows := make(chan struct{})
	p := s.traffic.phones[len(s.traffic.phones)-1] // not the worker's
	task.Go(func() {
		var once sync.Once
		flow, err = p.Stack().FlowTold(ctx, innerAddress, 20*time.Millisecond, func(answered int) {
			if answered > 0 {
				once.Do(func() { close(flows) })
			}
		})
	})
	defer func() { cancel(); task.Wait() }()
	select {
	case <-flows:
	case <-s.soon().Done():
		s.Fatalf("%s: no packets flow before it", what)
	}
	happens()
	s.allPing(what)
	cancel()
	task.Wait()
	if err != nil {
		s.Error(err)
	}
	s.Logf("%s: packets through a tunnel every 20 ms: %v", what, flow)
	return flow
}

// allPing waits until each phone's tunnel carries packets.
func (s *site) allPing(what string) {
	s.Helper()
	for i, p := range s.traffic.phones {
		s.until(what+": packets go through each tunnel", func() bool {
			ctx, cancel := context.WithTimeout(s.Context(), 2*time.Second)
			defer cancel()
			_, err := p.Ping(ctx)
			return err == nil
		})
		if a := p.Address(); a != s.traffic.addr[i] {
			s.Errorf("%s: phone %d had %s and has %s", what, i, s.traffic.addr[i], a)
		}
	}
}

// held sees that nothing happened to any session: those that the phones have are those
// that they had, and the carrier heard of no end and of no restart.
func (s *site) held(what string) {
	s.Helper()
	for i, id := range s.sessions() {
		if id != s.traffic.sessions[i] || id == 0 {
			s.Errorf("%s: session %d of phone %d is %d now", what, s.traffic.sessions[i], i, id)
		}
	}
	if n := s.traffic.endings.Load(); n != 0 {
		s.Errorf("%s: the carrier was told %d times that a session is over", what, n)
	}
	if n := s.traffic.carrier.Bearers(); n != len(s.traffic.phones) {
		s.Errorf("%s: the carrier has %d bearers of %d", what, n, len(s.traffic.phones))
	}
	var is uint8
	s.until(what+": the gateway answers an echo request", func() (ok bool) {
		var err error
		is, err = s.traffic.carrier.Echo(s.soon())
		return err == nil
	})
	if is != s.traffic.counter {
		s.Errorf("%s: the gateway's restart counter was %d and is %d", what, s.traffic.counter, is)
	}
}

// attachAndUse has phones attach through the real path, and somebody stamp.
func (s *site) attachAndUse() {
	s.startOffice()
	s.startTraffic(10)
	s.worker = s.hire(s.traffic.phones[0])
	s.during("a use", func() { s.worker.useUp(func() {}) })
	s.held("a use")
}

// tellLast logs what those outside of Kubernetes said last.
func (s *site) tellLast() {
	if s.people != nil {
		s.Logf("the seal server says last:\n%s", tail(s.people.log))
	}
	s.Logf("the simulators say last:\n%s", tail(s.file("simulators.log")))
}
