package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/sealedge/sealedge/cluster/command"
)

// AuditHash is the hash that links one applied log entry to the one before:
// SHA-256(prev || be64(index) || be64(term) || be32(len(command)) || command ||
// be32(len(result)) || result), over the bytes as they are in the log.
func AuditHash(prev [32]byte, index, term uint64, cmd, result []byte) [32]byte {
	h := sha256.New()
	h.Write(prev[:])
	var n [20]byte
	binary.BigEndian.PutUint64(n[0:], index)
	binary.BigEndian.PutUint64(n[8:], term)
	binary.BigEndian.PutUint32(n[16:], uint32(len(cmd)))
	h.Write(n[:])
	h.Write(cmd)
	binary.BigEndian.PutUint32(n[:4], uint32(len(result)))
	h.Write(n[:4])
	h.Write(result)
	return [32]byte(h.Sum(nil))
}

// An AuditError names the entry at which a chain breaks.
type AuditError struct {
	Sequence uint64 // expected at this place
	Reason   string
}

func (e *AuditError) Error() string {
	return fmt.Sprintf("audit chain broken at entry %d: %s", e.Sequence, e.Reason)
}

// VerifyAudit checks that entries continue the chain whose last link is (seq,
// prev); the whole chain starts after (0, zero hash). It returns the last good
// link, also beside an error: an *AuditError where the chain breaks, or what
// the source of the entries failed with.
//
// A chain that was cut off at its end verifies: compare the link returned with
// a head known from elsewhere (Machine.AuditHead, an earlier export).
func VerifyAudit(prev [32]byte, seq uint64, entries iter.Seq2[*command.AuditEntry, error]) ([32]byte, uint64, error) {
	var index, term uint64
	for e, err := range entries {
		if err != nil {
			return prev, seq, err
		}
		broken := func(format string, args ...any) ([32]byte, uint64, error) {
			return prev, seq, &AuditError{seq + 1, fmt.Sprintf(format, args...)}
		}
		switch {
		case e.GetSequence() != seq+1:
			return broken("entry %d stands in its place", e.GetSequence())
		case !bytes.Equal(e.GetPrevHash(), prev[:]):
			return broken("it does not follow the entry before: its previous hash is %x, not %x", e.GetPrevHash(), prev)
		case e.GetIndex() <= index:
			return broken("log index %d after %d", e.GetIndex(), index)
		case e.GetTerm() < term:
			return broken("term %d after %d", e.GetTerm(), term)
		}
		hash := AuditHash(prev, e.GetIndex(), e.GetTerm(), e.GetCommand(), e.GetResult())
		if !bytes.Equal(e.GetHash(), hash[:]) {
			return broken("its content was changed: the hash is %x, not %x", hash, e.GetHash())
		}
		prev, seq, index, term = hash, seq+1, e.GetIndex(), e.GetTerm()
	}
	return prev, seq, nil
}
