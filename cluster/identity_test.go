package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func TestNodeName(t *testing.T) {
	for _, tc := range []struct {
		uris []string
		name string
		err  string
	}{
		{[]string{"sealedge://node/n1"}, "n1", ""},
		{[]string{"spiffe://corp/x", "sealedge://node/n1"}, "n1", ""},
		{nil, "", "names no node"},
		{[]string{"sealedge://operator/alice"}, "", "names no node"},
		{[]string{"https://node/n1"}, "", "names no node"},
		{[]string{"sealedge://node/n1", "sealedge://node/n2"}, "", "more than one"},
		{[]string{"sealedge://node/"}, "", "no node name"},
		{[]string{"sealedge://node/n1/x"}, "", "no node name"},
		{[]string{"sealedge://node/../n1"}, "", "no node name"},
		{[]string{"sealedge://node/N1"}, "", "no node name"},
		{[]string{"sealedge://node/n1?x=1"}, "", "no node name"},
	} {
		cert := new(x509.Certificate)
		for _, u := range tc.uris {
			parsed, err := url.Parse(u)
			if err != nil {
				t.Fatal(err)
			}
			cert.URIs = append(cert.URIs, parsed)
		}
		name, err := nodeName(cert)
		if name != tc.name || (err == nil) != (tc.err == "") || (err != nil && !strings.Contains(err.Error(), tc.err)) {
			t.Errorf("%q: %q, %v", tc.uris, name, err)
		}
	}
}

// TestStrangersAreRefused dials a node's port with certificates that are not a
// peer's, for both protocols.
func TestStrangersAreRefused(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3)
	address := c.config["n1"].Peers[0].Address
	otherCA := newTestCA(t)
	foreign := otherCA.config(t, NodeURI("n2"))
	foreign.RootCAs = c.ca.pool
	operator := &url.URL{Scheme: "sealedge", Host: "operator", Path: "/alice"}
	for _, tc := range []struct {
		name    string
		config  *tls.Config
		welcome bool
	}{
		{"a peer", c.ca.config(t, NodeURI("n2")), true},
		{"no certificate", &tls.Config{RootCAs: c.ca.pool}, false},
		{"another CA", foreign, false},
		{"an operator of the same CA", c.ca.config(t, operator), false},
		{"no URI at all", c.ca.config(t), false},
		{"a node of no place in this cluster", c.ca.config(t, NodeURI("n4")), false},
		{"two nodes at once", c.ca.config(t, NodeURI("n2"), NodeURI("n3")), false},
	} {
		for _, proto := range [][]string{{protoRaft}, {protoNode}, {"h2"}, nil} {
			config := tc.config.Clone()
			config.NextProtos, config.InsecureSkipVerify, config.ServerName = proto, true, string(c.nodes["n1"].id)
			raw, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			conn := tls.Client(raw, config)
			if got := isServed(t, conn); got != (tc.welcome && slices.Contains([]string{protoRaft, protoNode}, conn.ConnectionState().NegotiatedProtocol)) {
				t.Errorf("%s, protocol %q: served %v", tc.name, proto, got)
			}
			conn.Close()
		}
	}
}

// isServed tells whether a question over the connection is answered. TLS 1.3 lets
// the client's side finish before the server judged its certificate.
func isServed(t *testing.T, conn *tls.Conn) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if conn.HandshakeContext(ctx) != nil {
		return false
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	switch conn.ConnectionState().NegotiatedProtocol {
	case protoNode:
		f := frame{kind: frameAudit, id: 1, body: make([]byte, 16)}
		if _, err := conn.Write(f.append(nil)); err != nil {
			return false
		}
		got, err := readFrame(conn)
		return err == nil && got.kind == frameEnd
	case protoRaft:
		trans := raft.NewNetworkTransport(&oneStream{conn, make(chan struct{})}, 1, patience, io.Discard)
		defer trans.Close()
		ask := &raft.RequestPreVoteRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: 3, ID: []byte("n2"), Addr: []byte("n2")}}
		return trans.RequestPreVote("n1", "n1", ask, new(raft.RequestPreVoteResponse)) == nil
	}
	_, err := conn.Read(make([]byte, 1))
	return errors.Is(err, os.ErrDeadlineExceeded) // else it was closed
}

// oneStream is a raft.StreamLayer that has one connection to give.
type oneStream struct {
	net.Conn
	closed chan struct{}
}

func (s *oneStream) Dial(raft.ServerAddress, time.Duration) (net.Conn, error) { return s.Conn, nil }
func (s *oneStream) Accept() (net.Conn, error)                                { <-s.closed; return nil, net.ErrClosed }

func (s *oneStream) Addr() net.Addr { return s.LocalAddr() }

func (s *oneStream) Close() error { close(s.closed); return nil }

// TestDialledNodeMustBeTheOneMeant: an address in the peers' list that leads to
// another node of the cluster, or to none of it, is no way to the one meant.
func TestDialledNodeMustBeTheOneMeant(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3)
	p := c.nodes["n1"].port
	peer := func(name string) string { q, _ := p.cfg.peer(name); return q.Address }
	conn, err := p.dialNode(t.Context(), "n2", peer("n2"), protoNode)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if _, err := p.dialNode(t.Context(), "n2", peer("n3"), protoNode); err == nil || !strings.Contains(err.Error(), `found node "n3"`) {
		t.Errorf("n3 in the place of n2: %v", err)
	}
	// A server with a certificate of a public kind: right chain, no node.
	l, err := tls.Listen("tcp", "127.0.0.1:0", func() *tls.Config {
		cfg := c.ca.config(t)
		cfg.NextProtos = []string{protoNode}
		return cfg
	}())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = conn.(*tls.Conn).HandshakeContext(t.Context()); conn.Close() }()
		}
	}()
	if _, err := p.dialNode(t.Context(), "n2", l.Addr().String(), protoNode); err == nil || !strings.Contains(err.Error(), "names no node") {
		t.Errorf("a server that is no node: %v", err)
	}
}

func TestIdentityOfThisNode(t *testing.T) {
	ca := newTestCA(t)
	cfg := Config{NodeName: "n1", Peers: []Peer{{"n1", "127.0.0.1:1"}}}
	noRoots := ca.config(t, NodeURI("n1"))
	noRoots.RootCAs = nil
	for _, tc := range []struct {
		name string
		tls  *tls.Config
		err  string
	}{
		{"right", ca.config(t, NodeURI("n1")), ""},
		{"none", nil, "needs this node's certificate"},
		{"no certificate", &tls.Config{RootCAs: ca.pool}, "needs this node's certificate"},
		{"no roots", noRoots, "CA as RootCAs"},
		{"another node's", ca.config(t, NodeURI("n2")), `for node "n2"`},
		{"nobody's", ca.config(t), "names no node"},
	} {
		cfg.TLS = tc.tls
		_, err := newIdentity(&cfg)
		if (err == nil) != (tc.err == "") || (err != nil && !strings.Contains(err.Error(), tc.err)) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}
