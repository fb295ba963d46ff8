package admin

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/wire"
)

// serverKeyOwner is whom a wrapped private key of the gateway's belongs to.
func serverKeyOwner(public []byte) string { return "wireguard-server:" + hex.EncodeToString(public) }

func (s *Server) fallbackKeys(*http.Request, Caller) (any, *problem) {
	var keys []adminapi.FallbackKey
	s.cfg.Cluster.View(func(m *state.Machine) {
		for _, k := range m.ServerKeys() {
			keys = append(keys, adminapi.FallbackKeyOf(k))
		}
	})
	return adminapi.Whole(keys), nil
}

// rotateFallbackKey has the gateway take a new key, made here. Clients that know the
// one before get in by it until the overlap ends.
func (s *Server) rotateFallbackKey(r *http.Request, c Caller) (any, *problem) {
	if s.cfg.Fallback == nil {
		return nil, noFallback()
	}
	var b adminapi.RotateFallbackKey
	if p := read(r, &b); p != nil {
		return nil, p
	}
	if most := uint32(command.OverlapFor.Seconds()); b.OverlapSeconds > most {
		return nil, badRequest(fmt.Errorf("overlap_seconds: %d are too many; at most %d", b.OverlapSeconds, most))
	}
	var replaces []byte
	if b.Replaces != "" {
		var err error
		if replaces, err = wireGuardKey(b.Replaces); err != nil {
			return nil, badRequest(fmt.Errorf("replaces: %w", err))
		}
	}
	if p := s.linearize(r); p != nil {
		return nil, p
	}
	id := requestID(r)
	var again *command.Result
	var current []byte
	look := func(m *state.Machine) {
		again = m.Answered(clientOf(c), id)
		if keys := m.ServerKeys(); len(keys) > 0 {
			current = keys[0].PublicKey
		}
	}
	if s.cfg.Cluster.View(look); again != nil {
		return rotatedAgain(again)
	}
	if replaces != nil && !bytes.Equal(replaces, current) {
		return nil, refuse(http.StatusConflict, wire.CodeConflict, "The current key is another one.", "It was rotated meanwhile.", "See the keys with 'sealctl fallback keys'.")
	}
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, wire.NewProblem(wire.CodeInternal, err.Error())
	}
	private, public := key.Bytes(), key.PublicKey().Bytes()
	defer clear(private)
	// As "wg genkey" has it (RFC 7748 5); the public half is the same.
	private[0] &= 248
	private[31] = private[31]&127 | 64
	wrapped, err := s.cfg.Secrets.Wrap(serverKeyOwner(public), private, rand.Reader)
	if err != nil {
		return nil, wire.NewProblem(wire.CodeInternal, err.Error())
	}
	made := new(command.ServerKey)
	p := s.proposeAs(r, c, id, &command.PutServerKey{PublicKey: public, PrivateKey: wrapped, Replaces: current, OverlapSeconds: b.OverlapSeconds}, made)
	if p != nil {
		// The same request, sent twice, may have been faster.
		if s.cfg.Cluster.View(look); again != nil && again.Code == command.Code_OK {
			return rotatedAgain(again)
		}
		return nil, p
	}
	return adminapi.FallbackKeyOf(made), nil
}

// rotatedAgain answers a repeated request: the key that it made is another each time.
func rotatedAgain(r *command.Result) (any, *problem) {
	if r.Code != command.Code_OK {
		return nil, problemOfResult(r)
	}
	made := new(command.ServerKey)
	if err := r.Into(made); err != nil {
		return nil, wire.NewProblem(wire.CodeInternal, err.Error())
	}
	return adminapi.FallbackKeyOf(made), nil
}

// retireFallbackKey ends the overlap of a key that was replaced.
func (s *Server) retireFallbackKey(r *http.Request, c Caller) (any, *problem) {
	public, err := hex.DecodeString(r.PathValue("key"))
	if err != nil || len(public) != 32 {
		return nil, badRequest(errors.New("key: want 32 bytes in hexadecimal"))
	}
	why := strings.TrimSpace(r.URL.Query().Get("reason"))
	if why == "" {
		return nil, badRequest(errors.New("reason: missing: say why, it goes into the audit chain"))
	}
	out := new(command.ServerKey)
	if p := s.propose(r, c, &command.RetireServerKey{PublicKey: public, Reason: why}, out); p != nil {
		return nil, p
	}
	return adminapi.FallbackKeyOf(out), nil
}
