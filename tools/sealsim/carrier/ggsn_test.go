package carrier

import (
	"bytes"
	"crypto/md5" //nolint:gosec // CHAP
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	v1ie "github.com/wmnsk/go-gtp/gtpv1/ie"
	v1 "github.com/wmnsk/go-gtp/gtpv1/message"
)

// gives is what the gateway of the tests gives to whom, in both versions.
type gives struct {
	types PDNType // of the access point
}

// narrow is the type that is given, and what that adds to the cause.
func (g gives) narrow(asked PDNType, dual bool) (t PDNType, narrowed uint8) {
	switch t = asked & g.types; {
	case asked == IPv4v6 && t != IPv4v6:
		narrowed = 2 // network preference: 18
	case asked == IPv4v6 && !dual:
		t, narrowed = IPv4, 3 // single address bearer only: 19
	}
	return t, narrowed
}

func (gives) addresses(n uint32) (four, six string) {
	return fmt.Sprintf("10.90.%d.%d", n>>8, n&0xff), fmt.Sprintf("2001:db8:0:%x::1:%x", n, n)
}

// user is the only one with a password.
const (
	user   = "worker@seal"
	secret = "correct horse"
)

// answerPCO gives what is asked for, checking PAP and CHAP, by the library's
// reading of the options.
func answerPCO(t *testing.T, asked []byte) []byte {
	p, err := v1ie.ParsePCOPayload(asked)
	if err != nil {
		t.Errorf("the carrier's PCO: %v", err)
		return nil
	}
	var out []*v1ie.ConfigurationProtocolOption
	give := func(id uint16, content ...byte) {
		out = append(out, v1ie.NewConfigurationProtocolOption(id, content))
	}
	var challenge []byte
	for _, o := range p.ConfigurationProtocolOptions {
		c := o.Contents
		switch o.ProtocolID {
		case 0x000d:
			give(0x000d, 10, 90, 0, 53)
		case 0x0003:
			give(0x0003, netip.MustParseAddr("2001:db8::53").AsSlice()...)
		case 0x0010:
			give(0x0010, 0x05, 0x78)
		case 0x8021:
			give(0x8021, 3, c[1], 0, 16, 129, 6, 10, 90, 0, 53, 131, 6, 10, 90, 0, 54)
		case 0xc023:
			good := string(c[4:]) == fmt.Sprintf("%c%s%c%s", len(user), user, len(secret), secret) && int(binary.BigEndian.Uint16(c[2:])) == len(c)
			code := byte(3)
			if good {
				code = 2
			}
			give(0xc023, code, c[1], 0, 5, 0)
		case 0xc223:
			if c[0] == 1 {
				challenge = c[5 : 5+c[4]]
				continue
			}
			sum := md5.Sum(append(append([]byte{c[1]}, secret...), challenge...))
			code := byte(4)
			if bytes.Equal(c[5:21], sum[:]) && string(c[21:]) == user {
				code = 3
			}
			give(0xc223, code, c[1], 0, 4)
		}
	}
	b, err := v1ie.NewPCOPayload(0, out...).Marshal()
	if err != nil {
		t.Error(err)
	}
	return b
}

// serveV1 is the gateway's life as a GGSN.
func (g *gateway) serveV1(b []byte, from netip.AddrPort) {
	msg, err := v1.Parse(b)
	if err != nil {
		g.t.Errorf("the carrier sent what the library can't parse: %v", err)
		return
	}
	g.mu.Lock()
	g.raw = append(g.raw, b)
	out := g.replyV1(msg, from.Addr())
	g.mu.Unlock()
	if out != nil {
		_, _ = g.control.WriteToUDPAddrPort(g.marshalV1(out), from)
	}
	g.seenV1 <- msg
}

func (g *gateway) marshalV1(msg v1.Message) []byte {
	b := make([]byte, msg.MarshalLen())
	if err := msg.MarshalTo(b); err != nil {
		g.t.Error(err)
	}
	return b
}

func (g *gateway) sendV1(msg v1.Message) {
	_, _ = g.control.WriteToUDPAddrPort(g.marshalV1(msg), netip.AddrPortFrom(sgw, ControlPort))
}

func (g *gateway) replyV1(msg v1.Message, from netip.Addr) v1.Message {
	if g.answerV1 != nil {
		return g.answerV1(msg)
	}
	switch m := msg.(type) {
	case *v1.EchoRequest:
		return v1.NewEchoResponse(m.Sequence(), v1ie.NewRecovery(g.recovery))
	case *v1.CreatePDPContextRequest:
		return g.createV1(m)
	case *v1.UpdatePDPContextRequest:
		peer := g.peer[m.TEID()]
		if g.refuse != 0 {
			return v1.NewUpdatePDPContextResponse(peer.control, m.Sequence(), v1ie.NewCause(g.refuse))
		}
		if m.SGSNAddressForCPlane.MustGSNAddress() != from.String() || m.SGSNAddressForUserTraffic.MustGSNAddress() != from.String() {
			g.t.Errorf("an update from %v for %+v", from, m.SGSNAddressForCPlane)
		}
		g.peer[m.TEID()] = tunnelEnd{m.TEIDCPlane.MustTEID(), m.TEIDDataI.MustTEID()}
		return v1.NewUpdatePDPContextResponse(m.TEIDCPlane.MustTEID(), m.Sequence(),
			v1ie.NewCause(128), v1ie.NewRecovery(g.recovery), v1ie.NewTEIDDataI(m.TEID()), v1ie.NewTEIDCPlane(m.TEID()),
			v1ie.NewChargingID(m.TEID()), v1ie.NewGSNAddress(pgw.String()), v1ie.NewGSNAddress(pgw.String()), m.QoSProfile)
	case *v1.DeletePDPContextRequest:
		cause := g.refuse
		if cause == 0 {
			cause = 128
		}
		return v1.NewDeletePDPContextResponse(g.peer[m.TEID()].control, m.Sequence(), v1ie.NewCause(cause))
	case *v1.Generic:
		if m.MessageType() == v1InfoChangeRequest {
			return v1.NewGeneric(v1InfoChangeResponse, g.peer[m.TEID()].control, m.Sequence(), v1ie.NewCause(128))
		}
	}
	return nil
}

func (g *gateway) createV1(m *v1.CreatePDPContextRequest) v1.Message {
	peer := m.TEIDCPlane.MustTEID()
	if g.refuse != 0 {
		return v1.NewCreatePDPContextResponse(peer, m.Sequence(), v1ie.NewCause(g.refuse))
	}
	g.next++
	g.peer[g.next] = tunnelEnd{peer, m.TEIDDataI.MustTEID()}
	asked := pdpTypes[m.EndUserAddress.MustPDPTypeNumber()]
	t, narrowed := g.gives.narrow(asked, m.CommonFlags != nil && m.CommonFlags.IsDualAddressBearer())
	if narrowed > 0 {
		narrowed-- // 129, 130
	}
	four, six := g.gives.addresses(g.next)
	address := map[PDNType]*v1ie.IE{
		IPv4: v1ie.NewEndUserAddressIPv4(four), IPv6: v1ie.NewEndUserAddressIPv6(six),
		IPv4v6: v1ie.New(v1ie.EndUserAddress, append(append([]byte{0xf1, 0x8d}, netip.MustParseAddr(four).AsSlice()...), netip.MustParseAddr(six).AsSlice()...)),
	}[t]
	return v1.NewCreatePDPContextResponse(peer, m.Sequence(),
		v1ie.NewCause(128+narrowed), v1ie.NewRecovery(g.recovery),
		v1ie.NewTEIDDataI(g.next), v1ie.NewTEIDCPlane(g.next), v1ie.NewNSAPI(m.NSAPI.MustNSAPI()),
		v1ie.NewChargingID(g.next), address,
		v1ie.New(v1ie.ProtocolConfigurationOptions, answerPCO(g.t, m.PCO.Payload)),
		v1ie.NewGSNAddress(pgw.String()), v1ie.NewGSNAddress(pgw.String()), m.QoSProfile, m.APNAMBR)
}
