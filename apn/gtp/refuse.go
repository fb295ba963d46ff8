package gtp

import (
	"fmt"

	"github.com/wmnsk/go-gtp/gtpv2/ie"
	"github.com/wmnsk/go-gtp/gtpv2/message"
)

// Refusal is an answer that grants nothing.
type Refusal struct {
	TEID   uint32     // the peer's control TEID; 0 when it isn't known or the cause is "context not found" (TS 29.274 5.5.2)
	Reason *Error     // why: its cause and offending element are sent
	PCO    *PCOAnswer // of a Create that failed to authenticate; nil: none
	// Recovery is our restart counter, for a peer that meets us first by being
	// refused (TS 29.274 7.2.2, 7.2.8); nil: not sent. Replies that have no such
	// element go without it.
	Recovery *uint8
}

// Marshal encodes the refusal of a request. It is nil when the request's type
// has no reply.
func (r Refusal) Marshal(m Message) []byte {
	h := m.Head()
	if h.Version == 1 {
		return r.marshalV1(m)
	}
	reply, ok := replies[h.Type]
	if !ok || r.Reason == nil || r.Reason.Cause == 0 {
		return nil
	}
	if reply == TypeEchoResponse {
		// An Echo Response has no cause to say no with (7.1.2).
		return nil
	}
	ies := []*ie.IE{causeElement(r.Reason.Cause, r.Reason)}
	if pco := r.PCO.element(); pco != nil && h.Type == TypeCreateSessionRequest {
		ies = append(ies, pco)
	}
	if r.Recovery != nil && recoveryIn(reply) {
		ies = append(ies, ie.NewRecovery(*r.Recovery))
	}
	if c, ok := m.(*ChangeNotificationRequest); ok {
		ies = append(ies, identities(c.IMSI, c.MEI)...) // as an exception (6.1.1)
	}
	x := extrasOf(m)
	switch h.Type {
	case typeBearerResourceCommand: // both are mandatory (table 7.2.6-1)
		if x.hasLinkedEBI {
			ies = append(ies, ie.NewEPSBearerID(x.linkedEBI))
		}
		if x.hasPTI {
			ies = append(ies, ie.NewProcedureTransactionID(x.pti))
		}
	case typeDeleteBearerCommand: // one for each bearer (table 7.2.17.2-1)
		for _, ebi := range x.bearers {
			ies = append(ies, bearerResult(BearerResult{EBI: ebi, Cause: r.Reason.Cause}, 0))
		}
	}
	return encode(message.NewGeneric(reply, r.TEID, h.Seq, ies...))
}

// recoveryIn tells whether a reply of that type has a Recovery element, which a
// refusal may carry too (TS 29.274 6.1.1).
func recoveryIn(reply uint8) bool {
	switch reply {
	case message.MsgTypeChangeNotificationResponse, message.MsgTypeSuspendAcknowledge, message.MsgTypeResumeAcknowledge, message.MsgTypeRemoteUEReportAcknowledge:
		return false
	}
	return true
}

func extrasOf(m Message) extras {
	switch m := m.(type) {
	case *Faulty:
		return m.extras
	case *Other:
		return m.extras
	}
	return extras{}
}

// SenderTEID returns the control TEID that a request brought with it, to answer
// to even when refusing; 0 when it brought none.
func SenderTEID(m Message) uint32 {
	switch m := m.(type) {
	case *CreateSessionRequest:
		return m.Sender.TEID
	case *ModifyBearerRequest:
		return m.Sender.TEID
	case *DeleteSessionRequest:
		return m.Sender.TEID
	case *ModifyBearerCommand:
		return m.Sender.TEID
	case *CreatePDPContextRequest:
		return m.Control.TEID
	case *UpdatePDPContextRequest:
		return m.Control.TEID
	case *SuspendNotification:
		return m.Sender.TEID
	case *ResumeNotification:
		return m.Sender.TEID
	case *Faulty:
		if m.senderTEID != 0 {
			return m.senderTEID
		}
		return m.Sender.TEID
	case *Other:
		return m.Sender.TEID
	}
	return 0
}

func parseOther(h Header, e elements) (*Other, *Error) {
	m := &Other{Header: h, extras: e.extras(h.Type)}
	var err *Error
	if m.Sender, err = e.fteid(senderInstance(h.Type)); err != nil {
		return nil, err
	}
	// What the reply must repeat has to be there (TS 29.274 7.2.5, 7.2.17.1).
	switch {
	case h.Type == typeBearerResourceCommand && !m.hasLinkedEBI:
		return nil, missing(ie.EPSBearerID, 0)
	case h.Type == typeBearerResourceCommand && !m.hasPTI:
		return nil, missing(ie.ProcedureTransactionID, 0)
	case h.Type == typeDeleteBearerCommand && len(m.bearers) == 0:
		return nil, missing(ie.BearerContext, 0)
	}
	return m, nil
}

// causeElement makes a Cause with the offending element, if there is one
// (TS 29.274 8.4). go-gtp leaves that element's instance out.
func causeElement(c Cause, offending *Error) *ie.IE {
	payload := []byte{byte(c), 0}
	if offending != nil && offending.Group == ie.BearerContext {
		payload[1] |= 0x02 // BCE: the error is in a Bearer Context
	}
	if offending != nil && offending.IE != 0 {
		payload = append(payload, offending.IE, 0, 0, offending.Instance&0x0f)
	}
	return ie.New(ie.Cause, 0, payload)
}

func fteidElement(f FTEID, instance uint8) *ie.IE {
	if f.Addr.Is6() {
		return ie.NewFullyQualifiedTEIDNetIP(f.InterfaceType, f.TEID, nil, f.Addr.AsSlice()).WithInstance(instance)
	}
	return ie.NewFullyQualifiedTEIDNetIP(f.InterfaceType, f.TEID, f.Addr.AsSlice(), nil).WithInstance(instance)
}

// bearerQoS carries no bit rates: a default bearer has none of its own
// (TS 29.274 8.15).
func bearerQoS(b Bearer) *ie.IE {
	v := make([]byte, 22)
	v[0], v[1] = b.ARP, b.QCI
	return ie.New(ie.BearerQoS, 0, v)
}

// encode marshals a message of ours. An error would be a fault of this program:
// sizes are computed, not read.
func encode(m message.Message) []byte {
	b, err := message.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("gtp: marshal %s: %v", m.MessageTypeName(), err))
	}
	return b
}
