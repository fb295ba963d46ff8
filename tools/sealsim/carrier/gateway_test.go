package carrier

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"github.com/wmnsk/go-gtp/gtpv2/ie"
	"github.com/wmnsk/go-gtp/gtpv2/message"
)

var (
	sgw = netip.MustParseAddr("127.0.20.1")
	pgw = netip.MustParseAddr("127.0.10.1")
)

// gateway is a tiny packet gateway, written with the library's typed messages
// where the carrier uses its generic ones.
type gateway struct {
	t       *testing.T
	control Conn
	user    Conn
	done    sync.WaitGroup

	mu       sync.Mutex
	recovery uint8
	cause    uint8                     // of the next answers
	requests []message.Message         // all received; guarded by mu
	raw      [][]byte                  // their bytes
	next     uint32                    // TEIDs and addresses given
	peer     map[uint32]tunnelEnd      // the carrier's TEIDs by our control TEID
	answer   func(message.Message) any // overrides: nil goes on, []byte is sent as it is
	seen     chan message.Message
}

func newGateway(t *testing.T, n *fakeNetwork) *gateway {
	t.Helper()
	g := &gateway{t: t, cause: 16, recovery: 7, peer: make(map[uint32]tunnelEnd), seen: make(chan message.Message, 4096)}
	var err error
	if g.control, err = n.listen(netip.AddrPortFrom(pgw, ControlPort)); err != nil {
		t.Fatal(err)
	}
	if g.user, err = n.listen(netip.AddrPortFrom(pgw, UserPort)); err != nil {
		t.Fatal(err)
	}
	g.done.Go(g.serve)
	t.Cleanup(func() {
		_ = g.control.Close()
		_ = g.user.Close()
		g.done.Wait()
	})
	return g
}

func (g *gateway) serve() {
	buf := make([]byte, 65535)
	for {
		n, from, err := g.control.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		own := append([]byte(nil), buf[:n]...)
		msg, err := message.Parse(own)
		if err != nil {
			g.t.Errorf("the carrier sent what the library can't parse: %v", err)
			continue
		}
		g.mu.Lock()
		g.requests = append(g.requests, msg)
		g.raw = append(g.raw, append([]byte(nil), own...))
		reply := g.reply(msg)
		g.mu.Unlock()
		if reply != nil {
			_, _ = g.control.WriteToUDPAddrPort(reply, from)
		}
		g.seen <- msg
	}
}

func (g *gateway) reply(msg message.Message) []byte {
	if g.answer != nil {
		switch a := g.answer(msg).(type) {
		case []byte:
			return a
		case nil:
		default:
			return nil
		}
	}
	var out message.Message
	switch m := msg.(type) {
	case *message.EchoRequest:
		out = message.NewEchoResponse(m.Sequence(), ie.NewRecovery(g.recovery))
	case *message.CreateSessionRequest:
		out = g.create(m)
	case *message.ModifyBearerRequest:
		peer := g.peer[m.TEID()]
		cause := g.cause
		if m.SenderFTEIDC != nil && cause == 16 {
			g.peer[m.TEID()] = tunnelEnd{m.SenderFTEIDC.MustTEID(), fteidOf(m.BearerContextsToBeModified[0], 1)}
			peer = g.peer[m.TEID()]
		}
		out = message.NewModifyBearerResponse(peer.control, m.Sequence(), ie.NewCause(cause, 0, 0, 0, nil),
			ie.NewBearerContext(ie.NewCause(cause, 0, 0, 0, nil), ie.NewEPSBearerID(5)), ie.NewRecovery(g.recovery))
	case *message.DeleteSessionRequest:
		cause := g.cause
		peer, ok := g.peer[m.TEID()]
		if !ok {
			cause = 64
		}
		out = message.NewDeleteSessionResponse(peer.control, m.Sequence(), ie.NewCause(cause, 0, 0, 0, nil))
	default:
		return nil
	}
	return g.marshal(out)
}

func (g *gateway) create(m *message.CreateSessionRequest) message.Message {
	peer := m.SenderFTEIDC.MustTEID()
	if g.cause != 16 {
		return message.NewCreateSessionResponse(peer, m.Sequence(), ie.NewCause(g.cause, 0, 0, 0, nil))
	}
	g.next++
	g.peer[g.next] = tunnelEnd{peer, fteidOf(m.BearerContextsToBeCreated[0], 2)}
	return message.NewCreateSessionResponse(peer, m.Sequence(),
		ie.NewCause(16, 0, 0, 0, nil),
		ie.NewFullyQualifiedTEID(ifS5PGWControl, g.next, pgw.String(), "").WithInstance(1),
		ie.NewPDNAddressAllocation(fmt.Sprintf("10.90.%d.%d", g.next>>8, g.next&0xff)),
		ie.NewAPNRestriction(0),
		ie.NewProtocolConfigurationOptions(0,
			ie.NewPCOContainer(0x000d, []byte{10, 90, 0, 53}), ie.NewPCOContainer(0x0010, []byte{0x05, 0x78})),
		ie.NewBearerContext(
			ie.NewEPSBearerID(5), ie.NewCause(16, 0, 0, 0, nil),
			ie.NewFullyQualifiedTEID(ifS5PGWUser, g.next, pgw.String(), "").WithInstance(2),
			ie.NewChargingID(g.next),
		),
		ie.NewRecovery(g.recovery))
}

// send pushes a message of the gateway's own.
func (g *gateway) send(msg message.Message) {
	_, _ = g.control.WriteToUDPAddrPort(g.marshal(msg), netip.AddrPortFrom(sgw, ControlPort))
}

func (g *gateway) marshal(msg message.Message) []byte {
	b := make([]byte, msg.MarshalLen())
	if err := msg.MarshalTo(b); err != nil {
		g.t.Error(err)
	}
	return b
}

// received returns the bytes of every control message so far.
func (g *gateway) received() [][]byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([][]byte(nil), g.raw...)
}

func fteidOf(context *ie.IE, instance uint8) uint32 {
	i := find(context.ChildIEs, ie.FullyQualifiedTEID, instance)
	if i == nil {
		return 0
	}
	return i.MustTEID()
}
