package admin

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/sealedge/sealedge/edge/adminapi"
)

// defaultStreams is how many watches there may be where nothing is configured.
const defaultStreams = 64

// watch tells what happens to sessions, uses and barrels, and what is added to the
// audit chain, until the client goes. A client that comes back with the id of the
// last round gets what came after it; one that was away for too long, or comes for
// the first time, gets everything, after a reset.
func (s *Server) watch(r *http.Request, c Caller) (any, *problem) {
	kinds, p := kindsOf(r, c)
	if p != nil {
		return nil, p
	}
	last := r.Header.Get("Last-Event-ID")
	if last == "" {
		last = r.URL.Query().Get("after")
	}
	var at uint64
	if last != "" {
		var err error
		if at, err = strconv.ParseUint(last, 10, 64); err != nil {
			return nil, badRequest(fmt.Errorf("after: %q is no id of an event", last))
		}
	}
	most := s.cfg.Streams
	if most == 0 {
		most = defaultStreams
	}
	if int(s.streams.Add(1)) > most {
		s.streams.Add(-1)
		p := refuse(http.StatusTooManyRequests, "too-many-streams", "Too many follow what happens on this node.", fmt.Sprintf("At most %d may.", most), "Watch another node, or end another watch. The limit is admin.streams of the node.")
		p.RetryAfterSeconds = 10
		return nil, p
	}
	return stream(func(w http.ResponseWriter) {
		defer s.streams.Add(-1)
		f := &follower{server: s, request: r, out: &events{w: w, rc: http.NewResponseController(w)}, kinds: kinds, at: at, resumed: last != ""}
		f.run()
	}), nil
}

func kindsOf(r *http.Request, c Caller) ([]string, *problem) {
	text := r.URL.Query().Get("kinds")
	if text == "" {
		return nil, badRequest(fmt.Errorf("kinds: missing: name some of %s", strings.Join(adminapi.WatchKinds, ",")))
	}
	kinds := strings.Split(text, ",")
	for _, k := range kinds {
		if !slices.Contains(adminapi.WatchKinds, k) {
			return nil, badRequest(fmt.Errorf("kinds: %q is none of %s", k, strings.Join(adminapi.WatchKinds, ",")))
		}
	}
	if slices.Contains(kinds, adminapi.WatchAudit) && !c.May(Auditor) {
		return nil, refuse(http.StatusForbidden, "role-missing", "This is for another role.",
			fmt.Sprintf("%s has %v; the audit chain needs %s.", c.Name, c.Roles, Auditor), "Ask somebody who has the role, or leave out audit.")
	}
	return kinds, nil
}

// errOver ends a watch whose client was told why.
var errOver = errors.New("the watch is over")
