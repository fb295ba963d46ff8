package wire

import (
	"encoding/binary"
	"fmt"
	"time"
)

// ProbePort is the UDP port, at the gateway's inner addresses, that a terminal sends
// probes to. A probe is answered by the path that it came by, whichever is the active
// one, and doesn't make that path the active one.
const ProbePort = 5686

// Sizes of a probe and its answer, bytes of UDP payload. An answer is no longer than
// what it answers.
const (
	ProbeSize = 32
	probeBody = 16
)

const (
	probeMagic  = "SEP?"
	answerMagic = "SEP!"
	probeV1     = 1
)

// Paths as probes name them.
const (
	ProbeCarrier  = 1
	ProbeFallback = 2
)

// ProbeAnswer is what the gateway says of the path that a probe came by: that the node
// that answers holds the gateway address, within the lease that the cluster gave it.
type ProbeAnswer struct {
	Nonce    uint64
	Path     uint8     // ProbeCarrier or ProbeFallback
	Active   bool      // the path carries what is sent to the terminal
	Admitted bool      // the terminal has a session there
	Time     time.Time // the gateway's, in milliseconds
}

// MarshalProbe makes a probe: "SEP?", version 1, 3 bytes of 0, the nonce (8 bytes, big
// endian), and 16 bytes of 0.
func MarshalProbe(nonce uint64) []byte {
	b := append(make([]byte, 0, ProbeSize), probeMagic...)
	b = append(b, probeV1, 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, nonce)
	return append(b, make([]byte, ProbeSize-probeBody)...)
}

// ParseProbe reads a probe. Bytes that are 0 in this version are passed over.
func ParseProbe(b []byte) (nonce uint64, ok bool) {
	if len(b) != ProbeSize || string(b[:4]) != probeMagic || b[4] != probeV1 {
		return 0, false
	}
	return binary.BigEndian.Uint64(b[8:]), true
}

// Flags of an answer.
const (
	flagActive   = 1
	flagAdmitted = 2
)

// Append makes an answer: "SEP!", version 1, the path, flags (1 active, 2 admitted), 0,
// the nonce, milliseconds of Unix time (8 bytes each, big endian), and 8 bytes of 0.
func (a ProbeAnswer) Append(b []byte) []byte {
	var flags byte
	if a.Active {
		flags |= flagActive
	}
	if a.Admitted {
		flags |= flagAdmitted
	}
	b = append(b, answerMagic...)
	b = append(b, probeV1, a.Path, flags, 0)
	b = binary.BigEndian.AppendUint64(b, a.Nonce)
	b = binary.BigEndian.AppendUint64(b, uint64(a.Time.UnixMilli()))
	return append(b, make([]byte, 8)...)
}

// ParseProbeAnswer reads an answer; it is ErrMalformed if it is none.
func ParseProbeAnswer(b []byte) (ProbeAnswer, error) {
	if len(b) != ProbeSize || string(b[:4]) != answerMagic || b[4] != probeV1 || b[5] != ProbeCarrier && b[5] != ProbeFallback {
		return ProbeAnswer{}, fmt.Errorf("%w: no answer to a probe", ErrMalformed)
	}
	return ProbeAnswer{
		Nonce: binary.BigEndian.Uint64(b[8:]), Path: b[5], Active: b[6]&flagActive != 0, Admitted: b[6]&flagAdmitted != 0,
		Time: time.UnixMilli(int64(binary.BigEndian.Uint64(b[16:]))).UTC(),
	}, nil
}
