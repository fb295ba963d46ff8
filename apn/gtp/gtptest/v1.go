package gtptest

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/wmnsk/go-gtp/gtpv1/ie"
	"github.com/wmnsk/go-gtp/gtpv1/message"
)

// SGSN is a serving GPRS support node with one PDP context, over GTPv1. NewSGSN
// makes one.
type SGSN struct {
	Addr        netip.Addr // for signalling and user traffic
	ControlTEID uint32
	UserTEID    uint32
	Seq         uint16
	IMSI        string
	MSISDN      string
	IMEI        string
	APN         string
	MCC, MNC    string // MNC of two digits
	RAT         uint8
	NSAPI       uint8
	PDPType     uint8  // number within the IETF's: 0x21, 0x57 or 0x8d
	QoS         []byte // the whole value of the element
	PCO         []byte // the same; nil: none
	Restarts    uint8
}

// NewSGSN returns an SGSN with a context of ordinary values: IPv4 over UTRAN,
// interactive class, 16 Mbit/s up and 42 Mbit/s down.
func NewSGSN() SGSN {
	return SGSN{
		Addr: netip.MustParseAddr("127.0.20.1"), ControlTEID: 0x55556666, UserTEID: 0x77778888, Seq: 0x0b0c,
		IMSI: "460011234567890", MSISDN: "8613912345678", IMEI: "3520990017614823", APN: "seal.corp.mnc001.mcc460.gprs",
		MCC: "460", MNC: "01", RAT: 1, NSAPI: 5, PDPType: 0x21, PCO: optionsV1(), Restarts: 7,
		QoS: []byte{2, 0x0b, 0x92, 0x1f, 0x73, 0x96, 0xfe, 0xfe, 0x74, 0x01, 0, 0, 0, 0x64, 0, 0x4a, 0},
	}
}

// optionsV1 ask for the same as PCO, beside operator-specific ones.
func optionsV1() []byte {
	return []byte{
		0x80,
		0x80, 0x21, 16, 1, 3, 0, 16, 129, 6, 0, 0, 0, 0, 131, 6, 0, 0, 0, 0,
		0x00, 0x0d, 0,
		0x00, 0x0c, 0,
		0x00, 0x10, 0,
		0xff, 0x00, 4, 0x64, 0xf0, 0x10, 1,
	}
}

func (s SGSN) gsn() *ie.IE { return ie.NewGSNAddressByIP(net.IP(s.Addr.AsSlice())) }

// CreateElements are those of a Create PDP Context Request that activates a
// first context (TS 29.060 7.3.1), in their order.
func (s SGSN) CreateElements() []*ie.IE {
	list := []*ie.IE{
		ie.NewIMSI(s.IMSI),
		ie.NewRouteingAreaIdentity(s.MCC, s.MNC, 0xfffe, 0xff),
		ie.NewRecovery(s.Restarts),
		ie.NewSelectionMode(0xf0),
		ie.NewTEIDDataI(s.UserTEID),
		ie.NewTEIDCPlane(s.ControlTEID),
		ie.NewNSAPI(s.NSAPI),
		ie.New(ie.ChargingCharacteristics, []byte{8, 0}),
		ie.New(ie.EndUserAddress, []byte{0xf1, s.PDPType}),
		ie.NewAccessPointName(s.APN),
		ie.New(ie.ProtocolConfigurationOptions, s.PCO),
		s.gsn(),
		s.gsn(),
		ie.NewMSISDN(s.MSISDN),
		ie.NewQoSProfile(s.QoS),
		ie.NewCommonFlags(1, 0, 0, 0, 0, 0, 0, 0),
		ie.NewAPNRestriction(0),
		ie.NewRATType(s.RAT),
		s.Location(),
		ie.New(ie.MSTimeZone, []byte{0x40, 0}),
		ie.NewIMEISV(s.IMEI),
		ie.New(ie.AggregateMaximumBitRate, []byte{0, 1, 0x86, 0xa0, 0, 3, 0x0d, 0x40}), // 100 and 200 Mbit/s
	}
	if s.PCO == nil {
		list = append(list[:10], list[11:]...)
	}
	return list
}

// Location is a service area of the SGSN's network.
func (s SGSN) Location() *ie.IE {
	return ie.NewUserLocationInformationWithSAI(s.MCC, s.MNC, 1, 2)
}

// Create makes a Create PDP Context Request.
func (s SGSN) Create() []byte {
	return s.Request(message.MsgTypeCreatePDPContextRequest, 0, s.CreateElements()...)
}

// UpdateElements are those of an Update PDP Context Request (TS 29.060 7.3.3) of
// an SGSN that has taken the context over.
func (s SGSN) UpdateElements() []*ie.IE {
	return []*ie.IE{
		ie.NewIMSI(s.IMSI),
		ie.NewRouteingAreaIdentity(s.MCC, s.MNC, 0xfffe, 0xff),
		ie.NewRecovery(s.Restarts),
		ie.NewTEIDDataI(s.UserTEID),
		ie.NewTEIDCPlane(s.ControlTEID),
		ie.NewNSAPI(s.NSAPI),
		s.gsn(),
		s.gsn(),
		ie.NewQoSProfile(s.QoS),
		ie.NewRATType(s.RAT),
		s.Location(),
	}
}

// Update makes an Update PDP Context Request of the context with that TEID.
func (s SGSN) Update(teid uint32) []byte {
	return s.Request(message.MsgTypeUpdatePDPContextRequest, teid, s.UpdateElements()...)
}

// Delete makes a Delete PDP Context Request of the context with that TEID.
func (s SGSN) Delete(teid uint32) []byte {
	return s.Request(message.MsgTypeDeletePDPContextRequest, teid, ie.NewTeardownInd(true), ie.NewNSAPI(s.NSAPI))
}

// Deleted answers a Delete PDP Context Request of the gateway's.
func (s SGSN) Deleted(teid uint32, cause uint8) []byte {
	return s.Request(message.MsgTypeDeletePDPContextResponse, teid, ie.NewCause(cause))
}

// InformElements are those of an MS Info Change Notification Request (TS 29.060
// 7.5B.1.1).
func (s SGSN) InformElements() []*ie.IE {
	return []*ie.IE{ie.NewIMSI(s.IMSI), ie.NewNSAPI(s.NSAPI), ie.NewRATType(s.RAT), s.Location(), ie.NewIMEISV(s.IMEI)}
}

// Inform makes an MS Info Change Notification Request of the context with that
// TEID.
func (s SGSN) Inform(teid uint32) []byte { return s.Request(128, teid, s.InformElements()...) }

// Echo makes an Echo Request.
func (s SGSN) Echo() []byte { return s.Request(message.MsgTypeEchoRequest, 0) }

// Request makes any message.
func (s SGSN) Request(typ uint8, teid uint32, ies ...*ie.IE) []byte {
	b, err := message.NewGeneric(typ, teid, s.Seq, ies...).Marshal()
	if err != nil {
		panic(err)
	}
	return b
}

// AnswerV1 is a message of ours as go-gtp reads it.
type AnswerV1 struct {
	Type     uint8
	TEID     uint32
	Seq      uint16
	Elements []*ie.IE
}

// ReadV1 reads a message of ours, and has it judged by Main. It panics when the
// message can't be read.
func ReadV1(b []byte) AnswerV1 {
	Sent(ControlPort, b)
	if len(b) < 12 || b[0] != 0x32 || int(binary.BigEndian.Uint16(b[2:]))+8 != len(b) {
		panic("gtptest: not a GTPv1-C message, or its length field is wrong")
	}
	a := AnswerV1{Type: b[1], TEID: binary.BigEndian.Uint32(b[4:]), Seq: binary.BigEndian.Uint16(b[8:])}
	var err error
	if a.Elements, err = ie.ParseMultiIEs(b[12:]); err != nil {
		panic(err)
	}
	return a
}

// Find returns the value of the nth element of a type, counted from 0; nil when
// there is none.
func (a AnswerV1) Find(typ uint8, nth int) []byte {
	for _, e := range a.Elements {
		if e.Type != typ {
			continue
		}
		if nth == 0 {
			return e.Payload
		}
		nth--
	}
	return nil
}

// Cause returns the Cause value, 0 when there is none.
func (a AnswerV1) Cause() uint8 {
	if v := a.Find(ie.Cause, 0); v != nil {
		return v[0]
	}
	return 0
}

// TEIDOf returns the TEID of an element of that type: of the control plane or of
// data. 0: there is none.
func (a AnswerV1) TEIDOf(typ uint8) uint32 {
	if v := a.Find(typ, 0); len(v) == 4 {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}
