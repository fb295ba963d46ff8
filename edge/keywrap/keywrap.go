// Package keywrap keeps shared secrets unreadable where they are stored.
//
// A barrel's pre-shared key has to be in the replicated state, so that every
// node can answer its handshake; so has a terminal's password that is checked by
// CHAP, which no hash of it can do (RFC 1994). The state, however, is copied into the Raft
// log, snapshots, backups and the exported audit chain, whose readers have no
// business with keys. So a secret enters a command only wrapped: encrypted with
// a key that the nodes share by file and that is never replicated.
//
// The construction is XChaCha20-Poly1305 with a random 192-bit nonce, which is
// large enough to be drawn at random for the lifetime of a key; the owner's
// name is authenticated with it, so that a wrapped secret cannot be given to
// another owner.
package keywrap

import (
	"crypto/cipher"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/chacha20poly1305"
)

// KeySize is the size of a wrapping key in bytes.
const KeySize = chacha20poly1305.KeySize

// ErrUnwrap means that the bytes weren't wrapped with this key for this owner.
var ErrUnwrap = errors.New("keywrap: the secret doesn't open: another wrapping key is configured on this node than where it was stored, or the record was altered")

// Wrapper wraps and unwraps with one key. It is safe for concurrent use.
type Wrapper struct{ aead cipher.AEAD }

// New takes a key of KeySize bytes.
func New(key []byte) (*Wrapper, error) {
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, fmt.Errorf("keywrap: the key has %d bytes, want %d", len(key), KeySize)
	}
	return &Wrapper{aead}, nil
}

// Wrap encrypts secret for owner, drawing the nonce from random.
func (w *Wrapper) Wrap(owner string, secret []byte, random io.Reader) ([]byte, error) {
	nonce := make([]byte, chacha20poly1305.NonceSizeX, chacha20poly1305.NonceSizeX+len(secret)+chacha20poly1305.Overhead)
	if _, err := io.ReadFull(random, nonce); err != nil {
		return nil, fmt.Errorf("keywrap: nonce: %w", err)
	}
	return w.aead.Seal(nonce, nonce, secret, []byte(owner)), nil
}

// Unwrap decrypts what Wrap made for the same owner.
func (w *Wrapper) Unwrap(owner string, wrapped []byte) ([]byte, error) {
	if len(wrapped) < chacha20poly1305.NonceSizeX {
		return nil, ErrUnwrap
	}
	nonce, box := wrapped[:chacha20poly1305.NonceSizeX], wrapped[chacha20poly1305.NonceSizeX:]
	secret, err := w.aead.Open(nil, nonce, box, []byte(owner))
	if err != nil {
		return nil, ErrUnwrap
	}
	return secret, nil
}
