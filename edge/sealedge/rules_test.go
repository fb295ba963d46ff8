package main

import (
	"bytes"
	"log/slog"
	"testing"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/policy/bundle"
)

func TestRulesFollowThePolicy(t *testing.T) {
	n := &fakeNode{machine: state.New()}
	var log bytes.Buffer
	r := &rules{records: n, log: slog.New(slog.NewTextHandler(&log, nil))}
	if got := r.inForce(); got != nil {
		t.Fatalf("without a policy: %v", got)
	}
	n.do(t, &command.PutPolicy{Document: bundle.Default(bundle.Params{})}, nil)
	first := r.inForce()
	if first == nil || first.Revision != 1 {
		t.Fatalf("rules of the first revision: %+v", first)
	}
	if again := r.inForce(); again != first {
		t.Error("the same revision was compiled twice")
	}
	// A document that doesn't compile here, because a newer node wrote it,
	// admits nobody, loudly.
	n.do(t, &command.PutPolicy{BaseRevision: 1, Document: []byte("kind: Later")}, nil)
	if got := r.inForce(); got != nil || !bytes.Contains(log.Bytes(), []byte("everything is refused")) {
		t.Errorf("rules %v, log %q", got, log.String())
	}
}
