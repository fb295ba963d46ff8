package carrier

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"

	v1ie "github.com/wmnsk/go-gtp/gtpv1/ie"
	v1 "github.com/wmnsk/go-gtp/gtpv1/message"
)

// PDP type numbers of the IETF (TS 29.060 7.7.27).
var pdpTypes = map[uint8]PDNType{0x21: IPv4, 0x57: IPv6, 0x8d: IPv4v6}

// createPDPContext carries Create PDP Context out (TS 29.060 tables 5 and 6).
func (c *Carrier) createPDPContext(ctx context.Context, who Subscriber, own tunnelEnd) (control, user remote, g *Granted, err error) {
	asked := newOptions(who)
	address := []byte{0xf1, 0}
	for number, t := range pdpTypes {
		if t == who.PDNType {
			address[1] = number
		}
	}
	ies := []*v1ie.IE{
		v1ie.NewIMSI(who.IMSI.String()),
		routeingArea(who),
		v1ie.NewRecovery(c.restarts()),
		v1ie.NewSelectionMode(0),
		v1ie.NewTEIDDataI(own.user),
		v1ie.NewTEIDCPlane(own.control),
		v1ie.NewNSAPI(who.EBI),
		v1ie.New(v1ie.ChargingCharacteristics, []byte{0x08, 0x00}),
		v1ie.New(v1ie.EndUserAddress, address),
		v1ie.NewAccessPointName(operatorAPN(who)),
		v1ie.New(v1ie.ProtocolConfigurationOptions, asked.wire),
		c.gsnAddress(), // for signalling
		c.gsnAddress(), // for user traffic
	}
	if !who.MSISDN.IsZero() {
		ies = append(ies, v1ie.NewMSISDN(who.MSISDN.String()))
	}
	ies = append(ies, qosProfile(who.QoS))
	if who.PDNType == IPv4v6 && !who.SingleAddress {
		ies = append(ies, v1ie.NewCommonFlags(1, 0, 0, 0, 0, 0, 0, 0))
	}
	ies = append(ies, v1ie.NewRATType(uint8(who.RAT)), serviceArea(who))
	if !who.IMEI.IsZero() {
		ies = append(ies, v1ie.NewIMEISV(who.IMEI.String()+"01"))
	}
	ies = append(ies, ambrV1(who.AMBR))
	answer, err := c.requestV1(ctx, c.peer(), v1.MsgTypeCreatePDPContextRequest, 0, ies...)
	if err != nil {
		return control, user, nil, err
	}
	cause, err := acceptedV1(answer)
	if err != nil {
		return control, user, nil, err
	}
	g = &Granted{Cause: cause}
	if control, user, err = readEnds(answer.IEs, remote{}, remote{}); err != nil {
		return control, user, nil, err
	}
	if err := g.readEndUserAddress(findV1(answer.IEs, v1ie.EndUserAddress, 0)); err != nil {
		return control, user, nil, fmt.Errorf("end user address: %w", err)
	}
	if err := g.suits(who, causeV1NewTypePreference, causeV1NewTypeSingle); err != nil {
		return control, user, nil, err
	}
	if answer.TEID() != own.control {
		return control, user, nil, fmt.Errorf("%w: the answer's TEID is not ours", ErrProtocol)
	}
	charging := findV1(answer.IEs, v1ie.ChargingID, 0)
	if charging == nil {
		return control, user, nil, fmt.Errorf("%w: no charging ID", ErrProtocol)
	}
	g.Charging = charging.MustChargingID()
	if err := g.readQualityV1(answer.IEs); err != nil {
		return control, user, nil, err
	}
	if pco := findV1(answer.IEs, v1ie.ProtocolConfigurationOptions, 0); pco != nil {
		err = g.readPCO(pco.Payload, asked)
	}
	return control, user, g, err
}

// routeingArea is where the terminal is to the SGSN, with an area code that
// stands for none.
func routeingArea(who Subscriber) *v1ie.IE {
	// The library's own constructor can't do network codes of 3 digits.
	uli := v1ie.NewUserLocationInformationWithRAI(who.PLMN.MCC(), who.PLMN.MNC(), who.TAC, 0xff)
	return v1ie.New(v1ie.RouteingAreaIdentity, uli.Payload[1:])
}

func serviceArea(who Subscriber) *v1ie.IE {
	return v1ie.NewUserLocationInformationWithSAI(who.PLMN.MCC(), who.PLMN.MNC(), who.TAC, uint16(who.Cell))
}

func (c *Carrier) gsnAddress() *v1ie.IE { return v1ie.NewGSNAddressByIP(c.cfg.Address.AsSlice()) }

func qosProfile(q QoS) *v1ie.IE { return v1ie.NewQoSProfile(append([]byte{q.ARP}, q.Profile...)) }

// ambrV1 is an APN-AMBR (TS 29.060 7.7.98).
func ambrV1(a AMBR) *v1ie.IE {
	return v1ie.New(v1ie.AggregateMaximumBitRate, binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, a.Up), a.Down))
}

// readEnds reads the gateway's tunnel ends. Those of an answer to a change may
// be left out, when they stay.
func readEnds(ies []*v1ie.IE, control, user remote) (remote, remote, error) {
	for n, end := range []struct {
		at   *remote
		teid *v1ie.IE
	}{{&control, findV1(ies, v1ie.TEIDCPlane, 0)}, {&user, findV1(ies, v1ie.TEIDDataI, 0)}} {
		if end.teid != nil {
			end.at.teid = binary.BigEndian.Uint32(end.teid.Payload)
		}
		// Of the addresses the first is for signalling.
		if gsn := findV1(ies, v1ie.GSNAddress, n); gsn != nil {
			addr, ok := netip.AddrFromSlice(gsn.Payload)
			if !ok || !addr.Is4() {
				return control, user, fmt.Errorf("%w: GSN address % x", ErrProtocol, gsn.Payload)
			}
			end.at.addr = addr
		}
		if end.at.teid == 0 || !end.at.addr.IsValid() {
			return control, user, fmt.Errorf("%w: GGSN without TEID or address", ErrProtocol)
		}
	}
	return control, user, nil
}

// readEndUserAddress reads an End User Address (TS 29.060 7.7.27): IPv4 comes
// first.
func (g *Granted) readEndUserAddress(i *v1ie.IE) error {
	if i == nil || len(i.Payload) < 2 {
		return fmt.Errorf("%w: missing", ErrProtocol)
	}
	t, known := pdpTypes[i.Payload[1]]
	if i.Payload[0]&0x0f != 1 || !known {
		return fmt.Errorf("%w: PDP type % x", ErrProtocol, i.Payload[:2])
	}
	rest := i.Payload[2:]
	var four []byte
	if t&IPv4 != 0 {
		n := min(4, len(rest))
		four, rest = rest[:n], rest[n:]
	}
	return g.readAddresses(t, four, rest)
}

func (g *Granted) readQualityV1(ies []*v1ie.IE) error {
	qos := findV1(ies, v1ie.QoSProfile, 0)
	if qos == nil || len(qos.Payload) < 4 { // TS 29.060 7.7.34
		return fmt.Errorf("%w: no QoS profile", ErrProtocol)
	}
	g.QoS = QoS{ARP: qos.Payload[0], Profile: string(qos.Payload[1:])}
	if ambr := findV1(ies, v1ie.AggregateMaximumBitRate, 0); ambr != nil && len(ambr.Payload) >= 8 {
		g.AMBR = AMBR{Up: binary.BigEndian.Uint32(ambr.Payload), Down: binary.BigEndian.Uint32(ambr.Payload[4:])}
	}
	return nil
}

// acceptedV1 turns a message's cause into an acceptance or a *RefusedError.
func acceptedV1(answer *v1.Generic) (cause uint8, err error) {
	if answer.MessageType() == v1.MsgTypeVersionNotSupported {
		return 0, fmt.Errorf("%w: version not supported", ErrProtocol)
	}
	i := findV1(answer.IEs, v1ie.Cause, 0)
	if i == nil {
		return 0, fmt.Errorf("%w: no cause", ErrProtocol)
	}
	// 128 to 191 are acceptances (TS 29.060 table 38).
	if cause = i.Payload[0]; cause < 128 || cause > 191 {
		return 0, &RefusedError{Cause: cause, GTPv1: true}
	}
	return cause, nil
}

// deletePDPContext carries Delete PDP Context out, of all contexts of the
// address (TS 29.060 7.3.5).
func (p *path) deletePDPContext(ctx context.Context, who Subscriber) error {
	answer, err := p.carrier.requestV1(ctx, p.gateway(), v1.MsgTypeDeletePDPContextRequest, p.control.teid,
		v1ie.NewTeardownInd(true), v1ie.NewNSAPI(who.EBI))
	if err != nil {
		return err
	}
	_, err = acceptedV1(answer)
	return err
}

// updatePDPContext carries Update PDP Context out (TS 29.060 tables 7 and 8).
// The gateway may move its ends.
func (p *path) updatePDPContext(ctx context.Context, who Subscriber, own tunnelEnd, g *Granted) error {
	c := p.carrier
	answer, err := c.requestV1(ctx, p.gateway(), v1.MsgTypeUpdatePDPContextRequest, p.control.teid,
		v1ie.NewIMSI(who.IMSI.String()),
		routeingArea(who),
		v1ie.NewRecovery(c.restarts()),
		v1ie.NewTEIDDataI(own.user),
		v1ie.NewTEIDCPlane(own.control),
		v1ie.NewNSAPI(who.EBI),
		c.gsnAddress(),
		c.gsnAddress(),
		qosProfile(who.QoS),
		v1ie.NewRATType(uint8(who.RAT)),
		serviceArea(who),
	)
	if err != nil {
		return err
	}
	if _, err := acceptedV1(answer); err != nil {
		return err
	}
	if p.control, p.user, err = readEnds(answer.IEs, p.control, p.user); err != nil {
		return err
	}
	return g.readQualityV1(answer.IEs)
}
