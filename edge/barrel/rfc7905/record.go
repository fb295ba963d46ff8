package rfc7905

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/pion/dtls/v2/pkg/crypto/prf"
	"github.com/pion/dtls/v2/pkg/protocol"
	"github.com/pion/dtls/v2/pkg/protocol/recordlayer"
	"golang.org/x/crypto/chacha20poly1305"
)

// Errors of record protection. The library drops a record that doesn't decrypt
// (RFC 6347 4.1.2.7) and gives up on one that doesn't encrypt.
var (
	ErrNoKeys     = errors.New("rfc7905: the handshake hasn't made keys yet")
	ErrKeysSet    = errors.New("rfc7905: the keys are set already: a new handshake takes a new suite")
	ErrNonceReuse = errors.New("rfc7905: refusing to encrypt under a sequence number not higher than the last one")
	ErrRecordSize = errors.New("rfc7905: the record is too short, too long, or not as long as it says")
	ErrDecrypt    = errors.New("rfc7905: the record doesn't authenticate")
)

const (
	header = recordlayer.HeaderSize
	// A record carries at most 2^14 bytes (RFC 5246 6.2.1).
	maxPlaintext = 1 << 14
)

// suite is one instance of a cipher suite: for one handshake and the
// association that comes of it.
type suite struct {
	kind    kind
	newAEAD func(key []byte) (cipher.AEAD, error)

	// keys is set once, by Init, on the goroutine of the handshake, and read by
	// those that read and write records.
	keys atomic.Pointer[keys]
}

func newSuite(k kind) *suite { return &suite{kind: k, newAEAD: chacha20poly1305.New} }

// keys protect the records of one association.
type keys struct {
	seal, open     cipher.AEAD
	sealIV, openIV [chacha20poly1305.NonceSize]byte

	mu   sync.Mutex
	used bool   // guarded by mu: last is meaningful
	last uint64 // guarded by mu: the number (epoch and sequence) encrypted under last
}

// Init derives the keys (RFC 5246 6.3): no MAC keys, 32 bytes of key and 12
// bytes of IV for each direction (RFC 7905 2).
func (s *suite) Init(masterSecret, clientRandom, serverRandom []byte, isClient bool) error {
	block, err := prf.GenerateEncryptionKeys(masterSecret, clientRandom, serverRandom,
		0, chacha20poly1305.KeySize, chacha20poly1305.NonceSize, s.HashFunc())
	if err != nil {
		return fmt.Errorf("rfc7905: key block: %w", err)
	}
	client, err := s.newAEAD(block.ClientWriteKey)
	if err != nil {
		return fmt.Errorf("rfc7905: client write key: %w", err)
	}
	server, err := s.newAEAD(block.ServerWriteKey)
	if err != nil {
		return fmt.Errorf("rfc7905: server write key: %w", err)
	}
	k := &keys{seal: server, open: client}
	copy(k.sealIV[:], block.ServerWriteIV)
	copy(k.openIV[:], block.ClientWriteIV)
	if isClient {
		k.seal, k.open = k.open, k.seal
		k.sealIV, k.openIV = k.openIV, k.sealIV
	}
	// Setting keys a second time would start the count of numbers again.
	if !s.keys.CompareAndSwap(nil, k) {
		return ErrKeysSet
	}
	return nil
}

// IsInitialized tells whether there are keys.
func (s *suite) IsInitialized() bool { return s.keys.Load() != nil }

// Encrypt protects raw, a record with its header, and returns the record to
// send. Everything that it needs is in the bytes that go out, so that what is
// authenticated can't differ from what is sent.
func (s *suite) Encrypt(_ *recordlayer.RecordLayer, raw []byte) ([]byte, error) {
	k := s.keys.Load()
	if k == nil {
		return nil, ErrNoKeys
	}
	if len(raw) < header || len(raw)-header > maxPlaintext {
		return nil, fmt.Errorf("%w: %d bytes to encrypt", ErrRecordSize, len(raw)-header)
	}
	plaintext := raw[header:]
	number := binary.BigEndian.Uint64(raw[3:11])
	nonce, ad := recordNonce(k.sealIV, number), additionalData(raw, len(plaintext))

	k.mu.Lock()
	defer k.mu.Unlock()
	if k.used && number <= k.last {
		return nil, fmt.Errorf("%w (%#x after %#x)", ErrNonceReuse, number, k.last)
	}
	k.used, k.last = true, number

	out := make([]byte, header, len(raw)+chacha20poly1305.Overhead)
	copy(out, raw)
	binary.BigEndian.PutUint16(out[header-2:], uint16(len(plaintext)+chacha20poly1305.Overhead))
	return k.seal.Seal(out, nonce[:], plaintext, ad[:]), nil
}

// Decrypt opens in, a record with its header, in place, and returns header and
// plaintext. A ChangeCipherSpec gets no exception: this library has one change
// of keys in the life of an association, from epoch 0, so a later one is
// somebody's attempt to move the epoch and the replay window.
func (s *suite) Decrypt(in []byte) ([]byte, error) {
	k := s.keys.Load()
	if k == nil {
		return nil, ErrNoKeys
	}
	length := len(in) - header
	if length < chacha20poly1305.Overhead || length > maxPlaintext+chacha20poly1305.Overhead ||
		int(binary.BigEndian.Uint16(in[header-2:header])) != length {
		return nil, fmt.Errorf("%w: %d bytes to decrypt", ErrRecordSize, length)
	}
	nonce := recordNonce(k.openIV, binary.BigEndian.Uint64(in[3:11]))
	ad := additionalData(in, length-chacha20poly1305.Overhead)
	plaintext, err := k.open.Open(in[header:header], nonce[:], in[header:], ad[:])
	if err != nil {
		return nil, ErrDecrypt
	}
	if protocol.ContentType(in[0]) == protocol.ContentTypeChangeCipherSpec {
		return nil, fmt.Errorf("%w: ChangeCipherSpec under epoch %d", ErrDecrypt, binary.BigEndian.Uint16(in[3:5]))
	}
	return in[:header+len(plaintext)], nil
}

// recordNonce is the write IV, exclusive-or'd with the record's number, which is
// padded on the left with four zero bytes (RFC 7905 2). In DTLS the number is
// the epoch followed by the 48-bit sequence number, 64 bits in all, as in the
// MAC (RFC 6347 4.1.2.1).
func recordNonce(iv [chacha20poly1305.NonceSize]byte, number uint64) [chacha20poly1305.NonceSize]byte {
	low := iv[chacha20poly1305.NonceSize-8:]
	binary.BigEndian.PutUint64(low, binary.BigEndian.Uint64(low)^number)
	return iv
}

// additionalData is number, type, version and the length of the plaintext (RFC
// 5246 6.2.3.3, with the number of RFC 6347 4.1.2.1).
func additionalData(record []byte, plaintext int) (ad [13]byte) {
	copy(ad[:8], record[3:11])
	copy(ad[8:11], record[:3])
	binary.BigEndian.PutUint16(ad[11:], uint16(plaintext))
	return ad
}
