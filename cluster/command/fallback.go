package command

import "time"

const (
	// FallbackFor is the longest that a lease of the fallback path may last.
	FallbackFor = 366 * 24 * time.Hour
	// OverlapFor is the longest that a replaced server key may be good for yet. A
	// client that can't ask has the key in its configuration for as long as its lease.
	OverlapFor = FallbackFor
)
