package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/fxamacker/cbor/v2"
)

// Limits of what is read from others.
const (
	MaxJSON     = 64 << 10 // bytes of a JSON request
	MaxAnswer   = 1 << 20  // bytes of a JSON answer of the seal server
	MaxCBOR     = 8 << 10  // bytes of a CBOR message
	MaxEvidence = 64 << 20 // bytes of an image
)

// ErrMalformed is wrapped by every decoding error of this package.
var ErrMalformed = errors.New("malformed message")

var (
	encoding cbor.EncMode
	decoding cbor.DecMode
)

func init() {
	var err error
	if encoding, err = cbor.CoreDetEncOptions().EncMode(); err != nil {
		panic(err)
	}
	decoding, err = cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		MaxNestedLevels:   4,
		MaxArrayElements:  256,
		MaxMapPairs:       64,
		ExtraReturnErrors: cbor.ExtraDecErrorNone, // fields of later versions are skipped
	}.DecMode()
	if err != nil {
		panic(err)
	}
}

// MarshalCBOR encodes a message in the core deterministic encoding (RFC 8949
// 4.2.1).
func MarshalCBOR(v any) []byte {
	b, err := encoding.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("wire: marshal %T: %v", v, err)) // no message of this package can
	}
	return b
}

// UnmarshalCBOR decodes one message and nothing after it. Indefinite lengths,
// repeated keys, tags and messages longer than MaxCBOR are refused with
// ErrMalformed; unknown keys are skipped.
func UnmarshalCBOR(b []byte, v any) error {
	if len(b) > MaxCBOR {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrMalformed, len(b), MaxCBOR)
	}
	if err := decoding.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	return nil
}

// DecodeRequest reads one JSON value of at most MaxJSON bytes and nothing after
// it; unknown fields are refused, so that a misspelt one is not overlooked.
func DecodeRequest(r io.Reader, v any) error {
	d := json.NewDecoder(io.LimitReader(r, MaxJSON))
	d.DisallowUnknownFields()
	return decode(d, v)
}

// DecodeAnswer reads one JSON value of at most MaxAnswer bytes; unknown fields
// are skipped, because a server may know more than we do.
func DecodeAnswer(r io.Reader, v any) error {
	return decode(json.NewDecoder(io.LimitReader(r, MaxAnswer)), v)
}

func decode(d *json.Decoder, v any) error {
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: more than one JSON value", ErrMalformed)
	}
	return nil
}
