package carrier

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/wmnsk/go-gtp/gtpv2/ie"
	"github.com/wmnsk/go-gtp/gtpv2/message"

	"github.com/sealedge/sealedge/policy/ident"
)

// Interface types of F-TEIDs (TS 29.274 8.22).
const (
	ifS5SGWUser    = 4
	ifS5PGWUser    = 5
	ifS5SGWControl = 6
	ifS5PGWControl = 7
)

// createSession carries Create Session on S5/S8 out (TS 29.274 tables 7.2.1-1
// and 7.2.2-1).
func (c *Carrier) createSession(ctx context.Context, who Subscriber, own tunnelEnd) (control, user remote, g *Granted, err error) {
	ies := []*ie.IE{ie.NewIMSI(who.IMSI.String())}
	if !who.MSISDN.IsZero() {
		ies = append(ies, ie.NewMSISDN(who.MSISDN.String()))
	}
	if !who.IMEI.IsZero() {
		// Networks report the 16-digit form, software version last.
		ies = append(ies, ie.NewMobileEquipmentIdentity(who.IMEI.String()+"01"))
	}
	var dual uint8
	paa := append([]byte{uint8(who.PDNType)}, make([]byte, map[PDNType]int{IPv4: 4, IPv6: 17, IPv4v6: 21}[who.PDNType])...)
	if who.PDNType == IPv4v6 && !who.SingleAddress {
		dual = 0x80 // DAF (TS 29.274 8.12)
	}
	asked := newOptions(who)
	ies = append(
		ies,
		location(who.PLMN, who.TAC, who.Cell),
		ie.NewServingNetwork(who.PLMN.MCC(), who.PLMN.MNC()),
		ie.NewRATType(uint8(who.RAT)),
		ie.NewIndicationFromOctets(dual, 0, 0, 0),
		c.fteid(ifS5SGWControl, own.control),
		ie.NewAccessPointName(operatorAPN(who)),
		ie.NewSelectionMode(0),
		ie.NewPDNType(uint8(who.PDNType)),
		ie.New(ie.PDNAddressAllocation, 0, paa),
		ie.NewAPNRestriction(0),
		ie.NewAggregateMaximumBitRate(who.AMBR.Up, who.AMBR.Down),
		ie.New(ie.ProtocolConfigurationOptions, 0, asked.wire),
		ie.NewBearerContext(
			ie.NewEPSBearerID(who.EBI),
			c.fteid(ifS5SGWUser, own.user).WithInstance(2),
			bearerQoS(who.QoS),
		),
	)
	if who.ConnectionSet != 0 {
		ies = append(ies, c.connectionSet(who.ConnectionSet))
	}
	ies = append(ies, ie.NewRecovery(c.restarts()), ie.NewChargingCharacteristics(0x0800))
	answer, err := c.request(ctx, c.peer(), message.MsgTypeCreateSessionRequest, 0, ies...)
	if err != nil {
		return control, user, nil, err
	}
	if control, user, g, err = readCreated(answer, who.EBI); err != nil {
		return control, user, nil, err
	}
	if err := g.suits(who, causeNewTypePreference, causeNewTypeSingle); err != nil {
		return control, user, nil, err
	}
	if answer.TEID() != own.control {
		return control, user, nil, fmt.Errorf("%w: the answer's TEID is not ours", ErrProtocol)
	}
	if pco := find(answer.IEs, ie.ProtocolConfigurationOptions, 0); pco != nil {
		err = g.readPCO(pco.Payload, asked)
	}
	return control, user, g, err
}

func (c *Carrier) fteid(kind uint8, teid uint32) *ie.IE {
	return ie.NewFullyQualifiedTEIDNetIP(kind, teid, c.cfg.Address.AsSlice(), nil)
}

func bearerQoS(q QoS) *ie.IE {
	return ie.NewBearerQoS(1, q.ARP, 0, q.QCI, 0, 0, 0, 0)
}

// location is a ULI of tracking area and cell (TS 29.274 8.21).
func location(plmn ident.PLMN, tac uint16, cell uint32) *ie.IE {
	return ie.NewUserLocationInformationStruct(nil, nil, nil,
		ie.NewTAI(plmn.MCC(), plmn.MNC(), tac), ie.NewECGI(plmn.MCC(), plmn.MNC(), cell), nil, nil, nil)
}

// readCreated reads a Create Session Response without its options.
func readCreated(answer *message.Generic, ebi uint8) (control, user remote, g *Granted, err error) {
	fail := func(what string, err error) (remote, remote, *Granted, error) {
		return control, user, nil, fmt.Errorf("%s: %w", what, err)
	}
	if err := accepted(answer); err != nil {
		return control, user, nil, err
	}
	g = &Granted{Cause: find(answer.IEs, ie.Cause, 0).Payload[0]}
	if control, err = readFTEID(find(answer.IEs, ie.FullyQualifiedTEID, 1), ifS5PGWControl); err != nil {
		return fail("PGW S5/S8 control F-TEID", err)
	}
	if err := g.readPAA(find(answer.IEs, ie.PDNAddressAllocation, 0)); err != nil {
		return fail("PAA", err)
	}
	context := find(answer.IEs, ie.BearerContext, 0)
	if context == nil {
		return fail("bearer context", ErrProtocol)
	}
	if err := bearerAccepted(context, ebi); err != nil {
		return control, user, nil, err
	}
	if user, err = readFTEID(find(context.ChildIEs, ie.FullyQualifiedTEID, 2), ifS5PGWUser); err != nil {
		return fail("PGW S5/S8 user-plane F-TEID", err)
	}
	if charging := find(context.ChildIEs, ie.ChargingID, 0); charging != nil {
		g.Charging = charging.MustChargingID()
	}
	g.readQuality(answer.IEs, context)
	return control, user, g, nil
}

// readPAA reads a PDN Address Allocation (TS 29.274 8.14): a prefix length comes
// before IPv6's, and IPv4's address last.
func (g *Granted) readPAA(paa *ie.IE) error {
	if paa == nil || len(paa.Payload) < 1 {
		return fmt.Errorf("%w: missing", ErrProtocol)
	}
	t, rest := PDNType(paa.Payload[0]&0x07), paa.Payload[1:]
	var six []byte
	if t&IPv6 != 0 {
		if len(rest) < 17 || rest[0] != 64 {
			return fmt.Errorf("%w: no prefix of 64 bits", ErrProtocol)
		}
		six, rest = rest[1:17], rest[17:]
	}
	return g.readAddresses(t, rest, six)
}

// readQuality takes over what the gateway says of the quality of service.
func (g *Granted) readQuality(ies []*ie.IE, context *ie.IE) {
	if ambr := find(ies, ie.AggregateMaximumBitRate, 0); ambr != nil {
		g.AMBR = AMBR{Up: ambr.MustAggregateMaximumBitRateUp(), Down: ambr.MustAggregateMaximumBitRateDown()}
	}
	if context == nil {
		return
	}
	if qos := find(context.ChildIEs, ie.BearerQoS, 0); qos != nil && len(qos.Payload) >= 2 {
		g.QoS = QoS{ARP: qos.Payload[0] >> 2 & 0x0f, QCI: qos.Payload[1]} // TS 29.274 8.15
	}
}

// accepted turns a message's cause into nil or a *RefusedError.
func accepted(answer *message.Generic) error {
	if answer.MessageType() == message.MsgTypeVersionNotSupportedIndication {
		return fmt.Errorf("%w: version not supported indication", ErrProtocol)
	}
	return causeOf(find(answer.IEs, ie.Cause, 0))
}

// bearerAccepted reads the identity and cause inside a bearer context.
func bearerAccepted(context *ie.IE, want uint8) error {
	ebi := find(context.ChildIEs, ie.EPSBearerID, 0)
	if ebi == nil || len(ebi.Payload) == 0 || ebi.Payload[0]&0x0f != want {
		return fmt.Errorf("%w: bearer context without our EPS bearer identity", ErrProtocol)
	}
	return causeOf(find(context.ChildIEs, ie.Cause, 0))
}

func causeOf(cause *ie.IE) error {
	if cause == nil || len(cause.Payload) < 2 {
		return fmt.Errorf("%w: no cause", ErrProtocol)
	}
	// 16 to 63 are acceptances (TS 29.274 table 8.4-1).
	if value := cause.Payload[0]; value < 16 || value > 63 {
		return &RefusedError{Cause: value}
	}
	return nil
}

func readFTEID(i *ie.IE, kind uint8) (remote, error) {
	if i == nil {
		return remote{}, fmt.Errorf("%w: missing", ErrProtocol)
	}
	fields, err := i.FullyQualifiedTEID()
	if err != nil {
		return remote{}, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	if fields.InterfaceType != kind {
		return remote{}, fmt.Errorf("%w: interface type %d, want %d", ErrProtocol, fields.InterfaceType, kind)
	}
	addr, ok := netip.AddrFromSlice(fields.IPv4Address.To4())
	if !ok || fields.TEIDGREKey == 0 {
		return remote{}, fmt.Errorf("%w: without IPv4 address or TEID", ErrProtocol)
	}
	return remote{addr: addr, teid: fields.TEIDGREKey}, nil
}

// deleteSession carries Delete Session out (TS 29.274 7.2.9).
func (p *path) deleteSession(ctx context.Context, who Subscriber) error {
	answer, err := p.carrier.request(ctx, p.gateway(), message.MsgTypeDeleteSessionRequest, p.control.teid,
		ie.NewEPSBearerID(who.EBI), location(who.PLMN, who.TAC, who.Cell))
	if err != nil {
		return err
	}
	return accepted(answer)
}

// modifyBearer carries Modify Bearer out (TS 29.274 tables 7.2.7-1 and 7.2.8-1).
func (p *path) modifyBearer(ctx context.Context, who Subscriber, own tunnelEnd, renewed bool, g *Granted) error {
	c := p.carrier
	ies := []*ie.IE{
		location(who.PLMN, who.TAC, who.Cell),
		ie.NewServingNetwork(who.PLMN.MCC(), who.PLMN.MNC()),
		ie.NewRATType(uint8(who.RAT)),
	}
	if renewed {
		ies = append(ies,
			c.fteid(ifS5SGWControl, own.control),
			ie.NewBearerContext(ie.NewEPSBearerID(who.EBI), c.fteid(ifS5SGWUser, own.user).WithInstance(1)),
		)
	}
	answer, err := c.request(ctx, p.gateway(), message.MsgTypeModifyBearerRequest, p.control.teid,
		append(ies, ie.NewRecovery(c.restarts()))...)
	if err != nil {
		return err
	}
	if err := accepted(answer); err != nil {
		return err
	}
	context := find(answer.IEs, ie.BearerContext, 0)
	if context != nil {
		if err := bearerAccepted(context, who.EBI); err != nil {
			return err
		}
	}
	g.readQuality(answer.IEs, context)
	return nil
}
