package gtp

import "github.com/wmnsk/go-gtp/gtpv2/message"

// DefinedOn tells whether a GTPv2 request of that type is defined between a PGW
// and a peer whose control F-TEID has that interface type: S5/S8, S2b or S2a
// (TS 29.274 table 6.1-1). What isn't is discarded in silence (7.7.5).
func DefinedOn(typ, interfaceType uint8) bool {
	switch interfaceType {
	case InterfaceS5S8SGWControl:
		_, ok := replies[typ]
		return ok
	case InterfaceS2bControl:
		return typ == TypeModifyBearerRequest || onWLAN(typ)
	case InterfaceS2aControl:
		return onWLAN(typ)
	}
	return false
}

// onWLAN tells the requests that an ePDG and a TWAN have in common.
func onWLAN(typ uint8) bool {
	switch typ {
	case TypeEchoRequest, TypeCreateSessionRequest, TypeDeleteSessionRequest,
		message.MsgTypeModifyBearerCommand, typeBearerResourceCommand, message.MsgTypeDeletePDNConnectionSetRequest:
		return true
	}
	return false
}

// onInterface tells whether a request is defined on the interface that its own
// F-TEID names. One that names none, or none of ours, is left to other checks.
func onInterface(m Message) bool {
	var sender FTEID
	switch m := m.(type) {
	case *ModifyBearerRequest:
		sender = m.Sender
	case *SuspendNotification:
		sender = m.Sender
	case *ResumeNotification:
		sender = m.Sender
	case *Other:
		sender = m.Sender
	}
	_, ours := interfaces[sender.InterfaceType]
	return !ours || DefinedOn(m.Head().Type, sender.InterfaceType)
}
