package command

import "time"

// TokenFor is the longest that a token may be valid, and TokensOf how many of them
// somebody may have at a time.
const (
	TokenFor = 366 * 24 * time.Hour
	TokensOf = 100
)
