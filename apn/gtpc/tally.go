package gtpc

import (
	"cmp"
	"slices"
	"strconv"
	"sync"

	"github.com/sealedge/sealedge/apn/gtp"
)

// ProcedureCount says how often a procedure ended in one way, since the program
// began.
type ProcedureCount struct {
	Version   uint8  // of GTP: 1 or 2
	Procedure string // e.g. "create-session"; those that we begin, too
	Cause     string // that it was answered with, or "none"
	// Peer is the name of the peer's carrier in the policy, or the range of
	// allowed peers that it is in: never a single address that isn't configured.
	Peer string
	N    uint64
}

// maxTallies bounds the ways that are told apart. Versions, procedures, causes
// and configured peers are few; this is for what a policy with thousands of
// carriers might bring about.
const maxTallies = 4096

// tallies counts procedures. It is safe for concurrent use.
type tallies struct {
	mu sync.Mutex
	n  map[ProcedureCount]uint64 // guarded by mu; N of the key is 0
}

func (t *tallies) add(version uint8, procedure, cause, peer string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == nil {
		t.n = map[ProcedureCount]uint64{}
	}
	k := ProcedureCount{Version: version, Procedure: procedure, Cause: cause, Peer: peer}
	if _, ok := t.n[k]; !ok && len(t.n) >= maxTallies {
		k = ProcedureCount{Version: version, Procedure: "other", Cause: "other", Peer: "other"}
	}
	t.n[k]++
}

func (t *tallies) list() []ProcedureCount {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]ProcedureCount, 0, len(t.n))
	for k, n := range t.n {
		k.N = n
		list = append(list, k)
	}
	slices.SortFunc(list, func(a, b ProcedureCount) int {
		return cmp.Or(cmp.Compare(a.Version, b.Version), cmp.Compare(a.Procedure, b.Procedure),
			cmp.Compare(a.Peer, b.Peer), cmp.Compare(a.Cause, b.Cause))
	})
	return list
}

// ByProcedure returns how often each procedure ended in which way: the requests
// of peers, and our own. Duplicates don't count again.
func (s *Server) ByProcedure() []ProcedureCount { return s.tallies.list() }

// procedures names the requests that a PGW or GGSN gets (TS 29.274 table 6.1-1,
// TS 29.060 table 1).
var procedures = [3]map[uint8]string{
	1: {
		16: "create-pdp-context", 18: "update-pdp-context", 20: "delete-pdp-context", 128: "ms-info-change-notification",
	},
	2: {
		32: "create-session", 34: "modify-bearer", 36: "delete-session", 38: "change-notification", 40: "remote-ue-report",
		64: "modify-bearer-command", 66: "delete-bearer-command", 68: "bearer-resource-command",
		101: "delete-pdn-connection-set", 162: "suspend", 164: "resume", 200: "update-pdn-connection-set",
	},
}

func procedureName(h gtp.Header) string {
	if int(h.Version) < len(procedures) {
		if name := procedures[h.Version][h.Type]; name != "" {
			return name
		}
	}
	return "type-" + strconv.Itoa(int(h.Type))
}

// causeName is a cause as a label; the zero Cause is none.
func causeName(c gtp.Cause) string {
	if c == 0 {
		return "none"
	}
	return c.String()
}
