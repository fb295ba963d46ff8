package gtp

import (
	"encoding/binary"

	"github.com/wmnsk/go-gtp/gtpv1/ie"
)

// Marshal encodes the response. There is no Charging Gateway Address in it: the
// SGSN has its own.
func (m *CreatePDPContextResponse) Marshal() []byte {
	control, user := gsnAddresses(m.Outer)
	return encodeV1(TypeCreatePDPContextRequest+1, m.TEID, m.Seq,
		ie.NewCause(m.Cause.V1()),
		ie.NewReorderingRequired(false), // IP doesn't ask for it
		ie.NewRecovery(m.Recovery),
		ie.NewTEIDDataI(m.UserTEID),
		ie.NewTEIDCPlane(m.ControlTEID),
		ie.NewNSAPI(m.NSAPI),
		ie.NewChargingID(m.ChargingID),
		m.PAA.endUserAddress(),
		m.PCO.elementV1(),
		control, user,
		m.QoS.element(),
		ambrV1(m.AMBRUpKbps, m.AMBRDownKbps),
	)
}

// Marshal encodes the response.
func (m *UpdatePDPContextResponse) Marshal() []byte {
	control, user := gsnAddresses(m.Outer)
	return encodeV1(TypeUpdatePDPContextRequest+1, m.TEID, m.Seq,
		ie.NewCause(m.Cause.V1()),
		ie.NewRecovery(m.Recovery),
		ie.NewTEIDDataI(m.UserTEID),
		ie.NewChargingID(m.ChargingID),
		m.PCO.elementV1(),
		control, user,
		m.QoS.element(),
		ambrV1(m.AMBRUpKbps, m.AMBRDownKbps),
	)
}

// ambrV1 encodes an APN-AMBR (TS 29.060 7.7.98); none for 0 both ways.
func ambrV1(up, down uint32) *ie.IE {
	if up == 0 && down == 0 {
		return nil
	}
	v := binary.BigEndian.AppendUint32(nil, up)
	return ie.New(ie.AggregateMaximumBitRate, binary.BigEndian.AppendUint32(v, down))
}

// Marshal encodes the request, which is ours then: the network ends the context.
// It carries no cause, because "reactivation requested" would bring the terminal
// back at once.
func (m *DeletePDPContextRequest) Marshal() []byte {
	return encodeV1(TypeDeletePDPContextRequest, m.TEID, m.Seq, ie.NewTeardownInd(m.Teardown), ie.NewNSAPI(m.NSAPI))
}

// Marshal encodes the response.
func (m *DeletePDPContextResponse) Marshal() []byte {
	return encodeV1(TypeDeletePDPContextResponse, m.TEID, m.Seq, ie.NewCause(m.Cause.V1()))
}
