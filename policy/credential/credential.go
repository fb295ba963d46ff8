// Package credential holds the arithmetic of the two ways in which a terminal
// shows its APN's user name and password: PAP and CHAP. Whoever stores
// credentials (edge/admin) and whoever checks them (apn/session) use the same.
//
// PAP sends the password itself, so that a slow, salted hash of it is enough to
// check it: PBKDF2 with HMAC-SHA-256 (RFC 8018 5.2). CHAP answers a challenge
// with MD5 over the password (RFC 1994 4.1), and no hash of the password but the
// password itself can verify that. Who wants CHAP therefore keeps the secret, and
// keeps it encrypted (edge/keywrap).
//
// Comparisons take the same time wherever they fail. Hashing takes some
// milliseconds: never do it while holding a lock.
package credential

import (
	"crypto/md5"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
)

// How passwords are hashed today. The iterations are stored with each hash, so
// that they can rise. They are few for a password hash, since a gateway checks
// one at each attach and thousands may attach in a second; an APN's password
// should be long and random.
const (
	Iterations = 10_000
	SaltSize   = 16 // bytes
	HashSize   = 32 // bytes
)

// MaxIterations bounds what a stored record may cost to check.
const MaxIterations = 1_000_000

// Hash returns HashSize bytes that tell a password without revealing it. It is
// nil when there is no salt or the iterations are not 1 to MaxIterations.
func Hash(password, salt []byte, iterations uint32) []byte {
	if len(salt) == 0 || iterations == 0 || iterations > MaxIterations {
		return nil
	}
	hash, err := pbkdf2.Key(sha256.New, string(password), salt, int(iterations), HashSize)
	if err != nil {
		return nil
	}
	return hash
}

// VerifyPAP tells whether a password is the one that hash was made of.
func VerifyPAP(password, salt, hash []byte, iterations uint32) bool {
	if len(hash) != HashSize {
		return false
	}
	return subtle.ConstantTimeCompare(Hash(password, salt, iterations), hash) == 1
}

// VerifyCHAP tells whether response answers the challenge with the secret: it
// must be MD5 over the identifier, the secret and the challenge, in this order.
// An empty challenge or secret is never answered.
func VerifyCHAP(id byte, secret, challenge, response []byte) bool {
	if len(secret) == 0 || len(challenge) == 0 {
		return false
	}
	h := md5.New()
	h.Write([]byte{id})
	h.Write(secret)
	h.Write(challenge)
	return subtle.ConstantTimeCompare(h.Sum(nil), response) == 1
}
