package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/raft"
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

// identity makes the TLS configurations of both sides out of the one in force.
type identity struct {
	name  string
	peers map[string]bool
	renew func() (*tls.Config, error)
	log   *slog.Logger

	mu     sync.Mutex
	base   *tls.Config // the last good one
	failed string      // why there is no newer one
}

func newIdentity(cfg *Config) (*identity, error) {
	id := &identity{name: cfg.NodeName, peers: map[string]bool{}, renew: cfg.Renew, log: cfg.Logger}
	if err := id.check(cfg.TLS); err != nil {
		return nil, err
	}
	id.base = cfg.TLS
	for _, p := range cfg.Peers {
		id.peers[p.Name] = true
	}
	return id, nil
}

// check tells whether a configuration can be this node's.
func (id *identity) check(c *tls.Config) error {
	if c == nil || (len(c.Certificates) == 0 && (c.GetCertificate == nil || c.GetClientCertificate == nil)) {
		return errors.New("cluster TLS needs this node's certificate")
	}
	if c.RootCAs == nil {
		// Without this, every public authority could make nodes.
		return errors.New("cluster TLS needs the cluster's CA as RootCAs")
	}
	if len(c.Certificates) > 0 {
		leaf, err := x509.ParseCertificate(c.Certificates[0].Certificate[0])
		if err != nil {
			return fmt.Errorf("this node's certificate: %w", err)
		}
		name, err := nodeName(leaf)
		if err != nil {
			return err
		}
		if name != id.name {
			return fmt.Errorf("this node is %q, but its certificate is for node %q", id.name, name)
		}
	}
	return nil
}

// current is a copy of the configuration for a new connection.
func (id *identity) current() *tls.Config {
	id.mu.Lock()
	defer id.mu.Unlock()
	if id.renew != nil {
		c, err := id.renew()
		if err == nil {
			err = id.check(c)
		}
		failed := ""
		if err != nil {
			failed = err.Error()
		} else {
			id.base = c
		}
		if failed != id.failed && failed != "" {
			id.log.Warn("the cluster certificate can't be renewed; the last good one is used", "error", err)
		}
		id.failed = failed
	}
	c := id.base.Clone()
	c.MinVersion = tls.VersionTLS13
	return c
}

// errOtherID: Raft means a node whose data directory isn't this one.
var errOtherID = errors.New("this is another data directory than the one meant")

// server is the configuration of the listening side: crypto/tls verifies the
// chain for clientAuth, and we the name. Raft of another node must mean this
// node's very id, self, as it says in SNI (RFC 6066 3): what this one
// acknowledges would be counted for the one meant.
func (id *identity) server(self raft.ServerID) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if slices.Contains(hello.SupportedProtos, protoRaft) && hello.ServerName != serverName(self) {
			return nil, fmt.Errorf("%w: %q, not %q", errOtherID, self, hello.ServerName)
		}
		c := id.current()
		c.NextProtos = []string{protoRaft, protoNode}
		c.ClientAuth = tls.RequireAndVerifyClientCert
		if c.ClientCAs == nil {
			c.ClientCAs = c.RootCAs
		}
		// Every connection proves its certificate anew: a resumed session would
		// outlive the configuration that it was checked against.
		c.SessionTicketsDisabled = true
		c.VerifyConnection = func(cs tls.ConnectionState) error {
			_, err := id.peerOf(cs)
			return err
		}
		return c, nil
	}}
}

// serverName is an id as SNI carries it: crypto/tls leaves out what looks like an
// IP address, as a name can.
func serverName(id raft.ServerID) string {
	if net.ParseIP(string(id)) != nil {
		return ""
	}
	return strings.TrimRight(string(id), ".")
}

// client is the configuration for dialling the node that has an id or, for the
// node protocol, a name.
func (id *identity) client(target raft.ServerID, proto string) *tls.Config {
	c := id.current()
	name, roots := memberName(target), c.RootCAs
	c.NextProtos = []string{proto}
	c.ServerName = string(target)
	// Nodes are known by their URI SAN, not by a host name, so crypto/tls's own
	// verification is replaced by the same chain check without a name.
	c.InsecureSkipVerify = true
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		intermediates := x509.NewCertPool()
		for _, cert := range cs.PeerCertificates[1:] {
			intermediates.AddCert(cert)
		}
		opts := x509.VerifyOptions{Roots: roots, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
		if c.Time != nil {
			opts.CurrentTime = c.Time()
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
