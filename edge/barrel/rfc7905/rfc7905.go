// Package rfc7905 adds the ChaCha20-Poly1305 cipher suites of RFC 7905 to
// github.com/pion/dtls/v2, and makes a configuration offer nothing else.
//
// The AEAD suites that the library brings along draw the explicit part of each
// nonce at random (CVE-2026-26014, not fixed in v2): 64 bits repeat after about
// 2^32 records of one key, and a repeated nonce gives away plaintext and the
// authentication key. In RFC 7905 nothing is drawn and nothing is sent: the
// nonce is the implicit write IV, exclusive-or'd with epoch and sequence number
// of the record, which DTLS never uses twice (RFC 6347 4.1). A suite of this
// package checks that too, and refuses to encrypt rather than to repeat.
//
// Beside that, Guard keeps from the library what it doesn't survive: it panics
// at a malformed key exchange of ECDHE_PSK, and lets unprotected records end an
// established association.
//
// Both ends of the gateway's DTLS take their configuration from here and wrap
// their connection in Guard: the gateway itself and the simulated barrel. See
// docs/decisions/0001-dtls-cipher-suites.md for what was weighed.
package rfc7905

import (
	"crypto/sha256"
	"hash"

	"github.com/pion/dtls/v2"
	"github.com/pion/dtls/v2/pkg/crypto/clientcertificate"
)

// The suites by their IANA numbers (RFC 7905 2).
const (
	ECDHEECDSA dtls.CipherSuiteID = 0xCCA9 // TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
	PSK        dtls.CipherSuiteID = 0xCCAB // TLS_PSK_WITH_CHACHA20_POLY1305_SHA256
	ECDHEPSK   dtls.CipherSuiteID = 0xCCAC // TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256
)

// Suites returns fresh instances of the three suites, those with forward
// secrecy first. It is meant as dtls.Config.CustomCipherSuites, which the
// library calls once for every handshake and keeps what it gets.
func Suites() []dtls.CipherSuite {
	return []dtls.CipherSuite{newSuite(ecdheECDSA), newSuite(ecdhePSK), newSuite(psk)}
}

// Server makes c, a server's configuration, accept the suites of this package
// only, and demand the extended master secret (RFC 7627).
//
// CipherSuites must be empty but not nil: nil means the library's own defaults,
// and a custom suite cannot take a built-in's number, because numbers are
// looked up among the built-ins first.
//
// The extended master secret isn't a nicety here: the library's server doesn't
// compare the verify data of the client's Finished message (RFC 5246 7.4.9). As
// long as the keys depend on a hash of the whole handshake, a client whose
// messages were altered on the way has other keys, and its Finished doesn't
// decrypt.
//
// An empty identity hint is set where there was none. Without it the library
// leaves the hint's length out of the ServerKeyExchange of ECDHE_PSK, where it
// isn't optional (RFC 5489 2).
func Server(c *dtls.Config) *dtls.Config {
	if c.PSK != nil && c.PSKIdentityHint == nil {
		c.PSKIdentityHint = []byte{}
	}
	return restrict(c)
}

// Client makes c, a client's configuration, offer the suites of this package
// only, and demand the extended master secret. A client has one identity: with
// a PSK it doesn't speak the certificate suite, whatever certificates it has,
// because the library then parses every handshake as one of a PSK.
func Client(c *dtls.Config) *dtls.Config {
	if c.PSK != nil {
		c.Certificates, c.GetCertificate, c.GetClientCertificate = nil, nil, nil
	}
	return restrict(c)
}

func restrict(c *dtls.Config) *dtls.Config {
	c.CipherSuites = []dtls.CipherSuiteID{}
	c.CustomCipherSuites = Suites
	c.ExtendedMasterSecret = dtls.RequireExtendedMasterSecret
	return c
}

// kind is what tells the suites apart; the record protection is the same.
type kind struct {
	id          dtls.CipherSuiteID
	name        string
	auth        dtls.CipherSuiteAuthenticationType
	exchange    dtls.CipherSuiteKeyExchangeAlgorithm
	certificate clientcertificate.Type
	ecc         bool
}

var (
	ecdheECDSA = kind{
		ECDHEECDSA, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
		dtls.CipherSuiteAuthenticationTypeCertificate, dtls.CipherSuiteKeyExchangeAlgorithmEcdhe,
		clientcertificate.ECDSASign, true,
	}
	ecdhePSK = kind{
		ECDHEPSK, "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256",
		dtls.CipherSuiteAuthenticationTypePreSharedKey,
		dtls.CipherSuiteKeyExchangeAlgorithmPsk | dtls.CipherSuiteKeyExchangeAlgorithmEcdhe,
		0, true,
	}
	psk = kind{
		PSK, "TLS_PSK_WITH_CHACHA20_POLY1305_SHA256",
		dtls.CipherSuiteAuthenticationTypePreSharedKey, dtls.CipherSuiteKeyExchangeAlgorithmPsk,
		0, false,
	}
)

// String is the IANA name.
func (s *suite) String() string { return s.kind.name }

// ID is the IANA number.
func (s *suite) ID() dtls.CipherSuiteID { return s.kind.id }

// CertificateType is the kind of certificate that is exchanged; 0 for none.
func (s *suite) CertificateType() clientcertificate.Type { return s.kind.certificate }

// HashFunc is the hash of the PRF: SHA-256 for all three (RFC 7905 2).
func (s *suite) HashFunc() func() hash.Hash { return sha256.New }

// AuthenticationType is certificate or pre-shared key.
func (s *suite) AuthenticationType() dtls.CipherSuiteAuthenticationType { return s.kind.auth }

// KeyExchangeAlgorithm picks the premaster secret (RFC 4279 2, RFC 5489 2).
func (s *suite) KeyExchangeAlgorithm() dtls.CipherSuiteKeyExchangeAlgorithm { return s.kind.exchange }

// ECC tells whether the hello carries the extensions for elliptic curves.
func (s *suite) ECC() bool { return s.kind.ecc }
