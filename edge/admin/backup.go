package admin

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/sealedge/sealedge/cluster/backup"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/adminapi"
)

// backup streams a backup, encrypted to the recipients that the caller names. Who
// took it, and for whom, stands in the audit chain; having that written makes the
// backup hold all that was carried out before the request. With ?stale=true it is
// what the node has, also without a quorum, and nothing is written.
func (s *Server) backup(r *http.Request, c Caller) (any, *problem) {
	var b adminapi.Backup
	if p := read(r, &b); p != nil {
		return nil, p
	}
	to, err := backup.Recipients(b.Recipients)
	if err != nil {
		return nil, badRequest(fmt.Errorf("recipients: %w", err))
	}
	if r.URL.Query().Get("stale") != "true" {
		decision := &command.RecordDecision{Kind: "backup", Subject: "for " + strings.Join(b.Recipients, " "), Allowed: true}
		if p := s.propose(r, c, decision, nil); p != nil {
			return nil, p
		}
	}
	return stream(func(w http.ResponseWriter) {
		out := &begun{ResponseWriter: w}
		w.Header().Set("Content-Type", "application/age-encryption")
		if err := s.cfg.Backup(r.Context(), out, to); err != nil {
			s.cfg.Logger.Error("backup failed", "err", err)
			if out.yes {
				panic(http.ErrAbortHandler) // so that the client can't take a part for the whole
			}
			refuse(http.StatusServiceUnavailable, "backup-failed", "No backup could be made here.", err.Error(), "Try another node: name it in the context's addresses.").Write(w)
		}
	}), nil
}

// begun notes whether an answer was begun.
type begun struct {
	http.ResponseWriter
	yes bool
}

func (b *begun) Write(p []byte) (int, error) {
	b.yes = true
	return b.ResponseWriter.Write(p)
}
