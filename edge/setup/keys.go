package setup

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
)

// keys makes what all nodes share besides certificates: the key that grants are
// signed with, the WireGuard key, and the key that wraps barrels' secrets.
func keys(Options) ([]file, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	grant, err := privatePEM(private)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, err
	}
	wireguard, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	wrapping := make([]byte, 32)
	if _, err := rand.Read(wrapping); err != nil {
		return nil, err
	}
	return []file{
		{name: "pki/grant-key.pem", content: grant, private: true},
		{name: "pki/grant-public.pem", content: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})},
		{name: "pki/wireguard.key", content: base64Line(clamped(wireguard.Bytes())), private: true},
		{name: "pki/wireguard.pub", content: base64Line(wireguard.PublicKey().Bytes())},
		{name: "pki/secrets.key", content: base64Line(wrapping), private: true},
	}, nil
}

// clamped sets the bits that X25519 sets anyway (RFC 7748 5), as "wg genkey"
// does: some programs refuse a key without.
func clamped(key []byte) []byte {
	key[0] &= 248
	key[31] = key[31]&127 | 64
	return key
}

func base64Line(b []byte) []byte {
	return append(base64.StdEncoding.AppendEncode(nil, b), '\n')
}
