package wireguard

import (
	"crypto/rand"
	"encoding/binary"
	"hash"
	"testing"
	"time"

	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/curve25519"
	"golang.zx2c4.com/wireguard/device"
)

// initiation makes the first message of a handshake by the WireGuard paper 5.4.2: of
// the client with a private key, to the gateway with a public one, at a time.
func initiation(t testing.TB, private, gateway [32]byte, index uint32, at time.Time) []byte {
	t.Helper()
	sum := func(parts ...[]byte) (s [32]byte) {
		h, _ := blake2s.New256(nil)
		for _, p := range parts {
			h.Write(p)
		}
		h.Sum(s[:0])
		return s
	}
	must := func(b []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	seal := func(key, plain, ad []byte) []byte {
		c, err := chacha20poly1305.New(key)
		if err != nil {
			t.Fatal(err)
		}
		return c.Seal(nil, make([]byte, 12), plain, ad)
	}
	public := must(curve25519.X25519(private[:], curve25519.Basepoint))
	ephemeral := make([]byte, 32)
	rand.Read(ephemeral)
	ephemeralPublic := must(curve25519.X25519(ephemeral, curve25519.Basepoint))

	chain := sum([]byte(device.NoiseConstruction))
	h := sum(chain[:], []byte(device.WGIdentifier))
	h = sum(h[:], gateway[:])

	msg := make([]byte, 0, device.MessageInitiationSize)
	msg = append(msg, device.MessageInitiationType, 0, 0, 0)
	msg = binary.LittleEndian.AppendUint32(msg, index)
	msg = append(msg, ephemeralPublic...)
	h = sum(h[:], ephemeralPublic)
	device.KDF1(&chain, chain[:], ephemeralPublic)

	var key [32]byte
	device.KDF2(&chain, &key, chain[:], must(curve25519.X25519(ephemeral, gateway[:])))
	static := seal(key[:], public, h[:])
	h = sum(h[:], static)
	msg = append(msg, static...)

	device.KDF2(&chain, &key, chain[:], must(curve25519.X25519(private[:], gateway[:])))
	stamp := binary.BigEndian.AppendUint64(nil, uint64(1<<62+10+at.Unix())) // TAI64N
	stamp = binary.BigEndian.AppendUint32(stamp, uint32(at.Nanosecond()))
	msg = append(msg, seal(key[:], stamp, h[:])...)
	return addMACs(msg, gateway)
}

// addMACs appends the first MAC and an empty second one.
func addMACs(msg []byte, gateway [32]byte) []byte {
	k := newMAC1Key(gateway)
	var h hash.Hash
	h, _ = blake2s.New128(k[:])
	h.Write(msg)
	return append(h.Sum(msg), make([]byte, blake2s.Size128)...)
}

// junk makes a message that claims to begin a handshake: its first MAC is right, since
// the gateway's public key is no secret, and nothing else.
func junk(gateway [32]byte) []byte {
	b := make([]byte, device.MessageInitiationSize-2*blake2s.Size128)
	rand.Read(b)
	copy(b, []byte{device.MessageInitiationType, 0, 0, 0})
	return addMACs(b, gateway)
}
