package adminapi

// Events of GET /v1/watch, a stream of server-sent events.
const (
	// EventReset: forget what you know of sessions, uses and barrels; what follows,
	// up to the next EventAt, is all there is.
	EventReset = "reset"
	// EventAt ends a round: all up to an entry of the audit chain was told. Its id is
	// where a watch goes on.
	EventAt = "at"

	EventSession      = "session" // a Session, new or changed
	EventSessionEnded = "session-ended"
	EventUse          = "use"    // a Use
	EventBarrel       = "barrel" // a Barrel
	EventAudit        = "audit"  // an AuditLine

	EventStale = "stale" // the node has lost the others: what it tells is old
	EventFresh = "fresh" // it has found them again
	EventEnd   = "end"   // a Problem: the watch is over, and coming back is of no use
)

// Kinds of what can be watched.
const (
	WatchSessions = "sessions"
	WatchUses     = "uses"
	WatchBarrels  = "barrels"
	WatchAudit    = "audit"
)

// WatchKinds are all of them.
var WatchKinds = []string{WatchSessions, WatchUses, WatchBarrels, WatchAudit}

// At is the data of EventAt.
type At struct {
	Sequence uint64 `json:"sequence"`
}

// SessionEnded is the data of EventSessionEnded.
type SessionEnded struct {
	ID uint64 `json:"id"`
}
