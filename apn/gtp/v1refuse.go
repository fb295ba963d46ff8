package gtp

import (
	"github.com/wmnsk/go-gtp/gtpv1/ie"
)

// marshalV1 encodes the refusal of a request of GTPv1. It is nil when the request
// has no reply with a cause.
func (r Refusal) marshalV1(m Message) []byte {
	h := m.Head()
	if !answeredV1[h.Type] || h.Type == TypeEchoRequest || r.Reason == nil || r.Reason.Cause == 0 {
		return nil
	}
	teid, cause := r.TEID, r.Reason.v1
	if cause == 0 {
		cause = r.Reason.Cause.forV1(h.Type)
	}
	if r.Reason.Cause == CauseContextNotFound {
		teid = 0 // TS 29.060 8.2
	}
	ies := []*ie.IE{ie.NewCause(cause)}
	// Beside the cause there is nothing but this in a refusal (7.3.2, 7.3.4).
	switch h.Type {
	case TypeCreatePDPContextRequest, TypeUpdatePDPContextRequest:
		if r.Recovery != nil {
			ies = append(ies, ie.NewRecovery(*r.Recovery))
		}
		ies = append(ies, r.PCO.elementV1())
	case TypeMSInfoChangeNotification:
		x := extrasOf(m)
		if c, ok := m.(*ChangeNotificationRequest); ok {
			x = extras{imsi: imsiV1(c.IMSI.String()), linkedEBI: c.LinkedEBI, imei: c.MEI}
		}
		return marshalMSInfoChange(h, teid, cause, x)
	}
	return encodeV1(h.Type+1, teid, h.Seq, ies...)
}

// forV1 is the cause in the answer to a request of that type. What GTPv2 has one
// word for, GTPv1 calls by another name in each procedure (TS 29.060 7.7.1).
func (c Cause) forV1(request uint8) uint8 {
	if c == CauseContextNotFound {
		switch request {
		case TypeCreatePDPContextRequest:
			return pdpContextNotFound
		case TypeMSInfoChangeNotification:
			return identityNotKnown
		}
	}
	return c.V1()
}

// causeOfV1 is the cause that a peer's answer has, in the numbering of GTPv2; 0
// for one that has no counterpart among the causes known here.
func causeOfV1(v uint8) Cause {
	switch v {
	case 128:
		return CauseAccepted
	case 192:
		return CauseContextNotFound
	case 193:
		return CauseInvalidMessageFormat
	case 199:
		return CauseNoResources
	case 200:
		return CauseServiceNotSupported
	case 201:
		return CauseMandatoryIncorrect
	case 202:
		return CauseMandatoryMissing
	case 204:
		return CauseSystemFailure
	}
	return 0
}

// elementV1 is the answer for GTPv1, which carries the same octets as GTPv2
// (TS 29.060 7.7.31).
func (a *PCOAnswer) elementV1() *ie.IE {
	if v := a.octets(); v != nil {
		return ie.New(ie.ProtocolConfigurationOptions, v)
	}
	return nil
}

// extras reads what the answer to an MS Info Change Notification Request repeats
// (TS 29.060 7.5B.1.2). An IMSI that makes no sense is not: it would make the
// answer malformed, and its receiver knows nobody by it.
func (e elementsV1) extras() (x extras) {
	if imsi, err := e.imsi(); err == nil {
		x.imsi = imsiV1(imsi.String())
	}
	if v, ok := e.find(ie.IMEISV, 0); ok {
		x.imei = append([]byte(nil), v...)
	}
	if n, err := e.nsapi(); err == nil {
		x.linkedEBI = n
	}
	return x
}
