package coap

import (
	"errors"
	"fmt"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/udp/coder"
)

var errMalformed = errors.New("coap: malformed message")

// encode builds a message of type t. format is sent with a payload only.
func encode(t message.Type, code Code, mid uint16, token message.Token, path string, query []string, format uint16, payload []byte) ([]byte, error) {
	buf := make([]byte, 1024)
	opts := make(message.Options, 0, 16)
	add := func(set func(message.Options, []byte) (message.Options, int, error)) error {
		next, n, err := set(opts, buf)
		if err != nil {
			return err
		}
		opts, buf = next, buf[n:]
		return nil
	}
	if path != "" {
		if err := add(func(o message.Options, b []byte) (message.Options, int, error) { return o.SetPath(b, path) }); err != nil {
			return nil, err
		}
	}
	if len(payload) > 0 {
		if err := add(func(o message.Options, b []byte) (message.Options, int, error) {
			return o.SetContentFormat(b, message.MediaType(format))
		}); err != nil {
			return nil, err
		}
	}
	for _, q := range query {
		if err := add(func(o message.Options, b []byte) (message.Options, int, error) {
			return o.AddString(b, message.URIQuery, q)
		}); err != nil {
			return nil, err
		}
	}
	m := message.Message{Type: t, Code: code, MessageID: int32(mid), Token: token, Options: opts, Payload: payload}
	size, err := coder.DefaultCoder.Size(m)
	if err != nil {
		return nil, err
	}
	wire := make([]byte, size)
	n, err := coder.DefaultCoder.Encode(m, wire)
	if err != nil {
		return nil, err
	}
	return wire[:n], nil
}

// decode parses a datagram; the message keeps slices of it. The codec is not
// trusted with what the network sends: a panic in it is an error here.
func decode(b []byte) (m message.Message, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errMalformed, r)
		}
	}()
	m.Options = make(message.Options, 0, 32)
	if _, err := coder.DefaultCoder.Decode(b, &m); err != nil {
		return m, fmt.Errorf("%w: %w", errMalformed, err)
	}
	if m.Code == codes.Empty && (len(m.Token) > 0 || len(m.Options) > 0 || len(m.Payload) > 0) {
		return m, fmt.Errorf("%w: an empty message with content", errMalformed) // RFC 7252 4.1
	}
	return m, nil
}

// isRequest tells methods (0.01 to 0.31) from responses.
func isRequest(code Code) bool { return code > 0 && code < 32 }

// toRequest takes path, query and payload out of a message.
func toRequest(m message.Message) (Request, error) {
	r := Request{Method: m.Code, Payload: m.Payload}
	path, err := m.Options.Path()
	if err != nil && !errors.Is(err, message.ErrOptionNotFound) {
		return r, err
	}
	r.Path = path
	queries, err := m.Options.Queries()
	if err != nil && !errors.Is(err, message.ErrOptionNotFound) {
		return r, err
	}
	r.Query = queries
	if format, err := m.Options.ContentFormat(); err == nil {
		r.Format = uint16(format)
	}
	return r, nil
}

func toResponse(m message.Message) Response {
	r := Response{Code: m.Code, Payload: m.Payload}
	if format, err := m.Options.ContentFormat(); err == nil {
		r.Format = uint16(format)
	}
	return r
}
