package sealuse

import (
	"bytes"
	"fmt"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/wire"
)

// Stamping finds a stamping of a use, nil if nothing is known of it yet; the
// problem is for a number that no stamping of the use can have.
func Stamping(use *command.Use, number uint32) (*command.Stamp, *wire.Problem) {
	last := use.Count
	if use.State == command.UseState_SETTLED {
		last = use.Confirmed
	}
	if number == 0 || number > last {
		return nil, wire.NewProblem(wire.CodeStampUnknown, fmt.Sprintf("Use %d has no stamping %d.", use.Id, number))
	}
	return stampOf(use, number), nil
}

// EvidenceWanted decides whether an image of a stamping may be sent: the step
// is empty if so, and Repeat if that very image is recorded already. An image
// may come before the receipt of its stamping.
func EvidenceWanted(use *command.Use, number uint32, digest [32]byte) Step {
	s, unknown := Stamping(use, number)
	switch {
	case unknown != nil:
		return refuse(unknown)
	case len(s.GetEvidenceDigest()) == 0:
		return Step{}
	case bytes.Equal(s.EvidenceDigest, digest[:]):
		return Step{Repeat: use}
	}
	return refuse(wire.NewProblem(wire.CodeEvidenceConflict, fmt.Sprintf("Stored is an image with the SHA-256 %x.", s.EvidenceDigest)))
}

// Evidence proposes to record that the seal server has stored an image. The
// server's word must be about the image that the terminal sent.
func Evidence(use *command.Use, number uint32, sent [32]byte, length int64, stored wire.EvidenceState) Step {
	if step := EvidenceWanted(use, number, sent); step.Refusal != nil || step.Repeat != nil {
		return step
	}
	if stored.Digest != sent || stored.Length != length || !stored.Complete {
		return Step{
			Refusal: wire.NewProblem(wire.CodeDigestMismatch, fmt.Sprintf("Sent were %d bytes with SHA-256 %x; stored were %d with %x.", length, sent, stored.Length, stored.Digest)),
			Alarm:   fmt.Sprintf("the seal server stored another image than was sent for stamping %d of use %d", number, use.Id),
		}
	}
	return Step{Propose: command.New(ClientID(use.Imsi), "", ClientID(use.Imsi), &command.RecordEvidence{
		Use: use.Id, Number: number, Digest: sent[:], Size: uint64(length),
	})}
}

// expiryGrace is how long after a grant's expiry the barrel is given to settle
// by itself, clocks and retransmissions included.
const expiryGrace = time.Minute

// Expired proposes to stop every use whose grant ran out without a settlement:
// the terminal went away with the grant, or the barrel with the count.
func Expired(m *state.Machine, now time.Time) (stop []*command.Command) {
	for _, u := range m.ExpiredUses(Later(now, m.Clock()).Add(-expiryGrace)) {
		stop = append(stop, command.New("expiry", "", "gateway", &command.ExpireUse{Use: u.Id}))
	}
	return stop
}

// Overdue proposes to mark every image that was due by now and is missing.
func Overdue(m *state.Machine, now time.Time) (mark []*command.Command) {
	for _, o := range m.OverdueCandidates(Later(now, m.Clock())) {
		mark = append(mark, command.New("overdue", "", "gateway", &command.MarkOverdue{Use: o.Use, Number: o.Number}))
	}
	return mark
}
