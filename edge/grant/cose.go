package grant

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"

	"github.com/fxamacker/cbor/v2"
	"github.com/veraison/go-cose"
)

// kind is the external_aad of a message: what the signature is for.
type kind string

const (
	kindGrant     kind = "sealedge/grant/1"
	kindReceipt   kind = "sealedge/receipt/1"
	kindStatement kind = "sealedge/settlement/1"
)

var (
	encoding cbor.EncMode
	decoding cbor.DecMode

	decodingList cbor.DecMode // of an AllowList
)

// bounds are the most bytes that a message of the kind may have, and how its
// payload is read.
func (k kind) bounds() (size int, dec cbor.DecMode) {
	if k == kindAllowList {
		return MaxListSize, decodingList
	}
	return MaxSize, decoding
}

func init() {
	var err error
	if encoding, err = cbor.CoreDetEncOptions().EncMode(); err != nil {
		panic(err)
	}
	options := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		MaxNestedLevels:   4,
		MaxArrayElements:  16,
		MaxMapPairs:       32,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
	}
	if decoding, err = options.DecMode(); err != nil {
		panic(err)
	}
	options.MaxArrayElements = MaxDevices
	if decodingList, err = options.DecMode(); err != nil {
		panic(err)
	}
}

// KeyID is the kid header that messages signed with a key carry: the first 8
// bytes of the SHA-256 of the public key.
func KeyID(key ed25519.PublicKey) []byte {
	sum := sha256.Sum256(key)
	return sum[:8]
}

// SignerOf tells the kid of a message, unverified, to find the key by.
func SignerOf(raw []byte) ([]byte, error) {
	_, kid, err := parse(raw, MaxSize)
	return kid, err
}

func sign(k kind, payload any, key ed25519.PrivateKey) ([]byte, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("%w: private key of %d bytes", ErrKey, len(key))
	}
	signer, err := cose.NewSigner(cose.AlgorithmEdDSA, key)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrKey, err)
	}
	b, err := encoding.Marshal(payload)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrContent, err)
	}
	m := message(KeyID(key.Public().(ed25519.PublicKey)), b)
	// Ed25519 (RFC 8032 5.1.6) draws nothing at random.
	if err := m.Sign(nil, []byte(k), signer); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrContent, err)
	}
	return m.MarshalCBOR()
}

// message has the only headers of the profile: the algorithm and the key, both
// protected.
func message(kid, payload []byte) *cose.Sign1Message {
	m := cose.NewSign1Message()
	m.Headers.Protected.SetAlgorithm(cose.AlgorithmEdDSA)
	m.Headers.Protected[cose.HeaderLabelKeyID] = kid
	m.Payload = payload
	return m
}

// parse takes a message apart and refuses all that sign would not have made.
func parse(raw []byte, size int) (*cose.Sign1Message, []byte, error) {
	if len(raw) > size {
		return nil, nil, fmt.Errorf("%w: %d bytes, at most %d", ErrMalformed, len(raw), size)
	}
	m := new(cose.Sign1Message)
	if err := m.UnmarshalCBOR(raw); err != nil {
		return nil, nil, fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	kid, ok := m.Headers.Protected[cose.HeaderLabelKeyID].([]byte)
	if !ok || len(kid) != 8 {
		return nil, nil, fmt.Errorf("%w: no kid of 8 bytes among the protected headers", ErrMalformed)
	}
	only := message(kid, m.Payload)
	only.Signature = m.Signature
	again, err := only.MarshalCBOR()
	if err != nil || !bytes.Equal(again, raw) {
		return nil, nil, fmt.Errorf("%w: other headers than alg EdDSA and kid, or not the deterministic encoding", ErrMalformed)
	}
	return m, kid, nil
}

// verify checks the signature before it looks at the payload.
func verify(k kind, raw []byte, key ed25519.PublicKey, payload any) error {
	if len(key) != ed25519.PublicKeySize {
		return fmt.Errorf("%w: public key of %d bytes", ErrKey, len(key))
	}
	size, dec := k.bounds()
	m, kid, err := parse(raw, size)
	if err != nil {
		return err
	}
	if !bytes.Equal(kid, KeyID(key)) {
		return fmt.Errorf("%w: it names %x, not %x", ErrKey, kid, KeyID(key))
	}
	verifier, err := cose.NewVerifier(cose.AlgorithmEdDSA, key)
	if err != nil {
		return fmt.Errorf("%w: %v", ErrKey, err)
	}
	if err := m.Verify([]byte(k), verifier); err != nil {
		return fmt.Errorf("%w: %v", ErrSignature, err)
	}
	if err := dec.Unmarshal(m.Payload, payload); err != nil {
		return fmt.Errorf("%w: %v", ErrContent, err)
	}
	if again, err := encoding.Marshal(payload); err != nil || !bytes.Equal(again, m.Payload) {
		return fmt.Errorf("%w: not the deterministic encoding", ErrContent)
	}
	return nil
}
