package sealuse

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/grant"
	"github.com/sealedge/sealedge/edge/wire"
)

// Reader gives its turn to a reader of the replicated state; cluster.Node is
// one.
type Reader interface{ View(fn func(*state.Machine)) }

// Receipt decides on a receipt of a barrel, whoever brought it: one of use, or
// of whichever use the receipt names if use is 0. What the barrel signed has
// happened, so a receipt is refused only if it can't be this barrel's word on
// that use; what is strange about it besides is an alarm.
func Receipt(r Reader, barrel string, use uint64, raw []byte) Step {
	b, refusal := barrelRecord(r, barrel)
	if refusal != nil {
		return refuse(refusal)
	}
	said, err := grant.VerifyReceipt(raw, b.ReceiptPublicKey)
	if err != nil {
		return invalid(barrel, err)
	}
	about := claim{said.Barrel, said.Order, said.UseID, said.Counter}
	u, step := useOf(r, barrel, use, about)
	switch {
	case u == nil && forgotten(r, b, about):
		// The statement of its use brings it back; then this is taken.
		return refuse(wire.NewProblem(wire.CodeUseUnknown, "It was granted in a time that the cluster lost; the barrel's statement of the use comes first."))
	case u == nil:
		return step
	}
	if said.Number > u.Count {
		return unfit(fmt.Sprintf("barrel %s signed stamping %d of use %d, which has %d", barrel, said.Number, u.Id, u.Count))
	}
	if s := stampOf(u, said.Number); len(s.GetReceipt()) > 0 {
		if bytes.Equal(s.Receipt, raw) {
			return Step{Repeat: u}
		}
		return conflict(fmt.Sprintf("barrel %s signed two receipts for stamping %d of use %d", barrel, said.Number, u.Id))
	}
	step = Step{Propose: command.New("barrel:"+barrel, "", "barrel:"+barrel, &command.RecordReceipt{Use: u.Id, Number: said.Number, Receipt: raw})}
	if u.State == command.UseState_SETTLED && said.Number > u.Confirmed {
		step.Alarm = fmt.Sprintf("barrel %s signed stamping %d of use %d, which it had settled with %d", barrel, said.Number, u.Id, u.Confirmed)
	} else if missing := without(u.Methods, said.Methods); missing != "" {
		step.Alarm = fmt.Sprintf("barrel %s stamped for use %d without verifying the %s", barrel, u.Id, missing)
	}
	return step
}

// Statement decides on a barrel's settlement statement, as Receipt does on
// receipts. A count that contradicts the grant or the receipts is counted by
// the ledger as what it is, a fact, and suspends the order.
func Statement(r Reader, barrel string, use uint64, raw []byte) Step {
	b, refusal := barrelRecord(r, barrel)
	if refusal != nil {
		return refuse(refusal)
	}
	said, err := grant.VerifyStatement(raw, b.ReceiptPublicKey)
	if err != nil {
		return invalid(barrel, err)
	}
	about := claim{said.Barrel, said.Order, said.UseID, said.Counter}
	if use == 0 && b.AskedUse != 0 && said.UseID == b.AskedUse {
		return counted(b, about, said, raw)
	}
	u, step := useOf(r, barrel, use, about)
	settle := &command.SettleUse{Use: said.UseID, Stamped: said.Stamped, Statement: raw, Lifetime: said.Lifetime}
	switch {
	case u == nil && forgotten(r, b, about):
		settle.Barrel, settle.Order, settle.Counter = barrel, said.Order, said.Counter
		return Step{Propose: command.New("barrel:"+barrel, "", "barrel:"+barrel, settle)}
	case u == nil:
		return step
	}
	step = Step{Propose: command.New("barrel:"+barrel, "", "barrel:"+barrel, settle)}
	last := lastStamp(u)
	switch settled := u.State == command.UseState_SETTLED; {
	case settled && said.Stamped == u.Confirmed:
		return Step{Repeat: u}
	case settled && said.Stamped < u.Confirmed && u.GetRelease().GetConfirmedBy() != "":
		// Administrators counted more when the barrel was lost. The ledger keeps
		// their count, and the audit chain the barrel's.
	case settled && said.Stamped < u.Confirmed:
		return conflict(fmt.Sprintf("barrel %s settles use %d with %d stampings after it was settled with %d", barrel, u.Id, said.Stamped, u.Confirmed))
	case said.Stamped > u.Count:
		step.Alarm = fmt.Sprintf("barrel %s settles use %d with %d stampings of %d granted", barrel, u.Id, said.Stamped, u.Count)
	case settled:
		step.Alarm = fmt.Sprintf("barrel %s settles use %d with %d stampings after it was settled with %d", barrel, u.Id, said.Stamped, u.Confirmed)
	case said.Stamped < last:
		step.Alarm = fmt.Sprintf("barrel %s settles use %d with %d stampings after a receipt for stamping %d", barrel, u.Id, said.Stamped, last)
	}
	return step
}

// counted is a barrel's answer to being asked for its counters in a cluster epoch
// (state.Machine.Epoch).
func counted(b *command.Barrel, c claim, said grant.Statement, raw []byte) Step {
	if c.barrel != b.Id || c.counter != b.AskedCounter || said.Stamped != 0 {
		return unfit(fmt.Sprintf("barrel %s signed for use %d, by which it was asked for its counters, what nobody asked", b.Id, c.use))
	}
	return Step{Propose: command.New("barrel:"+b.Id, "", "barrel:"+b.Id, &command.ReconcileBarrel{Barrel: b.Id, Use: c.use, Lifetime: said.Lifetime, Statement: raw})}
}

// forgotten tells whether a use that the ledger doesn't know may be one of a time
// that a restore or a forced recovery lost: of a grant before the barrel was
// asked for its counters.
func forgotten(r Reader, b *command.Barrel, c claim) (yes bool) {
	r.View(func(m *state.Machine) {
		yes = m.Epoch() != nil && m.Use(c.use) == nil && c.barrel == b.Id && c.counter < b.AskedCounter
	})
	return yes
}

func barrelRecord(r Reader, id string) (b *command.Barrel, refusal *wire.Problem) {
	r.View(func(m *state.Machine) { b = m.Barrel(id) })
	if b == nil {
		return nil, wire.NewProblem(wire.CodeBarrelNotBound, "The barrel is not on the allow-list.")
	}
	return b, nil
}

// claim is what receipts and statements alike say they are about.
type claim struct {
	barrel, order string
	use, counter  uint64
}

// useOf finds the use that a barrel's signed word is about, or the step that
// refuses it.
func useOf(r Reader, barrel string, use uint64, c claim) (*command.Use, Step) {
	if use != 0 && use != c.use {
		return nil, refuse(wire.NewProblem(wire.CodeReceiptInvalid, fmt.Sprintf("It is about use %d.", c.use)))
	}
	var u *command.Use
	r.View(func(m *state.Machine) { u = m.Use(c.use) })
	switch {
	case u == nil:
		return nil, unfit(fmt.Sprintf("barrel %s signed for use %d, which was never granted", barrel, c.use))
	case c.barrel != barrel || u.Barrel != barrel || u.Order != c.order || u.GrantCounter != c.counter:
		return nil, unfit(fmt.Sprintf("barrel %s signed for barrel %s, order %s, counter %d of use %d, which has barrel %s, order %s, counter %d",
			barrel, c.barrel, c.order, c.counter, c.use, u.Barrel, u.Order, u.GrantCounter))
	}
	return u, Step{}
}

// invalid: not the barrel's word. Malformed bytes are anybody's; a sound
// message that this key did not sign is worth a look.
func invalid(barrel string, err error) Step {
	step := refuse(wire.NewProblem(wire.CodeReceiptInvalid, sentence(words(err.Error()))))
	if !errors.Is(err, grant.ErrMalformed) {
		step.Alarm = fmt.Sprintf("a receipt or statement for barrel %s doesn't verify: %s", barrel, words(err.Error()))
	}
	return step
}

// unfit: the barrel's word, but impossible.
func unfit(what string) Step {
	return Step{Refusal: wire.NewProblem(wire.CodeReceiptInvalid, sentence(words(what))), Alarm: words(what)}
}

// conflict: the barrel's word against its own.
func conflict(what string) Step {
	return Step{Refusal: wire.NewProblem(wire.CodeReceiptConflict, sentence(words(what))), Alarm: words(what)}
}

func stampOf(u *command.Use, number uint32) *command.Stamp {
	for _, s := range u.GetStamps() {
		if s.Number == number {
			return s
		}
	}
	return nil
}

// lastStamp is the highest stamping that has a receipt.
func lastStamp(u *command.Use) (last uint32) {
	for _, s := range u.Stamps {
		if len(s.Receipt) > 0 {
			last = max(last, s.Number)
		}
	}
	return last
}

// without names the first method that is wanted and was not had.
func without(want, had []string) string {
	for _, m := range want {
		if !slices.Contains(had, m) {
			return m
		}
	}
	return ""
}
