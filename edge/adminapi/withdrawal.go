package adminapi

import "time"

// Revoked tells what a revocation or a suspension ended, and how fast.
type Revoked struct {
	Sessions []uint64 `json:"sessions"`
	Uses     []uint64 `json:"uses"`
	Locks    []uint64 `json:"locks"`
	Timing   Timing   `json:"timing"`
}

// Timing is how long after the request came, in milliseconds, the parts of a
// revocation were done. What this node can't know, or what hadn't happened when the
// answer was sent, is absent.
type Timing struct {
	Committed float64 `json:"committed_ms"`
	// Locked is when the last of the barrels said that it has locked.
	Locked *float64 `json:"barrels_locked_ms,omitempty"`
	// Unlocked are barrels that haven't said so yet. They lock by themselves when
	// their lease ends, LeaseSeconds after their last heartbeat.
	Unlocked     []string `json:"barrels_not_heard,omitempty"`
	LeaseSeconds float64  `json:"lease_seconds,omitempty"`
	// TunnelsDown is when the last of the sessions' tunnels ended at this node, which
	// carries them only while it is the holder of their gateway address.
	TunnelsDown *float64 `json:"tunnels_down_ms,omitempty"`
	// CarrierAnswered is when the carrier had answered for the last of the sessions
	// that it was told of.
	CarrierAnswered *float64 `json:"carrier_answered_ms,omitempty"`
	// Elsewhere are the holders of gateway addresses that tunnels ended at, if that
	// isn't this node.
	Elsewhere []string `json:"elsewhere,omitempty"`
	Carrier   string   `json:"carrier,omitempty"` // what went wrong with telling it
}

// Departure is what a node knows of the end of a session.
type Departure struct {
	Down     time.Time // the tunnel ended here; zero: not yet
	Told     bool      // the carrier is told by this node
	Answered time.Time // the carrier's answer; zero: not yet, or none
	Err      string    // why there is none
}
