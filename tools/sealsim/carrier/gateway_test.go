package carrier

import (
	"net/netip"
	"sync"
	"testing"

	v1 "github.com/wmnsk/go-gtp/gtpv1/message"
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

	// As a GGSN: see ggsn_test.go.
	refuse   uint8 // cause of the next answers; 0: accepts
	answerV1 func(v1.Message) v1.Message
	seenV1   chan v1.Message
	gives    gives
}

func newGateway(t *testing.T, n *fakeNetwork) *gateway {
	t.Helper()
	g := &gateway{
		t: t, cause: 16, recovery: 7, peer: make(map[uint32]tunnelEnd), seen: make(chan message.Message, 4096),
		seenV1: make(chan v1.Message, 4096), gives: gives{types: IPv4v6},
	}
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
		if own[0]>>5 == 1 {
			g.serveV1(own, from)
			continue
		}
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
	case *message.ModifyBearerCommand:
		out = g.command(m)
	case *message.DeleteBearerCommand:
		out = message.NewDeleteBearerFailureIndication(g.peer[m.TEID()].control, m.Sequence(), ie.NewCause(64, 0, 0, 0, nil))
	case *message.SuspendNotification:
		out = message.NewSuspendAcknowledge(g.peer[m.TEID()].control, m.Sequence(), ie.NewCause(g.cause, 0, 0, 0, nil))
	case *message.ResumeNotification:
		out = message.NewResumeAcknowledge(g.peer[m.TEID()].control, m.Sequence(), ie.NewCause(g.cause, 0, 0, 0, nil))
	case *message.ChangeNotificationRequest:
		out = message.NewChangeNotificationResponse(g.peer[m.TEID()].control, m.Sequence(), m.IMSI, ie.NewCause(g.cause, 0, 0, 0, nil))
	case *message.DeletePDNConnectionSetRequest:
		out = message.NewDeletePDNConnectionSetResponse(0, m.Sequence(), ie.NewCause(g.cause, 0, 0, 0, nil), ie.NewRecovery(g.recovery))
	case *message.Generic:
		if m.MessageType() != message.MsgTypeBearerResourceCommand {
			return nil
		}
		out = message.NewGeneric(message.MsgTypeBearerResourceFailureIndication, g.peer[m.TEID()].control, m.Sequence(), ie.NewCause(68, 0, 0, 0, nil))
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
	dual := m.IndicationFlags.Payload[0]&0x80 != 0
	t, narrowed := g.gives.narrow(PDNType(m.PDNType.MustPDNType()), dual)
	four, six := g.gives.addresses(g.next)
	paa := map[PDNType]*ie.IE{
		IPv4: ie.NewPDNAddressAllocation(four), IPv6: ie.NewPDNAddressAllocationIPv6(six, 64),
		IPv4v6: ie.NewPDNAddressAllocationDual(four, six, 64),
	}[t]
	return message.NewCreateSessionResponse(peer, m.Sequence(),
		ie.NewCause(16+narrowed, 0, 0, 0, nil),
		ie.NewFullyQualifiedTEID(ifS5PGWControl, g.next, pgw.String(), "").WithInstance(1),
		paa,
		ie.NewAPNRestriction(0),
		m.AMBR,
		ie.New(ie.ProtocolConfigurationOptions, 0, answerPCO(g.t, m.PCO.Payload)),
		ie.NewBearerContext(
			ie.NewEPSBearerID(5), ie.NewCause(16, 0, 0, 0, nil),
			find(m.BearerContextsToBeCreated[0].ChildIEs, ie.BearerQoS, 0),
			ie.NewFullyQualifiedTEID(ifS5PGWUser, g.next, pgw.String(), "").WithInstance(2),
			ie.NewChargingID(g.next),
		),
		ie.NewRecovery(g.recovery))
}

// command answers a Modify Bearer Command: with an Update Bearer Request that
// grants what it asks for.
func (g *gateway) command(m *message.ModifyBearerCommand) message.Message {
	peer := g.peer[m.TEID()]
	if g.cause != 16 {
		return message.NewModifyBearerFailureIndication(peer.control, m.Sequence(), ie.NewCause(g.cause, 0, 0, 0, nil))
	}
	return message.NewUpdateBearerRequest(peer.control, m.Sequence(), m.APNAMBR, m.BearerContext)
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
