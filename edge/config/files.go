package config

import (
	"bytes"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"sync"
)

// Pool reads CA certificates in PEM.
func (p Path) Pool() (*x509.CertPool, error) {
	raw, err := os.ReadFile(string(p))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(raw) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", p)
	}
	return pool, nil
}

// Kept reads a certificate and its key at each call, so that renewed files are taken
// up. While they can't be read, or don't belong together, as between the replacing of
// the one and of the other, it gives what they had before: a file that somebody broke
// takes no listener away, on which perhaps liveness is asked for.
func Kept(cert, key Path) func() (*tls.Certificate, error) {
	var mu sync.Mutex
	last, _ := Pair(cert, key)
	return func() (*tls.Certificate, error) {
		pair, err := Pair(cert, key)
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			last = pair
		}
		if last != nil {
			return last, nil
		}
		return nil, err
	}
}

// Pair reads a certificate (with its chain) and its key, in PEM.
func Pair(cert, key Path) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(string(cert), string(key))
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", cert, key, err)
	}
	return &pair, nil
}

// Ed25519 reads a private key in PEM, PKCS #8.
func (k KeyFile) Ed25519() (ed25519.PrivateKey, error) {
	raw, err := os.ReadFile(string(k.KeyFile))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%s holds no private key in PEM, PKCS #8", k.KeyFile)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.KeyFile, err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s holds a %T; want an Ed25519 key", k.KeyFile, parsed)
	}
	return key, nil
}

// Secret reads 32 bytes in base64.
func (k KeyFile) Secret() ([]byte, error) {
	key, err := read32(k.KeyFile)
	if err != nil {
		return nil, err
	}
	return key[:], nil
}

// Enabled tells whether there is a fallback path. A key file alone makes one, as it
// did before the cluster kept the key.
func (w WireGuard) Enabled() bool { return w.On || w.PrivateKeyFile != "" }

// PrivateKey reads the Curve25519 key as "wg genkey" writes it; that there is a file
// is the caller's to know.
func (w WireGuard) PrivateKey() ([32]byte, error) { return read32(w.PrivateKeyFile) }

func read32(path Path) (key [32]byte, err error) {
	raw, err := os.ReadFile(string(path))
	if err != nil {
		return key, err
	}
	b, err := base64.StdEncoding.Strict().DecodeString(string(bytes.TrimSpace(raw)))
	if err != nil || len(b) != len(key) {
		return key, fmt.Errorf("%s holds no key: want 32 bytes in base64", path)
	}
	copy(key[:], b)
	if key == [32]byte{} {
		return key, errors.New(string(path) + " holds a key of zeros")
	}
	return key, nil
}
