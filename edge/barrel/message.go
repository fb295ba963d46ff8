package barrel

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/udp/coder"

	"github.com/sealedge/sealedge/edge/grant"
	"github.com/sealedge/sealedge/edge/wire"
)

const (
	// maxOptions bounds the options of a message; none of ours has more than
	// three.
	maxOptions = 16
	// maxPayload bounds the payload of a request (RFC 7252 5.9.2.9). The longest
	// that the API has is a signed message.
	maxPayload = grant.MaxSize
)

var (
	// errNotCoAP: silently ignored (RFC 7252 3).
	errNotCoAP = errors.New("not a CoAP message")
	// errFormat: rejected, that is answered with a Reset if it is confirmable
	// (RFC 7252 4.2 and 4.3).
	errFormat = errors.New("message format error")
)

// decode reads one message. With errFormat, the type and id of the message are
// set. The message keeps b.
//
// What was read is encoded again and compared: there is one way to write a
// message, and the codec drops what it finds odd, such as a critical option of
// a wrong length (RFC 7252 5.4.3) or a payload marker without a payload (RFC
// 7252 3), which are to be rejected.
func decode(b []byte) (message.Message, error) {
	m := message.Message{Options: make(message.Options, 0, maxOptions)}
	if len(b) < 4 || b[0]>>6 != 1 {
		return m, errNotCoAP
	}
	if _, err := coder.DefaultCoder.Decode(b, &m); err != nil {
		m.Type, m.MessageID = message.Type(b[0]>>4&3), int32(b[2])<<8|int32(b[3])
		return m, fmt.Errorf("%w: %v", errFormat, err)
	}
	if again, err := encode(m); err != nil || !bytes.Equal(again, b) {
		return m, fmt.Errorf("%w: an option, or the payload, isn't well formed", errFormat)
	}
	if m.Code == codes.Empty && len(b) > 4 { // RFC 7252 4.1
		return m, fmt.Errorf("%w: an empty message with %d bytes", errFormat, len(b))
	}
	return m, nil
}

func encode(m message.Message) ([]byte, error) {
	b := make([]byte, 64+len(m.Payload))
	n, err := coder.DefaultCoder.Encode(m, b)
	if errors.Is(err, message.ErrTooSmall) {
		b = make([]byte, n)
		n, err = coder.DefaultCoder.Encode(m, b)
	}
	if err != nil {
		return nil, err
	}
	return b[:n], nil
}

// kind is what a message is by its code (RFC 7252 3, 12.1).
type kind int

const (
	isEmpty kind = iota
	isRequest
	isResponse
	isReserved
)

func kindOf(c codes.Code) kind {
	switch class := byte(c) >> 5; {
	case c == codes.Empty:
		return isEmpty
	case class == 0:
		return isRequest
	case class == 2, class == 4, class == 5:
		return isResponse
	}
	return isReserved
}

// request is what a handler answers.
type request struct {
	code    codes.Code
	path    string // one segment, with a slash before it
	format  int    // of the payload; -1: none given
	payload []byte
}

// reply is the answer to a request.
type reply struct {
	code    codes.Code
	format  message.MediaType // of the payload, when there is one
	payload []byte
}

// Codes that the library has no name for.
const (
	codeConflict      = codes.Code(4<<5 | 9)  // RFC 8132 5
	codeUnprocessable = codes.Code(4<<5 | 22) // RFC 8132 5
)

// changed answers 2.04, with a message unless v is nil.
func changed(v any) reply {
	if v == nil {
		return reply{code: codes.Changed}
	}
	return reply{code: codes.Changed, format: wire.ContentCBOR, payload: wire.MarshalCBOR(v)}
}

// refused answers with a problem (RFC 9290). HTTP's status and CoAP's code are
// the same numbers wherever CoAP has one.
func refused(p *wire.Problem) reply {
	code := codes.Code(p.Status/100<<5 | p.Status%100)
	switch code {
	case codes.BadRequest, codes.Unauthorized, codes.Forbidden, codes.NotFound, codes.MethodNotAllowed, codeConflict,
		codes.RequestEntityTooLarge, codeUnprocessable, codes.TooManyRequests,
		codes.InternalServerError, codes.BadGateway, codes.ServiceUnavailable:
	default:
		code = codes.InternalServerError
	}
	return reply{code: code, format: wire.ContentProblem, payload: wire.MarshalCBOR(p.Concise())}
}

// parse takes a request out of its message, or says what to answer. Options
// that aren't known here are skipped if they are elective, and refused if they
// are critical (RFC 7252 5.4.1), block-wise transfer (RFC 7959) among them.
func parse(m message.Message) (request, *reply) {
	r := request{code: m.Code, format: -1, payload: m.Payload}
	segments := 0
	for _, o := range m.Options {
		switch o.ID {
		case message.URIHost, message.URIPort:
		case message.URIPath:
			segments++
			r.path += "/" + string(o.Value)
		case message.ContentFormat:
			r.format = number(o.Value)
		case message.Accept: // RFC 7252 5.10.4
			if number(o.Value) != wire.ContentCBOR {
				return r, &reply{code: codes.NotAcceptable}
			}
		case message.ProxyURI, message.ProxyScheme:
			return r, &reply{code: codes.ProxyingNotSupported}
		default:
			if o.ID&1 == 1 {
				return r, &reply{code: codes.BadOption}
			}
		}
	}
	if segments > 1 {
		r.path = ""
	}
	if len(r.payload) > maxPayload {
		return r, &reply{code: codes.RequestEntityTooLarge}
	}
	return r, nil
}

// number reads an option's value as an unsigned integer (RFC 7252 3.2); those
// of the options it is asked about have two bytes at most.
func number(value []byte) (n int) {
	for _, b := range value {
		n = n<<8 | int(b)
	}
	return n
}

// answer is the message that carries a reply.
func answer(to message.Message, kind message.Type, id uint16, r reply) ([]byte, error) {
	m := message.Message{Type: kind, MessageID: int32(id), Token: to.Token, Code: r.code, Payload: r.payload}
	if len(r.payload) > 0 {
		m.Options = options(message.ContentFormat, r.format)
	}
	return encode(m)
}

func options(id message.OptionID, format message.MediaType) message.Options {
	o, _, _ := make(message.Options, 0, 1).SetUint32(make([]byte, 4), id, uint32(format)) // 4 bytes hold any
	return o
}

// empty is an Acknowledgement or a Reset (RFC 7252 4.2, 4.3).
func empty(kind message.Type, id int32) []byte {
	return []byte{1<<6 | byte(kind)<<4, byte(codes.Empty), byte(id >> 8), byte(id)}
}

// putLock is the confirmable PUT /lock.
func putLock(id uint16, token message.Token, lock wire.LockOrder) ([]byte, error) {
	o := append(make(message.Options, 0, 2),
		message.Option{ID: message.URIPath, Value: []byte(wire.PathBarrelLock[1:])})
	o = append(o, options(message.ContentFormat, wire.ContentCBOR)...)
	return encode(message.Message{
		Type: message.Confirmable, MessageID: int32(id), Token: token, Code: codes.PUT,
		Options: o, Payload: wire.MarshalCBOR(lock),
	})
}
