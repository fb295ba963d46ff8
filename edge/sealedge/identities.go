package main

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"

	"github.com/sealedge/sealedge/edge/config"
	"github.com/sealedge/sealedge/edge/keywrap"
)

// mutual is a TLS 1.3 configuration for both sides: an own certificate, and the
// other side's verified by the CA.
func mutual(ca, cert, key config.Path) (*tls.Config, error) {
	pool, err := ca.Pool()
	if err != nil {
		return nil, err
	}
	pair, err := config.Pair(cert, key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*pair},
		RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
	}, nil
}

// renewing is mutual for who keeps it for long: certificate and key, though not the
// CA, are read anew at each handshake; broken files leave those that were there before.
func renewing(ca, cert, key config.Path) (*tls.Config, error) {
	c, err := mutual(ca, cert, key)
	if err != nil {
		return nil, err
	}
	c.Certificates = nil
	kept := config.Kept(cert, key)
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return kept() }
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return kept() }
	return c, nil
}

// renewed reads the cluster's certificates anew for each connection.
func renewed(t config.Identity) func() (*tls.Config, error) {
	return func() (*tls.Config, error) { return mutual(t.CA, t.Cert, t.Key) }
}

// secrets are the keys that all nodes derive from the cluster's secret, one for
// each purpose (docs/decisions/0003-one-secret-for-the-cluster.md).
type secrets struct {
	wrapper *keywrap.Wrapper
	teid    []byte // keys the derivation of TEIDs
	radius  []byte // keys the derivation of travel routers' RADIUS secrets
	traces  []byte // keys the derivation of the ids of uses' traces
}

func readSecrets(file config.KeyFile) (secrets, error) {
	root, err := file.Secret()
	if err != nil {
		return secrets{}, err
	}
	derive := func(purpose string, size int) ([]byte, error) {
		return hkdf.Key(sha256.New, root, nil, "sealedge/"+purpose, size)
	}
	wrap, err := derive("keywrap", keywrap.KeySize)
	if err != nil {
		return secrets{}, err
	}
	teid, err := derive("teid", 32)
	if err != nil {
		return secrets{}, err
	}
	radius, err := derive("radius", 32)
	if err != nil {
		return secrets{}, err
	}
	traces, err := derive("traces", 32)
	if err != nil {
		return secrets{}, err
	}
	w, err := keywrap.New(wrap)
	return secrets{wrapper: w, teid: teid, radius: radius, traces: traces}, err
}
