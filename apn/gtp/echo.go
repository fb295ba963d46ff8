package gtp

import (
	ie1 "github.com/wmnsk/go-gtp/gtpv1/ie"
	"github.com/wmnsk/go-gtp/gtpv2/ie"
	"github.com/wmnsk/go-gtp/gtpv2/message"
)

// EchoRequest asks whether the path lives (TS 29.274 7.1.1). A request without
// its restart counter is answered all the same: an Echo Response has no cause to
// refuse with, and silence would say that the path is dead.
type EchoRequest struct {
	Header
	Recovery *uint8 // the sender's restart counter; nil: missing
}

// EchoResponse says that it does (TS 29.274 7.1.2).
type EchoResponse struct {
	Header
	Recovery uint8 // the sender's restart counter
}

// Marshal encodes the request; of the header only Version and Seq count. In
// GTPv1 it has no restart counter (TS 29.060 7.2.1).
func (m *EchoRequest) Marshal() []byte {
	if m.Version == 1 {
		return encodeV1(TypeEchoRequest, 0, m.Seq)
	}
	var recovery uint8
	if m.Recovery != nil {
		recovery = *m.Recovery
	}
	return echo(TypeEchoRequest, m.Seq, recovery)
}

// Marshal encodes the response; of the header only Version and Seq count.
func (m *EchoResponse) Marshal() []byte {
	if m.Version == 1 {
		return encodeV1(TypeEchoResponse, 0, m.Seq, ie1.NewRecovery(m.Recovery))
	}
	return echo(TypeEchoResponse, m.Seq, m.Recovery)
}

func echo(typ uint8, seq uint32, recovery uint8) []byte {
	return encode(message.NewGenericWithoutTEID(typ, 0, seq, ie.NewRecovery(recovery)))
}
