package admin

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/adminapi"
)

func (s *Server) status(*http.Request, Caller) (any, *problem) {
	v := s.cfg.Node.Status()
	s.cfg.Cluster.View(func(m *state.Machine) {
		seq, head := m.AuditHead()
		v.AuditSeq, v.AuditHead = seq, hex.EncodeToString(head[:])
		v.AuditTree, v.AuditRoot = headOf(m).TreeFirst, headOf(m).Root
		v.Policy = m.Policy().GetRevision()
		changeSummary(m, &v)
	})
	return v, nil
}

func (s *Server) counters(*http.Request, Caller) (any, *problem) { return s.cfg.Counters(), nil }

func (s *Server) procedures(*http.Request, Caller) (any, *problem) {
	return adminapi.Whole(s.cfg.Procedures()), nil
}

func (s *Server) stepDown(r *http.Request, _ Caller) (any, *problem) {
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	if err := s.cfg.Node.StepDown(ctx); err != nil {
		return nil, refuse(http.StatusConflict, "conflict", "The leadership was not handed over.", err.Error(), "See who leads with 'sealctl cluster status'.")
	}
	return nil, nil
}

// drain has this node give its addresses and the leadership to others before it is
// stopped, or undoes that. It only begins it.
func (s *Server) drain(r *http.Request, c Caller) (any, *problem) {
	var d adminapi.Drain
	if p := read(r, &d); p != nil {
		return nil, p
	}
	if strings.TrimSpace(d.Reason) == "" {
		return nil, badRequest(errors.New("reason: missing: say why, it goes into the audit chain"))
	}
	if node := r.URL.Query().Get("node"); node != "" && node != s.cfg.Name {
		return nil, refuse(http.StatusConflict, "conflict", "That is for another node.", fmt.Sprintf("It is for %s, and this is %s.", node, s.cfg.Name), "Ask it itself: see the addresses with 'sealctl cluster status'.")
	}
	code := "drain"
	if d.Undo {
		code = "undo-drain"
	}
	decision := &command.RecordDecision{Kind: "node", Subject: s.cfg.Name, Allowed: true, Code: code, Reasons: []string{d.Reason}}
	if p := s.proposeAs(r, c, requestID(r), decision, nil); p != nil {
		return nil, p
	}
	s.cfg.Node.Drain(r.Context(), !d.Undo)
	return nil, nil
}

// audit streams the chain from ?from= (1 by default) to the head as it is now,
// one JSON document a line.
func (s *Server) audit(r *http.Request, _ Caller) (any, *problem) {
	from := uint64(1)
	if q := r.URL.Query().Get("from"); q != "" {
		n, err := strconv.ParseUint(q, 10, 64)
		if err != nil || n == 0 {
			return nil, badRequest(fmt.Errorf("from: %q is no sequence number; the first is 1", q))
		}
		from = n
	}
	var head uint64
	s.cfg.Cluster.View(func(m *state.Machine) { head, _ = m.AuditHead() })
	return stream(func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/jsonl")
		enc := json.NewEncoder(w)
		err := s.cfg.Node.AuditRange(r.Context(), from, func(e *command.AuditEntry) error {
			if e.Sequence > head {
				return errHead
			}
			line, err := adminapi.AuditLineOf(e)
			if err != nil {
				return err
			}
			return enc.Encode(line)
		})
		if err != nil && !errors.Is(err, errHead) {
			// The status is sent already: cut the connection, so that the
			// client can't take a part for the whole.
			s.cfg.Logger.Error("audit export failed", "err", err)
			panic(http.ErrAbortHandler)
		}
	}), nil
}

// errHead ends an export at the head that it started with.
var errHead = errors.New("head reached")
