package main

import (
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"hash"
	"time"

	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/chacha20poly1305"
)

// Messages of WireGuard, by their first octet, and the length of the first.
const (
	messageInitiation = 1
	messageResponse   = 2
	messageCookie     = 3
	initiationSize    = 148
)

// initiation makes the first message of a handshake as the WireGuard paper's 5.4.2
// has it: of a client, to a server, at a time.
func initiation(client *ecdh.PrivateKey, server *ecdh.PublicKey, index uint32, at time.Time) ([]byte, error) {
	ephemeral, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	chain := blake2s.Sum256([]byte("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"))
	sum := hashed(chain[:], []byte("WireGuard v1 zx2c4 Jason@zx2c4.com"))
	sum = hashed(sum, server.Bytes())

	msg := binary.LittleEndian.AppendUint32([]byte{messageInitiation, 0, 0, 0}, index)
	msg = append(msg, ephemeral.PublicKey().Bytes()...)
	sum = hashed(sum, ephemeral.PublicKey().Bytes())
	key, _ := derived(chain[:], ephemeral.PublicKey().Bytes())
	for _, step := range []struct {
		mine  *ecdh.PrivateKey
		plain []byte
	}{
		{ephemeral, client.PublicKey().Bytes()},
		{client, tai64n(at)},
	} {
		shared, err := step.mine.ECDH(server)
		if err != nil {
			return nil, err
		}
		var secret []byte
		key, secret = derived(key, shared)
		seal, err := chacha20poly1305.New(secret)
		if err != nil {
			return nil, err
		}
		sealed := seal.Seal(nil, make([]byte, chacha20poly1305.NonceSize), step.plain, sum)
		sum = hashed(sum, sealed)
		msg = append(msg, sealed...)
	}
	// The first MAC is keyed by the server's public key, the second is empty without
	// a cookie.
	mac, err := blake2s.New128(hashed([]byte("mac1----"), server.Bytes()))
	if err != nil {
		return nil, err
	}
	mac.Write(msg)
	msg = append(mac.Sum(msg), make([]byte, blake2s.Size128)...)
	if len(msg) != initiationSize {
		return nil, fmt.Errorf("an initiation of %d bytes", len(msg))
	}
	return msg, nil
}

// tai64n is a time as initiations have it.
func tai64n(at time.Time) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(1<<62+10+at.Unix()))
	return binary.BigEndian.AppendUint32(b, uint32(at.Nanosecond()))
}

func newHash() hash.Hash {
	h, err := blake2s.New256(nil)
	if err != nil {
		panic(err) // without a key there is nothing to refuse
	}
	return h
}

func hashed(parts ...[]byte) []byte {
	h := newHash()
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

// derived is the next chaining key and a key (HKDF with BLAKE2s).
func derived(chain, input []byte) (next, key []byte) {
	mac := func(k []byte, parts ...[]byte) []byte {
		h := hmac.New(newHash, k)
		for _, p := range parts {
			h.Write(p)
		}
		return h.Sum(nil)
	}
	prk := mac(chain, input)
	next = mac(prk, []byte{1})
	return next, mac(prk, next, []byte{2})
}
