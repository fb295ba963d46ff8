package gtp

import (
	"github.com/wmnsk/go-gtp/gtpv2/ie"
	"github.com/wmnsk/go-gtp/gtpv2/message"

	"github.com/sealedge/sealedge/policy/ident"
)

// ChangeNotificationRequest tells where the terminal is (TS 29.274 7.3.14; over
// GTPv1 an MS Info Change Notification, TS 29.060 7.5B.1).
//
// Peers of an early release send it with TEID 0: then IMSI and LinkedEBI name
// the session, and a request about an IMSI that isn't known is discarded in
// silence (7.3.15).
type ChangeNotificationRequest struct {
	Header
	IMSI         ident.IMSI // zero when not told
	MEI          []byte     // as it came, for the answer; empty when not told
	LinkedEBI    uint8      // or NSAPI; 0: not told
	RAT          uint8
	UserLocation []byte
}

func parseChangeNotificationRequest(h Header, e elements) (*ChangeNotificationRequest, *Error) {
	m := &ChangeNotificationRequest{
		Header: h, MEI: e.raw(ie.MobileEquipmentIdentity, 0), UserLocation: e.location(),
	}
	rat, err := e.uint8(ie.RATType, 0)
	if err != nil {
		return nil, err
	}
	if m.RAT = rat.Value; !rat.Set {
		return nil, missing(ie.RATType, 0)
	}
	if m.IMSI, err = number(e, ie.IMSI, ident.ParseIMSI); err != nil {
		return nil, err
	}
	ebi, err := e.ebi(0)
	if err != nil {
		return nil, err
	}
	m.LinkedEBI = ebi.Value
	return m, nil
}

// ChangeNotificationResponse answers it (TS 29.274 7.3.15). IMSI and MEI are
// those of the request and are sent when it had them.
type ChangeNotificationResponse struct {
	Version uint8 // 1 or 2
	TEID    uint32
	Seq     uint32
	Cause   Cause
	IMSI    ident.IMSI
	MEI     []byte
	EBI     uint8 // NSAPI that the request named, sent over GTPv1 when not 0
}

// Marshal encodes the response.
func (m *ChangeNotificationResponse) Marshal() []byte {
	if m.Version == 1 {
		return m.marshalV1()
	}
	ies := append(identities(m.IMSI, m.MEI), causeElement(m.Cause, nil))
	return encode(message.NewChangeNotificationResponse(m.TEID, m.Seq, ies...))
}

func identities(imsi ident.IMSI, mei []byte) (ies []*ie.IE) {
	if !imsi.IsZero() {
		ies = append(ies, ie.NewIMSI(imsi.String()))
	}
	if len(mei) > 0 {
		ies = append(ies, ie.New(ie.MobileEquipmentIdentity, 0, mei))
	}
	return ies
}

// SuspendNotification says that the terminal can't be reached for now, as in a
// call over 2G (TS 29.274 7.4.1).
type SuspendNotification struct {
	Header
	Sender FTEID // the peer's last control F-TEID; zero when not told
}

func parseSuspendNotification(h Header, e elements) (*SuspendNotification, *Error) {
	sender, err := e.sender()
	if err != nil {
		return nil, err
	}
	return &SuspendNotification{Header: h, Sender: sender}, nil
}

// SuspendAcknowledge answers it (TS 29.274 7.4.2).
type SuspendAcknowledge struct {
	TEID  uint32
	Seq   uint32
	Cause Cause
}

// Marshal encodes the acknowledgement.
func (m *SuspendAcknowledge) Marshal() []byte {
	return encode(message.NewSuspendAcknowledge(m.TEID, m.Seq, causeElement(m.Cause, nil)))
}

// ResumeNotification takes a suspension back (TS 29.274 7.4.3).
type ResumeNotification struct {
	Header
	Sender FTEID // the peer's last control F-TEID; zero when not told
}

func parseResumeNotification(h Header, e elements) (*ResumeNotification, *Error) {
	// The IMSI has to be there (table 7.4.3-1) but names nothing: it may be a
	// dummy.
	if imsi, ok := e.find(ie.IMSI, 0); !ok {
		return nil, missing(ie.IMSI, 0)
	} else if len(imsi) == 0 {
		return nil, tooShort(ie.IMSI, 0)
	}
	sender, err := e.sender()
	if err != nil {
		return nil, err
	}
	return &ResumeNotification{Header: h, Sender: sender}, nil
}

// ResumeAcknowledge answers it (TS 29.274 7.4.4).
type ResumeAcknowledge struct {
	TEID  uint32
	Seq   uint32
	Cause Cause
}

// Marshal encodes the acknowledgement.
func (m *ResumeAcknowledge) Marshal() []byte {
	return encode(message.NewResumeAcknowledge(m.TEID, m.Seq, causeElement(m.Cause, nil)))
}
