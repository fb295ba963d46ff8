package wire

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"time"
)

// KeyProof proves, for one use request, that the terminal has the key that it shares
// with the gateway, without showing it: HMAC with SHA-256 over what is asked for.
func KeyProof(key []byte, r UseRequest) []byte {
	h := hmac.New(sha256.New, key)
	fmt.Fprintf(h, "sealedge use request v1\n%s\n%s\n%s\n%s\n%s\n%s\n%d\n", r.RequestID, r.TerminalAddress, r.ServerAddress,
		r.Time.UTC().Format(time.RFC3339Nano), r.Order, r.Barrel, r.Count)
	return h.Sum(nil)
}
