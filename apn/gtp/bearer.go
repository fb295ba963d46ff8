package gtp

import (
	"github.com/wmnsk/go-gtp/gtpv2/ie"
	"github.com/wmnsk/go-gtp/gtpv2/message"
)

// ModifyBearerCommand is the subscription's new quality of service, which the
// HSS had the MME pass on (TS 29.274 7.2.14.1). It is answered by an Update
// Bearer Request with the same sequence number, or by a failure indication
// (Refusal).
type ModifyBearerCommand struct {
	Header
	AMBRUpKbps, AMBRDownKbps uint32
	Bearer                   Bearer // the default one; User is not told; QCI 0: no Bearer QoS was given
	Sender                   FTEID  // the peer's last control F-TEID; zero when not told
}

func parseModifyBearerCommand(h Header, e elements) (*ModifyBearerCommand, *Error) {
	m := &ModifyBearerCommand{Header: h}
	var err *Error
	var told bool
	if m.AMBRUpKbps, m.AMBRDownKbps, told, err = e.ambr(); err != nil {
		return nil, err
	}
	if !told {
		return nil, missing(ie.AggregateMaximumBitRate, 0)
	}
	list, err := e.bearers(0)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, missing(ie.BearerContext, 0)
	}
	ebi, err := list[0].ebi(0)
	if err == nil && !ebi.Set {
		err = missing(ie.EPSBearerID, 0)
	}
	if err == nil {
		m.Bearer.EBI = ebi.Value
		m.Bearer.QCI, m.Bearer.ARP, _, err = list[0].bearerQoS()
	}
	if err != nil {
		return nil, err.within(ie.BearerContext)
	}
	if m.Sender, err = e.sender(); err != nil {
		return nil, err
	}
	return m, nil
}

// UpdateBearerRequest changes the quality of service of a session's default
// bearer (TS 29.274 7.2.15).
type UpdateBearerRequest struct {
	TEID                     uint32 // of the peer's control plane
	Seq                      uint32 // of the command that triggered it, or our own
	AMBRUpKbps, AMBRDownKbps uint32
	Bearer                   Bearer // User is not sent; QCI 0: only the AMBR changes
}

// Marshal encodes the request.
func (m *UpdateBearerRequest) Marshal() []byte {
	bearer := []*ie.IE{ie.NewEPSBearerID(m.Bearer.EBI)}
	if m.Bearer.QCI != 0 {
		bearer = append(bearer, bearerQoS(m.Bearer))
	}
	return encode(message.NewUpdateBearerRequest(m.TEID, m.Seq,
		ie.NewGroupedIE(ie.BearerContext, bearer...),
		ie.NewAggregateMaximumBitRate(m.AMBRUpKbps, m.AMBRDownKbps)))
}

// UpdateBearerResponse is the peer's answer (TS 29.274 7.2.16). Cause is the
// bearer's own when the message's accepts only partially, and 0 when the
// response can't be read.
type UpdateBearerResponse struct {
	Header
	Cause    Cause
	Recovery *uint8
}

func parseUpdateBearerResponse(h Header, e elements) *UpdateBearerResponse {
	return &UpdateBearerResponse{Header: h, Cause: e.outcome(), Recovery: e.recovery()}
}

// outcome is the Cause of a response about bearers; 0 when there is none. With
// "request accepted partially" it is the first refusal among the bearers'.
func (e elements) outcome() Cause {
	message, err := e.uint8(ie.Cause, 0)
	if err != nil || !message.Set {
		return 0
	}
	if Cause(message.Value) != CauseAcceptedPartially {
		return Cause(message.Value)
	}
	list, err := e.bearers(0)
	if err != nil {
		return 0
	}
	for _, b := range list {
		if c, err := b.uint8(ie.Cause, 0); err == nil && c.Set && !Cause(c.Value).Accepted() {
			return Cause(c.Value)
		}
	}
	return CauseAcceptedPartially
}
