package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
)

const (
	// rememberFor is how long a result without a scope is kept, in cluster
	// time: longer than any client repeats a request.
	rememberFor = 10 * time.Minute
	// looseLimit bounds the results without a scope, whatever their age; at
	// more than a hundred commands a second the oldest go before their time.
	looseLimit = 1 << 16
	// scopeLimit bounds the results of one session or order. What matters
	// beyond it is idempotent of itself: uses by their request, receipts and
	// images by their number, disconnects by their source.
	scopeLimit = 256
)

func sessionScope(id uint64) string { return "session:" + strconv.FormatUint(id, 10) }

func orderScope(number string) string { return "order:" + number }

// askedFor digests what a command asks for, leaving out how it was decided: a
// repeat that was decided anew, under a newer policy or with other entropy,
// still is the same request.
func askedFor(c *command.Command, payload proto.Message) [32]byte {
	b := c.Payload
	switch p := payload.(type) {
	case *command.OpenSession:
		b = command.Marshal(&command.OpenSession{Imsi: p.Imsi, Apn: p.Apn, Gtp: p.Gtp, GatewayAddress: p.GatewayAddress})
	case *command.AttachWireGuard:
		b = command.Marshal(&command.AttachWireGuard{Imsi: p.Imsi, Apn: p.Apn, PublicKey: p.PublicKey, GatewayAddress: p.GatewayAddress})
	case *command.LeaseFallback:
		b = command.Marshal(&command.LeaseFallback{Imsi: p.Imsi, PublicKey: p.PublicKey, IssuedByOperator: p.IssuedByOperator})
	case *command.ReserveUses:
		b = command.Marshal(&command.ReserveUses{Order: p.Order, Barrel: p.Barrel, Imsi: p.Imsi, User: p.User})
	case *command.ProposeChange:
		b = command.Marshal(&command.ProposeChange{Policy: p.Policy, Devices: p.Devices, Reason: p.Reason, RollbackTo: p.RollbackTo, BreakGlass: p.BreakGlass})
	}
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(c.Type)))
	h.Write(b)
	return [32]byte(h.Sum(nil))
}

// answerAgain gives the answer of a request that was carried out before.
func answerAgain(r *command.Remembered, asked [32]byte) *command.Result {
	if !bytes.Equal(r.PayloadSha256, asked[:]) {
		return invalid("this request id was used for another request; take a new one").result()
	}
	return answerOf(r)
}

func answerOf(r *command.Remembered) *command.Result {
	result := new(command.Result)
	if err := proto.Unmarshal(r.Result, result); err != nil {
		panic("state: a remembered result is damaged: " + err.Error()) // marshalled here, or checked by ReadSnapshot
	}
	return result
}

// Answered returns the remembered result of a client's request, nil when there
// is none or none any more. A proposer asks it before deciding a repeated
// request anew: what the decision was based on may have changed since, the
// answer must not.
func (m *Machine) Answered(clientID, requestID string) *command.Result {
	r := m.remembered.get(pair{clientID, requestID})
	if r == nil {
		return nil
	}
	return answerOf(r)
}

// remember keeps the answer to a request id: within the scope of its session
// or order when it was carried out, for a time when it was refused. A conflict
// is not kept, nor that orders were frozen: the same request is decided once more.
func (m *Machine) remember(c *command.Command, asked [32]byte, o outcome, result []byte) {
	if o.code == command.Code_CONFLICT || o.code == command.Code_FROZEN {
		return
	}
	r := &command.Remembered{
		ClientId: c.ClientId, RequestId: c.RequestId, Result: result,
		Applied: m.clock, Scope: o.scope, PayloadSha256: asked[:], Index: m.index,
	}
	m.indexRemembered(r)
	switch {
	case r.Scope != "":
		n := 0
		for k := range m.scopes.from(numbered{r.Scope, 0}) {
			if k.name != r.Scope {
				break
			}
			n++
		}
		if n > scopeLimit {
			m.forgetOldest(r.Scope)
		}
	case m.loose > looseLimit:
		m.forgetOldest("")
	}
}

func (m *Machine) indexRemembered(r *command.Remembered) {
	m.remembered.set(pair{r.ClientId, r.RequestId}, r)
	m.scopes.set(numbered{r.Scope, r.Index}, r)
	if r.Scope == "" {
		m.loose++
	}
}

// oldest returns the oldest result of a scope, nil if it has none.
func (m *Machine) oldest(scope string) *command.Remembered {
	for k, r := range m.scopes.from(numbered{scope, 0}) {
		if k.name != scope {
			break
		}
		return r
	}
	return nil
}

func (m *Machine) forgetOldest(scope string) {
	if r := m.oldest(scope); r != nil {
		m.scopes.delete(numbered{scope, r.Index})
		m.remembered.delete(pair{r.ClientId, r.RequestId})
		if scope == "" {
			m.loose--
		}
	}
}

// forgetScope drops all results of a session or order that is over.
func (m *Machine) forgetScope(scope string) {
	for m.oldest(scope) != nil {
		m.forgetOldest(scope)
	}
}

// forgetExpired drops the results without a scope that are old enough. The
// clock never goes back, so the order of the log is the order of age.
func (m *Machine) forgetExpired() {
	for r := m.oldest(""); r != nil && m.clock-r.Applied >= int64(rememberFor); r = m.oldest("") {
		m.forgetOldest("")
	}
}
