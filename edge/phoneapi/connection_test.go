package phoneapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
)

// A connection request is handed on with what it came by: the TLS connection and the
// session of the tunnel.
func TestConnectionRequest(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		req := wire.ConnectionRequest{RequestID: "r1", IMSI: usetest.Terminal, PublicKey: bytes.Repeat([]byte{1}, 32), Time: time.Now()}
		r.send("POST", wire.PathConnections, req).refused(t, wire.CodeNotFound)

		psk := bytes.Repeat([]byte{2}, 32)
		var refusal *wire.Problem
		var asked []wire.ConnectionRequest
		r.srv.cfg.Connect = func(_ context.Context, req wire.ConnectionRequest, conn *tls.ConnectionState, from netip.Addr, s *command.Session) (*wire.ConnectionAnswer, *wire.Problem) {
			if b, err := conn.ExportKeyingMaterial(wire.ConnectionExporter, nil, 32); err != nil || len(b) != 32 {
				t.Errorf("nothing to bind a proof to: %v", err)
			}
			if from != usetest.Address(usetest.Terminal) || s.GetImsi() != usetest.Terminal {
				t.Errorf("from %s, session %v", from, s)
			}
			asked = append(asked, req)
			return &wire.ConnectionAnswer{Connection: 7, PresharedKey: psk}, refusal
		}
		var a wire.ConnectionAnswer
		got := r.send("POST", wire.PathConnections, req).want(t, 201, &a)
		if a.Connection != 7 || len(a.PresharedKey) != 32 || a.PresharedKey[0] != 2 || got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("answered %+v, %v", a, got.header)
		}
		if !bytes.Equal(psk, make([]byte, 32)) {
			t.Error("the pre-shared key is still there")
		}
		if len(asked) != 1 || asked[0].RequestID != "r1" || !asked[0].Time.Equal(req.Time) {
			t.Errorf("asked %+v", asked)
		}
		refusal = wire.NewProblem(wire.CodeConnectionRefused, "")
		r.send("POST", wire.PathConnections, req).refused(t, wire.CodeConnectionRefused)

		const secret = "hunter2hunter2"
		if a := r.send("POST", wire.PathConnections, map[string]any{"password": map[string]any{secret: 1}}).refused(t, wire.CodeBadRequest); strings.Contains(string(a.body), secret) {
			t.Errorf("quoted: %s", a.body)
		}
		req.Password = strings.Repeat("x", wire.MaxConnectionRequest)
		r.send("POST", wire.PathConnections, req).refused(t, wire.CodeTooLarge)
		if len(asked) != 2 {
			t.Errorf("%d requests handed on", len(asked))
		}
	})
}
