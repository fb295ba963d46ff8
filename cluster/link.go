package cluster

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/hashicorp/raft"
)

// link is a connection whose other end has proved which node it is.
type link struct {
	net.Conn
	peer  string // the node's name
	proto string // protoRaft, protoNode, or nothing that is served
}

// prover makes links of connections. The product's is identity, by mutual TLS.
// Neither function closes raw.
type prover interface {
	// accept is the listening side, of the node that has the id self.
	accept(ctx context.Context, raw net.Conn, self raft.ServerID) (link, error)
	// connect is the dialling side. For protoRaft the other end must have the very
	// id target, for protoNode its name.
	connect(ctx context.Context, raw net.Conn, target raft.ServerID, proto string) (link, error)
}

func (id *identity) accept(ctx context.Context, raw net.Conn, self raft.ServerID) (link, error) {
	return id.prove(ctx, tls.Server(raw, id.server(self)))
}

func (id *identity) connect(ctx context.Context, raw net.Conn, target raft.ServerID, proto string) (link, error) {
	return id.prove(ctx, tls.Client(raw, id.client(target, proto)))
}

func (id *identity) prove(ctx context.Context, conn *tls.Conn) (link, error) {
	if err := conn.HandshakeContext(ctx); err != nil {
		return link{}, err
	}
	state := conn.ConnectionState()
	peer, err := id.peerOf(state) // VerifyConnection has asked that, too
	return link{conn, peer, state.NegotiatedProtocol}, err
}
