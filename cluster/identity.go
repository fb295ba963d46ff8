package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// The protocols on the cluster's port, told apart by ALPN (RFC 7301).
const (
	protoRaft = "sealedge-raft/1"
	protoNode = "sealedge-node/1"
)

const nodeURIPrefix = "sealedge://node/"

// NodeURI is the URI SAN that a node's certificate must carry.
func NodeURI(name string) *url.URL {
	return &url.URL{Scheme: "sealedge", Host: "node", Path: "/" + name}
}

// nodeName reads the node that a certificate names. The certificate must name
// exactly one, so that there is no question whose it is.
func nodeName(cert *x509.Certificate) (string, error) {
	name := ""
	for _, u := range cert.URIs {
		n, ok := strings.CutPrefix(u.String(), nodeURIPrefix)
		switch {
		case !ok:
		case name != "":
			return "", errors.New("the certificate names more than one node")
		case !validName(n):
			return "", fmt.Errorf("the certificate names a node %q, which is no node name", n)
		default:
			name = n
		}
	}
	if name == "" {
		return "", fmt.Errorf("the certificate of %q names no node: it needs the URI SAN %s<name>", cert.Subject.CommonName, nodeURIPrefix)
	}
	return name, nil
}

// identity makes the TLS configurations of both sides out of the one given.
type identity struct {
	base  *tls.Config
	roots *x509.CertPool // vouch for the nodes we dial
	peers map[string]bool
}

func newIdentity(cfg *Config) (*identity, error) {
	c := cfg.TLS
	if c == nil || (len(c.Certificates) == 0 && (c.GetCertificate == nil || c.GetClientCertificate == nil)) {
		return nil, errors.New("cluster TLS needs this node's certificate")
	}
	if c.RootCAs == nil {
		// Without this, every public authority could make nodes.
		return nil, errors.New("cluster TLS needs the cluster's CA as RootCAs")
	}
	if len(c.Certificates) > 0 {
		leaf, err := x509.ParseCertificate(c.Certificates[0].Certificate[0])
		if err != nil {
			return nil, fmt.Errorf("this node's certificate: %w", err)
		}
		name, err := nodeName(leaf)
		if err != nil {
			return nil, err
		}
		if name != cfg.NodeName {
			return nil, fmt.Errorf("this node is %q, but its certificate is for node %q", cfg.NodeName, name)
		}
	}
	id := &identity{base: c.Clone(), roots: c.RootCAs, peers: map[string]bool{}}
	id.base.MinVersion = tls.VersionTLS13
	for _, p := range cfg.Peers {
		id.peers[p.Name] = true
	}
	return id, nil
}

// server is the configuration of the listening side: crypto/tls verifies the
// chain for clientAuth, and we the name.
func (id *identity) server() *tls.Config {
	c := id.base.Clone()
	c.NextProtos = []string{protoRaft, protoNode}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	if c.ClientCAs == nil {
		c.ClientCAs = id.roots
	}
	// Every connection proves its certificate anew: a resumed session would
	// outlive the configuration that it was checked against.
	c.SessionTicketsDisabled = true
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		_, err := id.peerOf(cs)
		return err
	}
	return c
}

// client is the configuration for dialling the node called name.
func (id *identity) client(name, proto string) *tls.Config {
	c := id.base.Clone()
	c.NextProtos = []string{proto}
	c.ServerName = name
	// Nodes are known by their URI SAN, not by a host name, so crypto/tls's own
	// verification is replaced by the same chain check without a name.
	c.InsecureSkipVerify = true
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		intermediates := x509.NewCertPool()
		for _, cert := range cs.PeerCertificates[1:] {
			intermediates.AddCert(cert)
		}
		opts := x509.VerifyOptions{Roots: id.roots, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
		if id.base.Time != nil {
			opts.CurrentTime = id.base.Time()
		}
		if _, err := cs.PeerCertificates[0].Verify(opts); err != nil {
			return err
		}
		got, err := id.peerOf(cs)
		if err != nil {
			return err
		}
		if got != name {
			return fmt.Errorf("dialled node %q and found node %q there", name, got)
		}
		return nil
	}
	return c
}

// peerOf names the configured peer at the other end.
func (id *identity) peerOf(cs tls.ConnectionState) (string, error) {
	if len(cs.PeerCertificates) == 0 {
		return "", errors.New("the peer showed no certificate")
	}
	name, err := nodeName(cs.PeerCertificates[0])
	if err != nil {
		return "", err
	}
	if !id.peers[name] {
		return "", fmt.Errorf("node %q is no peer of this cluster", name)
	}
	return name, nil
}
