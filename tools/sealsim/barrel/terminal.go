package barrel

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/tools/sealsim/coap"
)

// serveTerminal answers the terminal on the hotspot. Nobody else on that
// network is listened to.
func (c *connection) serveTerminal(_ context.Context, r coap.Request) coap.Response {
	if from, ok := r.Peer.(*net.UDPAddr); !ok || from.AddrPort().Addr().Unmap() != c.link.Router() {
		return coap.Response{Code: coap.Forbidden}
	}
	switch [2]string{r.Method.String(), r.Path} {
	case [2]string{"POST", wire.PathLocalUnlock}:
		return c.unlock(r.Payload)
	case [2]string{"GET", wire.PathLocalStatus}:
		return c.status(coap.Content)
	case [2]string{"GET", wire.PathLocalReceipts}:
		return c.receipts(r.Query)
	case [2]string{"POST", wire.PathLocalLock}:
		var lock wire.LocalLock
		if err := wire.UnmarshalCBOR(r.Payload, &lock); err != nil {
			return refusal(coap.BadRequest, wire.CodeBadRequest, err.Error())
		}
		if c.life.do(func(m *Machine, now time.Time) []Action { return m.LocalLock(now, lock.Reason) }) != nil {
			return coap.Response{Code: coap.ServiceUnavailable}
		}
		return c.status(coap.Changed)
	}
	switch r.Path {
	case wire.PathLocalUnlock, wire.PathLocalStatus, wire.PathLocalReceipts, wire.PathLocalLock:
		return coap.Response{Code: coap.MethodNotAllowed}
	}
	return coap.Response{Code: coap.NotFound}
}

// unlock is POST /unlock: it is answered once the grant is accepted, and before
// anybody is verified.
func (c *connection) unlock(payload []byte) coap.Response {
	var request wire.UnlockRequest
	if err := wire.UnmarshalCBOR(payload, &request); err != nil {
		return refusal(coap.BadRequest, wire.CodeBadRequest, err.Error())
	}
	var answer wire.UnlockAnswer
	var err error
	if c.life.do(func(m *Machine, now time.Time) (acts []Action) {
		answer, acts, err = m.Unlock(now, request)
		return acts
	}) != nil {
		return coap.Response{Code: coap.ServiceUnavailable}
	}
	var refused *RefusedError
	if errors.As(err, &refused) {
		return refusal(coap.Forbidden, refused.Code, refused.Detail)
	}
	return coap.Response{Code: coap.Created, Format: wire.ContentCBOR, Payload: wire.MarshalCBOR(answer)}
}

// receipts is GET /receipts?use=<id>.
func (c *connection) receipts(query []string) coap.Response {
	for _, q := range query {
		value, ok := strings.CutPrefix(q, "use=")
		use, err := strconv.ParseUint(value, 10, 64)
		if !ok || err != nil {
			continue
		}
		var kept wire.LocalReceipts
		if c.life.do(func(m *Machine, _ time.Time) []Action { kept = m.Receipts(use); return nil }) != nil {
			return coap.Response{Code: coap.ServiceUnavailable}
		}
		return coap.Response{Code: coap.Content, Format: wire.ContentCBOR, Payload: wire.MarshalCBOR(kept)}
	}
	return refusal(coap.BadRequest, wire.CodeBadRequest, "want the query use=<number>")
}

func refusal(status coap.Code, code wire.Code, detail string) coap.Response {
	return coap.Response{Code: status, Format: wire.ContentProblem, Payload: wire.MarshalCBOR(wire.ConciseProblem{Title: code, Detail: detail})}
}
