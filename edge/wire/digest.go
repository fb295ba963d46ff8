package wire

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
)

// FormatReprDigest writes a Repr-Digest header with the SHA-256 of the whole
// representation (RFC 9530 3): sha-256=:<base64>:.
func FormatReprDigest(sum [sha256.Size]byte) string {
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

// ParseReprDigest takes the SHA-256 out of a Repr-Digest header, a dictionary
// of structured fields (RFC 8941 3.2) whose values are byte sequences. Other
// algorithms are skipped; without sha-256, or with a malformed member, the
// error wraps ErrMalformed. As in any dictionary, the last member of a name
// counts.
func ParseReprDigest(header string) ([sha256.Size]byte, error) {
	var sum [sha256.Size]byte
	if len(header) > 1024 {
		return sum, fmt.Errorf("%w: Repr-Digest of %d bytes", ErrMalformed, len(header))
	}
	found := false
	for member := range strings.SplitSeq(header, ",") {
		name, value, ok := strings.Cut(strings.Trim(member, " \t"), "=")
		if !ok || len(value) < 2 || value[0] != ':' || value[len(value)-1] != ':' {
			return sum, fmt.Errorf("%w: Repr-Digest %q: want sha-256=:<base64>: with padding", ErrMalformed, header)
		}
		if name != "sha-256" {
			continue
		}
		b, err := base64.StdEncoding.Strict().DecodeString(value[1 : len(value)-1])
		if err != nil || copy(sum[:], b) != sha256.Size || len(b) != sha256.Size {
			return sum, fmt.Errorf("%w: Repr-Digest %q: want 32 bytes of base64", ErrMalformed, header)
		}
		found = true
	}
	if !found {
		return sum, fmt.Errorf("%w: Repr-Digest %q has no sha-256", ErrMalformed, header)
	}
	return sum, nil
}
