// Package gtptest plays the carrier's side in tests of the GTP rooms: it builds
// requests with go-gtp directly, not with our codec, and has Wireshark's
// dissector judge what we send.
package gtptest

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/wmnsk/go-gtp/gtpv2/ie"
	"github.com/wmnsk/go-gtp/gtpv2/message"
)

// SGW is a serving gateway with one session. The zero value is completed by
// New.
type SGW struct {
	Addr        netip.Addr
	ControlTEID uint32
	UserTEID    uint32
	Seq         uint32
	IMSI        string
	MSISDN      string
	IMEI        string
	APN         string
	MCC, MNC    string
	RAT         uint8
	EBI         uint8
	Restarts    uint8
}

// New returns an SGW with a session of ordinary values.
func New() SGW {
	return SGW{
		Addr: netip.MustParseAddr("127.0.20.1"), ControlTEID: 0x11112222, UserTEID: 0x33334444, Seq: 0x0a0b0c,
		IMSI: "460011234567890", MSISDN: "8613912345678", IMEI: "3520990017614823", APN: "seal.corp.mnc001.mcc460.gprs",
		MCC: "460", MNC: "01", RAT: 6, EBI: 5, Restarts: 7,
	}
}

func (s SGW) ip() net.IP { return s.Addr.AsSlice() }

// CreateElements are those of a Create Session Request on S5/S8 at an E-UTRAN
// initial attach (TS 29.274 7.2.1).
func (s SGW) CreateElements() []*ie.IE {
	return []*ie.IE{
		ie.NewIMSI(s.IMSI),
		ie.NewMSISDN(s.MSISDN),
		ie.NewMobileEquipmentIdentity(s.IMEI),
		ie.NewServingNetwork(s.MCC, s.MNC),
		ie.NewRATType(s.RAT),
		ie.NewIndicationFromOctets(0x80, 0, 0),
		ie.NewFullyQualifiedTEIDNetIP(6, s.ControlTEID, s.ip(), nil),
		ie.NewAccessPointName(s.APN),
		ie.NewSelectionMode(0),
		ie.NewPDNType(1),
		ie.NewPDNAddressAllocation("0.0.0.0"),
		ie.NewAPNRestriction(0),
		ie.NewAggregateMaximumBitRate(100000, 200000),
		PCO(),
		s.Bearer(),
		ie.NewRecovery(s.Restarts),
		Location(),
	}
}

// Bearer is the Bearer Context to be created.
func (s SGW) Bearer() *ie.IE {
	return ie.NewGroupedIE(ie.BearerContext,
		ie.NewEPSBearerID(s.EBI),
		ie.NewFullyQualifiedTEIDNetIP(4, s.UserTEID, s.ip(), nil).WithInstance(2),
		ie.NewBearerQoS(1, 8, 1, 9, 0, 0, 0, 0),
	)
}

// PCO asks for DNS servers, the MTU and IPCP's DNS options, beside what nobody
// knows.
func PCO() *ie.IE {
	return ie.New(ie.ProtocolConfigurationOptions, 0, []byte{
		0x80,
		0x80, 0x21, 16, 1, 3, 0, 16, 129, 6, 0, 0, 0, 0, 131, 6, 0, 0, 0, 0,
		0x00, 0x0d, 0,
		0x00, 0x0c, 0,
		0x00, 0x10, 0,
		0xff, 0x00, 4, 0x64, 0xf0, 0x10, 1,
	})
}

// Create makes a Create Session Request.
func (s SGW) Create() []byte {
	return s.Request(message.MsgTypeCreateSessionRequest, 0, s.CreateElements()...)
}

// Modify makes a Modify Bearer Request of the session with that TEID; with
// moved, as a new SGW whose F-TEIDs it carries.
func (s SGW) Modify(teid uint32, moved bool) []byte {
	bearer := []*ie.IE{ie.NewEPSBearerID(s.EBI)}
	ies := []*ie.IE{ie.NewRATType(s.RAT), ie.NewServingNetwork(s.MCC, s.MNC), ie.NewRecovery(s.Restarts)}
	if moved {
		ies = append(ies, ie.NewFullyQualifiedTEIDNetIP(6, s.ControlTEID, s.ip(), nil))
		bearer = append(bearer, ie.NewFullyQualifiedTEIDNetIP(4, s.UserTEID, s.ip(), nil).WithInstance(1))
	}
	ies = append(ies, ie.NewGroupedIE(ie.BearerContext, bearer...))
	return s.Request(message.MsgTypeModifyBearerRequest, teid, ies...)
}

// Delete makes a Delete Session Request of the session with that TEID.
func (s SGW) Delete(teid uint32) []byte {
	return s.Request(message.MsgTypeDeleteSessionRequest, teid, ie.NewEPSBearerID(s.EBI))
}

// sender is the F-TEID for the control plane, which SGWs send along in commands
// and notifications.
func (s SGW) sender() *ie.IE { return ie.NewFullyQualifiedTEIDNetIP(6, s.ControlTEID, s.ip(), nil) }

// ModifyCommand makes a Modify Bearer Command of the session with that TEID: a
// new subscription of 30 and 40 Mbit/s, QCI 8. A command's sequence number has
// its top bit set (TS 29.274 7.6).
func (s SGW) ModifyCommand(teid uint32) []byte {
	s.Seq |= 0x800000
	return s.Request(message.MsgTypeModifyBearerCommand, teid, s.sender(), ie.NewAggregateMaximumBitRate(30000, 40000),
		ie.NewGroupedIE(ie.BearerContext, ie.NewEPSBearerID(s.EBI), ie.NewBearerQoS(1, 9, 1, 8, 0, 0, 0, 0)))
}

// Change makes a Change Notification Request of the session with that TEID.
func (s SGW) Change(teid uint32) []byte {
	return s.Request(message.MsgTypeChangeNotificationRequest, teid, ie.NewIMSI(s.IMSI), ie.NewMobileEquipmentIdentity(s.IMEI),
		ie.NewRATType(s.RAT), Location(), ie.NewEPSBearerID(s.EBI))
}

// Suspend makes a Suspend Notification of the session with that TEID.
func (s SGW) Suspend(teid uint32) []byte {
	return s.Request(message.MsgTypeSuspendNotification, teid, s.sender())
}

// Resume makes a Resume Notification of the session with that TEID.
func (s SGW) Resume(teid uint32) []byte {
	return s.Request(message.MsgTypeResumeNotification, teid, ie.NewIMSI(s.IMSI), s.sender())
}

// LostSets makes a Delete PDN Connection Set Request about sets of the SGW.
func (s SGW) LostSets(csids ...uint16) []byte {
	return s.Request(message.MsgTypeDeletePDNConnectionSetRequest, 0, s.ConnectionSet(1, csids...))
}

// ConnectionSet is an FQ-CSID of the SGW's address.
func (s SGW) ConnectionSet(instance uint8, csids ...uint16) *ie.IE {
	return ie.NewFullyQualifiedCSID(s.Addr.String(), csids...).WithInstance(instance)
}

// Location is a User Location Information of TAI and ECGI.
func Location() *ie.IE {
	return ie.New(ie.UserLocationInformation, 0, []byte{0x18, 0x64, 0xf0, 0x10, 0, 1, 0x64, 0xf0, 0x10, 0, 0, 0, 1})
}

// Request makes any message with a TEID.
func (s SGW) Request(typ uint8, teid uint32, ies ...*ie.IE) []byte {
	b, err := message.Marshal(message.NewGeneric(typ, teid, s.Seq, ies...))
	if err != nil {
		panic(err)
	}
	return b
}

// Requests are one of each request that a gateway carries out, by name; those of
// a session name it by that TEID.
func (s SGW) Requests(teid uint32) map[string][]byte {
	return map[string][]byte{
		"echo": s.Echo(), "create": s.Create(), "modify": s.Modify(teid, true), "delete": s.Delete(teid),
		"modify-command": s.ModifyCommand(teid), "change": s.Change(teid), "suspend": s.Suspend(teid), "resume": s.Resume(teid),
		"lost-sets": s.LostSets(3, 9),
	}
}

// Echo makes an Echo Request.
func (s SGW) Echo() []byte {
	b, err := message.Marshal(message.NewGenericWithoutTEID(message.MsgTypeEchoRequest, 0, s.Seq, ie.NewRecovery(s.Restarts)))
	if err != nil {
		panic(err)
	}
	return b
}

// Answer is a message of ours as go-gtp reads it: type, TEID, sequence number
// and elements.
type Answer struct {
	Type     uint8
	TEID     uint32
	Seq      uint32
	Elements []*ie.IE
}

// Read reads a message of ours, and has it judged by Main. It panics when the
// message can't be read.
func Read(b []byte) Answer {
	Sent(ControlPort, b)
	if int(binary.BigEndian.Uint16(b[2:]))+4 != len(b) {
		panic("gtptest: length field and message disagree")
	}
	a := Answer{Type: b[1]}
	rest := b[4:]
	if b[0]&0x08 != 0 {
		a.TEID = binary.BigEndian.Uint32(rest)
		rest = rest[4:]
	}
	a.Seq = uint32(rest[0])<<16 | uint32(rest[1])<<8 | uint32(rest[2])
	var err error
	if a.Elements, err = ie.ParseMultiIEs(rest[4:]); err != nil {
		panic(err)
	}
	return a
}

// Find returns the first element of a type and instance, nil when there is none.
func (a Answer) Find(typ, instance uint8) *ie.IE { return Find(a.Elements, typ, instance) }

// Find returns the first of a list, nil when there is none.
func Find(list []*ie.IE, typ, instance uint8) *ie.IE {
	for _, e := range list {
		if e.Type == typ && e.Instance() == instance {
			return e
		}
	}
	return nil
}

// Cause returns the Cause value, 0 when there is none.
func (a Answer) Cause() uint8 {
	if e := a.Find(ie.Cause, 0); e != nil {
		return e.Payload[0]
	}
	return 0
}

// TEIDOf returns the TEID of an F-TEID element of an instance, 0 when there is
// none.
func (a Answer) TEIDOf(instance uint8) uint32 {
	if e := a.Find(ie.FullyQualifiedTEID, instance); e != nil {
		return e.MustTEID()
	}
	return 0
}
