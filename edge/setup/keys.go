package setup

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
)

// keys makes what all nodes share besides certificates: the key that grants are
// signed with, and the cluster's secret.
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
	wrapping := make([]byte, 32)
	if _, err := rand.Read(wrapping); err != nil {
		return nil, err
	}
	return []file{
		{name: "pki/grant-key.pem", content: grant, private: true},
		{name: "pki/grant-public.pem", content: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})},
		{name: "pki/secrets.key", content: base64Line(wrapping), private: true},
	}, nil
}

func base64Line(b []byte) []byte {
	return append(base64.StdEncoding.AppendEncode(nil, b), '\n')
}
