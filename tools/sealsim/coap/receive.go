package coap

import (
	"errors"
	"net"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// read serves the socket until it fails or is closed.
func (e *Endpoint) read() {
	defer func() { _ = e.shut() }()
	buf := make([]byte, maxMessage)
	for {
		n, peer, err := e.conn.ReadFrom(buf)
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				continue
			}
			return
		}
		e.receive(append([]byte(nil), buf[:n]...), peer)
	}
}

// receive handles one datagram, which is the message's from now on.
func (e *Endpoint) receive(b []byte, peer net.Addr) {
	m, err := decode(b)
	if err != nil {
		e.cfg.Logger.Debug("CoAP message dropped", "peer", peer, "error", err)
		// A confirmable message that can't be processed is rejected
		// (RFC 7252 4.2); one without a readable header is ignored.
		if len(b) >= 4 && b[0]>>6 == 1 && b[0]>>4&3 == byte(message.Confirmable) {
			e.empty(message.Reset, uint16(b[2])<<8|uint16(b[3]), peer)
		}
		return
	}
	mid := uint16(m.MessageID)
	switch {
	case m.Type == message.Reset:
		if x := e.byMID(peer, mid); x != nil {
			fail(x, ErrReset)
		}
	case m.Code == codes.Empty && m.Type == message.Acknowledgement:
		if x := e.byMID(peer, mid); x != nil {
			x.ack()
		}
	case m.Code == codes.Empty:
		if m.Type == message.Confirmable { // a ping
			e.empty(message.Reset, mid, peer)
		}
	case isRequest(m.Code):
		if m.Type == message.Confirmable || m.Type == message.NonConfirmable {
			e.request(m, peer)
		}
	default:
		e.answered(m, mid, peer)
	}
}

// answered hands a response to who waits for it.
func (e *Endpoint) answered(m message.Message, mid uint16, peer net.Addr) {
	e.mu.Lock()
	x := e.pending[exchangeKey(peer, m.Token)]
	e.mu.Unlock()
	switch {
	case x == nil && m.Type == message.Confirmable:
		e.empty(message.Reset, mid, peer)
		return
	case x == nil, m.Type == message.Acknowledgement && mid != x.mid:
		return
	}
	if m.Type == message.Confirmable {
		e.empty(message.Acknowledgement, mid, peer)
	}
	x.ack()
	select {
	case x.response <- toResponse(m):
	default: // a repeated separate response
	}
}

func fail(x *exchange, err error) {
	select {
	case x.failed <- err:
	default:
	}
}

func (e *Endpoint) byMID(peer net.Addr, mid uint16) *exchange {
	prefix := peer.String() + "\x00"
	e.mu.Lock()
	defer e.mu.Unlock()
	for key, x := range e.pending {
		if x.mid == mid && len(key) > len(prefix) && key[:len(prefix)] == prefix {
			return x
		}
	}
	return nil
}

// request carries a request out once, however often it is repeated
// (RFC 7252 4.5).
func (e *Endpoint) request(m message.Message, peer net.Addr) {
	id := messageID{peer.String(), uint16(m.MessageID)}
	e.mu.Lock()
	wire, again := e.recent.get(id)
	if !again {
		e.recent.put(id, nil)
	}
	e.mu.Unlock()
	if again {
		if wire != nil {
			_, _ = e.conn.WriteTo(wire, peer)
		}
		return // or it is being carried out just now
	}
	select {
	case <-e.closed:
		return
	default:
	}
	e.tasks.Go(func() { e.serve(m, id, peer) })
}

func (e *Endpoint) serve(m message.Message, id messageID, peer net.Addr) {
	response := Response{Code: BadRequest}
	if r, err := toRequest(m); err == nil {
		r.Peer = peer
		response = e.cfg.Handler(e.ctx, r)
	}
	kind, mid := message.Acknowledgement, uint16(m.MessageID)
	if m.Type == message.NonConfirmable {
		kind = message.NonConfirmable
		e.mu.Lock()
		e.nextMID++
		mid = e.nextMID
		e.mu.Unlock()
	}
	wire, err := encode(kind, response.Code, mid, m.Token, "", nil, response.Format, response.Payload)
	if err != nil {
		e.cfg.Logger.Error("encoding a CoAP response", "error", err)
		return
	}
	e.mu.Lock()
	e.recent.put(id, wire)
	e.mu.Unlock()
	_, _ = e.conn.WriteTo(wire, peer)
}

func (e *Endpoint) empty(t message.Type, mid uint16, peer net.Addr) {
	if wire, err := encode(t, codes.Empty, mid, nil, "", nil, 0, nil); err == nil {
		_, _ = e.conn.WriteTo(wire, peer)
	}
}

// messageID names a message of a peer.
type messageID struct {
	peer string
	mid  uint16
}

// remembered is how many requests an endpoint remembers.
const remembered = 256

// recent remembers requests and their responses; the oldest go first.
type recent struct {
	wires map[messageID][]byte // nil while the request is being carried out
	order []messageID
}

func (r *recent) get(id messageID) ([]byte, bool) {
	wire, ok := r.wires[id]
	return wire, ok
}

func (r *recent) put(id messageID, wire []byte) {
	if r.wires == nil {
		r.wires = make(map[messageID][]byte)
	}
	if _, known := r.wires[id]; !known {
		if len(r.order) == remembered {
			delete(r.wires, r.order[0])
			r.order = r.order[1:]
		}
		r.order = append(r.order, id)
	}
	r.wires[id] = wire
}
