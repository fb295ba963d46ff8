package carrier

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/wmnsk/go-gtp/gtpv2/ie"
	"github.com/wmnsk/go-gtp/gtpv2/message"

	"github.com/sealedge/sealedge/policy/ident"
)

// ErrProtocol is wrapped when the gateway's answer breaks TS 29.274.
var ErrProtocol = errors.New("the gateway's answer breaks the protocol")

// RefusedError is a request that the gateway refused.
type RefusedError struct {
	Cause uint8 // TS 29.274 8.4
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("refused by the gateway: cause %d (%s)", e.Cause, CauseText(e.Cause))
}

// RAT is a radio access technology (TS 29.274 8.17).
type RAT uint8

// The technologies that simulated phones use.
const (
	UTRAN  RAT = 1
	GERAN  RAT = 2
	WLAN   RAT = 3
	EUTRAN RAT = 6
	NBIoT  RAT = 8
	NR     RAT = 10
)

// Interface types of F-TEIDs (TS 29.274 8.22).
const (
	ifS5SGWUser    = 4
	ifS5PGWUser    = 5
	ifS5SGWControl = 6
	ifS5PGWControl = 7
)

// Subscriber is who attaches, from where and to what.
type Subscriber struct {
	IMSI   ident.IMSI
	MSISDN ident.MSISDN // zero: not told to the gateway
	IMEI   ident.IMEI   // zero: the handset isn't told to the gateway
	APN    ident.APN    // sent with the operator identifier of the home network
	PLMN   ident.PLMN   // the serving network
	RAT    RAT          // zero: EUTRAN
	EBI    uint8        // EPS bearer identity; zero: 5
	TAC    uint16       // tracking area
	Cell   uint32       // E-UTRAN cell identity, 28 bits
}

// Attach opens a PDN connection (Create Session, TS 29.274 7.2.1) and returns
// its default bearer. A refusal is a *RefusedError; silence is ErrNoAnswer.
func (c *Carrier) Attach(ctx context.Context, who Subscriber) (*Bearer, error) {
	if who.RAT == 0 {
		who.RAT = EUTRAN
	}
	if who.EBI == 0 {
		who.EBI = 5
	}
	if who.IMSI.IsZero() || who.APN.IsZero() || who.PLMN.IsZero() {
		return nil, errors.New("attach: a subscriber needs IMSI, APN and serving PLMN")
	}
	b := newBearer(c, who)
	own := c.register(b)
	answer, err := c.request(ctx, netip.AddrPortFrom(c.cfg.Gateway, ControlPort), message.MsgTypeCreateSessionRequest, 0, c.createSession(who, own)...)
	if err == nil {
		var g granted
		if g, err = readCreated(answer, who.EBI); err == nil {
			c.establish(b, g)
			return b, nil
		}
	}
	b.end(err)
	return nil, fmt.Errorf("attach: %w", err)
}

// createSession builds the IEs of a Create Session Request on S5/S8
// (TS 29.274 table 7.2.1-1).
func (c *Carrier) createSession(who Subscriber, own tunnelEnd) []*ie.IE {
	ies := []*ie.IE{ie.NewIMSI(who.IMSI.String())}
	if !who.MSISDN.IsZero() {
		ies = append(ies, ie.NewMSISDN(who.MSISDN.String()))
	}
	if !who.IMEI.IsZero() {
		// Networks report the 16-digit form, software version last.
		ies = append(ies, ie.NewMobileEquipmentIdentity(who.IMEI.String()+"01"))
	}
	return append(
		ies,
		location(who.PLMN, who.TAC, who.Cell),
		ie.NewServingNetwork(who.PLMN.MCC(), who.PLMN.MNC()),
		ie.NewRATType(uint8(who.RAT)),
		ie.NewIndicationFromOctets(0, 0, 0, 0),
		c.fteid(ifS5SGWControl, own.control),
		ie.NewAccessPointName(operatorAPN(who)),
		ie.NewSelectionMode(0),
		ie.NewPDNType(1), // IPv4
		ie.NewPDNAddressAllocation("0.0.0.0"),
		ie.NewAPNRestriction(0),
		ie.NewAggregateMaximumBitRate(50_000, 150_000),
		ie.NewProtocolConfigurationOptions(
			ie.ConfigurationProtocolPPPForUseWithIPPDPTypeOrIPPDNType,
			ie.NewPCOContainer(pcoDNS, nil),
			ie.NewPCOContainer(pcoLinkMTU, nil),
		),
		ie.NewBearerContext(
			ie.NewEPSBearerID(who.EBI),
			c.fteid(ifS5SGWUser, own.user).WithInstance(2),
			ie.NewBearerQoS(1, 9, 0, 9, 0, 0, 0, 0),
		),
		ie.NewRecovery(c.cfg.RestartCounter),
		ie.NewChargingCharacteristics(0x0800),
	)
}

func (c *Carrier) fteid(kind uint8, teid uint32) *ie.IE {
	return ie.NewFullyQualifiedTEIDNetIP(kind, teid, c.cfg.Address.AsSlice(), nil)
}

// location is a ULI of tracking area and cell (TS 29.274 8.21).
func location(plmn ident.PLMN, tac uint16, cell uint32) *ie.IE {
	return ie.NewUserLocationInformationStruct(nil, nil, nil,
		ie.NewTAI(plmn.MCC(), plmn.MNC(), tac), ie.NewECGI(plmn.MCC(), plmn.MNC(), cell), nil, nil, nil)
}

// operatorAPN adds the operator identifier of the home network, as serving
// gateways do (TS 23.003 9.1.2). The home network's code is taken to be as long
// as the serving network's.
func operatorAPN(who Subscriber) string {
	imsi, n := who.IMSI.String(), len(who.PLMN.MNC())
	return fmt.Sprintf("%s.mnc%03s.mcc%s.gprs", who.APN, imsi[3:3+n], imsi[:3])
}

// PCO containers that we ask for (TS 24.008 10.5.6.3).
const (
	pcoDNS     = 0x000d
	pcoLinkMTU = 0x0010
)

// granted is what the gateway gave.
type granted struct {
	address       netip.Addr
	dns           []netip.Addr
	mtu           int
	control, user remote
}

// readCreated reads a Create Session Response (TS 29.274 table 7.2.2-1).
func readCreated(answer *message.Generic, ebi uint8) (g granted, err error) {
	if err := accepted(answer); err != nil {
		return g, err
	}
	if g.control, err = readFTEID(find(answer.IEs, ie.FullyQualifiedTEID, 1), ifS5PGWControl); err != nil {
		return g, fmt.Errorf("PGW S5/S8 control F-TEID: %w", err)
	}
	paa := find(answer.IEs, ie.PDNAddressAllocation, 0)
	if paa == nil {
		return g, fmt.Errorf("%w: no PAA", ErrProtocol)
	}
	pdn, err := ie.ParsePDNAddressAllocationFields(paa.Payload)
	if err != nil {
		return g, fmt.Errorf("%w: PAA: %w", ErrProtocol, err)
	}
	var ok bool
	if g.address, ok = netip.AddrFromSlice(pdn.IPv4Address.To4()); !ok || g.address.IsUnspecified() {
		return g, fmt.Errorf("%w: PAA without an IPv4 address", ErrProtocol)
	}
	context := find(answer.IEs, ie.BearerContext, 0)
	if context == nil {
		return g, fmt.Errorf("%w: no bearer context", ErrProtocol)
	}
	if err := bearerAccepted(context, ebi); err != nil {
		return g, err
	}
	if g.user, err = readFTEID(find(context.ChildIEs, ie.FullyQualifiedTEID, 2), ifS5PGWUser); err != nil {
		return g, fmt.Errorf("PGW S5/S8 user-plane F-TEID: %w", err)
	}
	g.readPCO(find(answer.IEs, ie.ProtocolConfigurationOptions, 0))
	return g, nil
}

// readPCO takes DNS servers and MTU out of the answer's PCO; what it doesn't
// know it ignores.
func (g *granted) readPCO(pco *ie.IE) {
	if pco == nil {
		return
	}
	fields, err := pco.ProtocolConfigurationOptions()
	if err != nil {
		return
	}
	for _, option := range fields.ProtocolOrContainers {
		switch {
		case option.ID == pcoDNS && len(option.Contents) == 4:
			g.dns = append(g.dns, netip.AddrFrom4([4]byte(option.Contents)))
		case option.ID == pcoLinkMTU && len(option.Contents) == 2:
			g.mtu = int(option.Contents[0])<<8 | int(option.Contents[1])
		}
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
