package wire

import (
	"io"
	"time"
)

// Every call for a user carries his token in the Authorization header, as the
// terminal sent it: no token is ever in a body.

// VerifyRequest asks the seal server whether an order may be used now.
type VerifyRequest struct {
	Order    string    `json:"order"`
	Barrel   string    `json:"barrel"`
	Terminal string    `json:"terminal"` // IMSI
	Time     time.Time `json:"time"`     // the gateway's clock
}

// VerifyAnswer is the seal server's word on an order. The gateway checks it
// against its own policy: it may be stricter than policy, never weaker.
type VerifyAnswer struct {
	Pass           bool      `json:"pass"`
	Code           Code      `json:"code,omitempty"`   // when refused: CodeOrderUnknown, CodeOrderNotOpen, CodeOrderExhausted, CodeOrderSuspended or CodeServerRefused
	Reason         string    `json:"reason,omitempty"` // when refused, in words
	User           string    `json:"user,omitempty"`   // whose token it is
	Count          uint32    `json:"count,omitempty"`  // stampings permitted in all
	Used           uint32    `json:"used,omitempty"`   // of them done, as far as the seal server knows
	SealType       string    `json:"seal_type,omitempty"`
	Level          uint32    `json:"level,omitempty"`
	Methods        []string  `json:"methods,omitempty"`
	NotBefore      time.Time `json:"not_before,omitzero"`
	NotAfter       time.Time `json:"not_after,omitzero"`
	DocumentDigest []byte    `json:"document_digest,omitempty"` // SHA-256 of the target document
}

// Headers of the resumable upload of evidence, on the phone API and on the seal
// server API alike. HEAD answers with the offset reached. PATCH appends: it
// carries all three, and its answer is 204 with the new Upload-Offset, or 200
// with an EvidenceAnswer when the image is complete and stored. A PATCH without
// a body at the full length asks once more for the answer of a complete image.
const (
	HeaderUploadOffset = "Upload-Offset"
	HeaderUploadLength = "Upload-Length"
	HeaderReprDigest   = "Repr-Digest" // RFC 9530, of the whole image
)

// EvidenceRef names the image of one stamping.
type EvidenceRef struct {
	Order string
	Use   uint64
	Stamp uint32
}

// EvidenceChunk is a piece of an image on its way to the seal server.
type EvidenceChunk struct {
	Offset      int64
	Length      int64    // of the whole image
	Digest      [32]byte // SHA-256 of the whole image
	ContentType string
	Size        int64     // bytes in Body; -1: not known
	Body        io.Reader // read once
}

// EvidenceState is how far an upload has come.
type EvidenceState struct {
	Offset   int64
	Length   int64    // 0 while no upload was begun
	Digest   [32]byte // of the whole image, when Complete
	Complete bool     // stored for good, and the digest was checked
}

// EvidenceAnswer acknowledges a stored image.
type EvidenceAnswer struct {
	Digest []byte `json:"digest"` // SHA-256 of the image
	Size   int64  `json:"size"`
}

// SettledReport tells the seal server what became of a use. It is sent until
// accepted; a report of a use already reported changes nothing (204).
type SettledReport struct {
	Use       uint64         `json:"use"`
	Order     string         `json:"order"`
	Barrel    string         `json:"barrel"`
	Terminal  string         `json:"terminal"` // IMSI
	User      string         `json:"user"`
	Granted   uint32         `json:"granted"`
	Stamped   uint32         `json:"stamped"`
	Refunded  uint32         `json:"refunded"`
	SettledAt time.Time      `json:"settled_at"`
	Stopped   string         `json:"stopped,omitempty"` // why, if it was disconnected
	Stamps    []SettledStamp `json:"stamps"`
}

// SettledStamp is one stamping in a SettledReport.
type SettledStamp struct {
	Number         uint32    `json:"number"`
	At             time.Time `json:"at"` // when the gateway recorded it
	EvidenceDigest []byte    `json:"evidence_digest,omitempty"`
}

// Disconnect is the seal server's demand to end the order: the use named, and
// every other open use of the order, stops, and the barrels lock. The same id
// gives the same locks, however often it is sent.
type Disconnect struct {
	ID     string `json:"id"`
	Order  string `json:"order"`
	Use    uint64 `json:"use,omitempty"` // that was judged; 0: none in particular
	Reason string `json:"reason"`
}

// DisconnectAnswer says that the disconnect is in the cluster's log. With any
// other answer than this (200) it may have been pushed already, but the server
// has to repeat it.
type DisconnectAnswer struct {
	Locks     []uint64 `json:"locks"` // the first lock that it made; empty if the order was never used
	Committed bool     `json:"committed"`
}
