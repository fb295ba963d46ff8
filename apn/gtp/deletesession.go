package gtp

import (
	"github.com/wmnsk/go-gtp/gtpv2/ie"
	"github.com/wmnsk/go-gtp/gtpv2/message"
)

// DeleteSessionRequest ends a PDN connection (TS 29.274 7.2.9.1).
type DeleteSessionRequest struct {
	Header
	LinkedEBI    uint8  // of the default bearer
	Sender       FTEID  // the peer's last control F-TEID; zero when not told
	UserLocation []byte // where the terminal was last
}

func parseDeleteSessionRequest(h Header, e elements) (*DeleteSessionRequest, *Error) {
	linked, err := e.ebi(0)
	if err != nil {
		return nil, err
	}
	if !linked.Set {
		// Conditional, but on S5/S8 nothing but a move of the SGW lets it go, and
		// then no request comes this way (table 7.2.9.1-1).
		return nil, conditional(ie.EPSBearerID, 0)
	}
	sender, err := e.sender()
	if err != nil {
		return nil, err
	}
	// Operation and Scope Indication together are an error (table 7.2.9.1-1, note
	// 1). Alone they are between MME and SGW and say nothing here.
	if v, _ := e.find(ie.Indication, 0); len(v) >= 2 && v[0]&0x08 != 0 && v[1]&0x02 != 0 {
		return nil, incorrect(ie.Indication, 0)
	}
	return &DeleteSessionRequest{
		Header: h, LinkedEBI: linked.Value, Sender: sender, UserLocation: e.location(),
	}, nil
}

// DeleteSessionResponse answers a Delete Session Request that was carried out
// (TS 29.274 7.2.10.1).
type DeleteSessionResponse struct {
	TEID     uint32 // of the peer's control plane
	Seq      uint32
	Cause    Cause
	Recovery uint8
}

// Marshal encodes the response.
func (m *DeleteSessionResponse) Marshal() []byte {
	return encode(message.NewDeleteSessionResponse(m.TEID, m.Seq, causeElement(m.Cause, nil), ie.NewRecovery(m.Recovery)))
}

// DeleteBearerRequest tells the peer that the gateway ends a PDN connection
// (TS 29.274 7.2.9.2): it names the default bearer, and with it all go. It
// carries no cause, because "reactivation requested" would bring the terminal
// back at once.
type DeleteBearerRequest struct {
	TEID      uint32 // of the peer's control plane
	Seq       uint32
	LinkedEBI uint8
}

// Marshal encodes the request.
func (m *DeleteBearerRequest) Marshal() []byte {
	return encode(message.NewDeleteBearerRequest(m.TEID, m.Seq, ie.NewEPSBearerID(m.LinkedEBI)))
}

// DeleteBearerResponse is the peer's answer (TS 29.274 7.2.10.2). Cause is the
// bearer's own when the message's accepts only partially, and 0 when the
// response can't be read.
type DeleteBearerResponse struct {
	Header
	Cause    Cause
	Recovery *uint8
}

func parseDeleteBearerResponse(h Header, e elements) *DeleteBearerResponse {
	return &DeleteBearerResponse{Header: h, Cause: e.outcome(), Recovery: e.recovery()}
}
