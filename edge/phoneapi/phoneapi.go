// Package phoneapi is the gateway's face towards the terminal: HTTPS with JSON
// inside the tunnel, documented in docs/api/phone.yaml.
//
// A terminal is known by where its packets come from: the live session of the
// connection's source address, looked up again for every request, so that a
// revocation counts at once. A subscriber with a device certificate on record
// must present it besides. What a user may do, the seal server says, to which
// his bearer token is passed through; what a terminal and a barrel may do,
// policy and the ledger say (edge/sealuse). Nothing that a request is answered
// by lives here: any node can answer any request, and a repeat gets the same
// answer from another node.
package phoneapi

import (
	"context"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/grant"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy"
)

// Cluster is the replicated state, as cluster.Node gives it.
type Cluster interface {
	Propose(ctx context.Context, c *command.Command) (*command.Result, error)
	View(fn func(*state.Machine))
	ReadIndex(ctx context.Context) error // View after it misses nothing that was carried out before
	Changed() <-chan struct{}
}

// Barrels tells which barrels are heard from; edge/barrel does.
type Barrels interface {
	Alive(id string) bool
	// Shown is what a barrel that is connected proved to be by.
	Shown(id string) policy.Credentials
}

// Hotspot judges who may be on a terminal's hotspot; edge/hotspot does. A
// refusal is a *wire.Problem.
type Hotspot interface {
	Associate(imsi string, report wire.Association) (wire.AssociationAnswer, error)
	// List is who may be on the terminal's hotspot, at a time.
	List(imsi string, now time.Time) (grant.AllowList, error)
}

// SealServer is the intranet seal server, as edge/upstream reaches it. A refusal
// or a failure is a *wire.Problem: the server's own code where it gave one, else
// CodeServerUnreachable. The token is that of the request's Authorization
// header, without the word Bearer.
type SealServer interface {
	Login(ctx context.Context, login wire.LoginRequest) (wire.LoginAnswer, error)
	Orders(ctx context.Context, token string) (wire.OrderList, error)
	// Verify's answer may refuse (Pass false) without an error.
	Verify(ctx context.Context, token string, req wire.VerifyRequest) (wire.VerifyAnswer, error)
	// Settled is accepted, or was accepted before, when it returns nil.
	Settled(ctx context.Context, report wire.SettledReport) error
}

// EvidenceStore is where images are kept: the seal server again. The errors are
// as of SealServer.
type EvidenceStore interface {
	// EvidenceState tells how far an upload has come; one never begun is the
	// zero state.
	EvidenceState(ctx context.Context, ref wire.EvidenceRef) (wire.EvidenceState, error)
	// AppendEvidence streams chunk.Body on and tells how far the upload has come
	// then. A chunk that doesn't begin at the offset reached is
	// CodeUploadOffset; a complete image of another digest is
	// CodeDigestMismatch, and the upload is then back at offset 0.
	AppendEvidence(ctx context.Context, ref wire.EvidenceRef, chunk wire.EvidenceChunk) (wire.EvidenceState, error)
}
