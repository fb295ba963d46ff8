package sealuse

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/policy/view"
)

// Facts are the records that a request is decided on, as of one moment.
type Facts struct {
	Now         time.Time              // the later of the node's clock and the cluster's
	Session     *command.Session       // of the connection's source address; nil: none
	Subscriber  *command.Subscriber    // whose session it is
	Barrel      *command.Barrel        // that was asked for; nil: not on the list
	BarrelAlive bool                   // its heartbeats arrive
	Lease       *command.FallbackLease // of the fallback path, the terminal's; nil: none
	Shown       policy.Credentials     // what the request and the barrel proved to be by, beside the session
	BarrelUse   *command.Use           // unsettled use of the barrel; nil: none
	BarrelLock  *command.Lock          // pending lock of the barrel; nil: none
	Order       *command.Order         // the ledger's account; nil: never used
	Settled     uint32                 // stampings of the order's settled uses: the seal server hears of no others
	Overdue     bool                   // an image of the order is due and missing
	Frozen      bool                   // orders give nothing until every barrel was counted
	Unaccounted uint64                 // stampings that barrels counted and no use accounts for
	Earlier     *command.Use           // that this terminal's request id made; nil: none
}

// Step is what comes next. Exactly one of the first three is set, or none where
// the function says so.
type Step struct {
	Propose *command.Command
	Repeat  *command.Use // the request was carried out before: answer from this
	Refusal *wire.Problem
	// Alarm is what administrators must hear of, beside the refusal.
	Alarm string
}

func refuse(p *wire.Problem) Step { return Step{Refusal: p} }

// Screen decides whether a request may be put to the seal server (sealuse step
// 4): if so, the step is empty.
func Screen(f Facts, rules *policy.Rules, ask Ask) Step {
	if f.Session == nil {
		return refuse(wire.NewProblem(wire.CodeTerminalUnknown, ""))
	}
	if f.Earlier != nil {
		return repeat(f.Earlier, ask)
	}
	if f.Frozen {
		return refuse(wire.NewProblem(wire.CodeOrderFrozen, ""))
	}
	if d := rules.ScreenUse(f.request(ask, wire.VerifyAnswer{})); !d.Allowed {
		return refuse(FromDecision(d))
	}
	return f.barrelFree()
}

// repeat answers a request id that was carried out before: with the same grant
// while the use is open, if the request is the same.
func repeat(use *command.Use, ask Ask) Step {
	if use.Order != ask.Order.String() || use.Barrel != ask.Barrel.String() || ask.Count != 0 && ask.Count != use.Count {
		return refuse(wire.NewProblem(wire.CodeRequestReused,
			fmt.Sprintf("It made use %d: order %s, barrel %s, %d stampings.", use.Id, use.Order, use.Barrel, use.Count)))
	}
	switch use.State {
	case command.UseState_RESERVED:
		return Step{Repeat: use}
	case command.UseState_STOPPED:
		return refuse(wire.NewProblem(wire.CodeUseEnded, fmt.Sprintf("Use %d was stopped: %s", use.Id, sentence(words(use.Reason)))))
	}
	return refuse(wire.NewProblem(wire.CodeUseEnded, fmt.Sprintf("Use %d is settled: %d of %d stampings were made.", use.Id, use.Confirmed, use.Count)))
}

// barrelFree refuses while the barrel has something else to finish. The state
// machine refuses too; asked here, the seal server isn't bothered.
func (f Facts) barrelFree() Step {
	switch {
	case f.BarrelLock != nil:
		return refuse(wire.NewProblem(wire.CodeBarrelBusy, fmt.Sprintf("Lock %d is pending: %s", f.BarrelLock.Id, sentence(words(f.BarrelLock.Reason)))))
	case f.BarrelUse != nil:
		return refuse(wire.NewProblem(wire.CodeBarrelBusy, fmt.Sprintf("Use %d of order %s is not settled.", f.BarrelUse.Id, f.BarrelUse.Order)))
	}
	return Step{}
}

// Question is what the seal server is asked about a screened request.
func Question(f Facts, ask Ask) wire.VerifyRequest {
	return wire.VerifyRequest{Order: ask.Order.String(), Barrel: ask.Barrel.String(), Terminal: f.Session.GetImsi(), Time: f.Now}
}

// Permit decides on the seal server's answer (step 6) and proposes the
// reservation (step 7). The facts are to be fresh: they are the command's
// preconditions.
func Permit(f Facts, rules *policy.Rules, ask Ask, answer wire.VerifyAnswer) Step {
	if f.Session == nil {
		return refuse(wire.NewProblem(wire.CodeTerminalUnknown, ""))
	}
	if f.Earlier != nil {
		return repeat(f.Earlier, ask)
	}
	if f.Frozen {
		return refuse(wire.NewProblem(wire.CodeOrderFrozen, ""))
	}
	req := f.request(ask, answer)
	if screened := rules.ScreenUse(req); !screened.Allowed {
		return refuse(FromDecision(screened))
	}
	if !answer.Pass {
		return refuse(serverRefused(answer))
	}
	if d := rules.PermitUse(req); !d.Allowed {
		step := refuse(FromDecision(d))
		if d.Code == policy.CodeLevelNotMet {
			step.Alarm = fmt.Sprintf("the seal server permitted more than policy allows for order %s: %s", ask.Order, step.Refusal.Detail)
		}
		return step
	}
	if step := f.barrelFree(); step.Refusal != nil {
		return step
	}
	if answer.User == "" || len(answer.User) > 128 || len(answer.DocumentDigest) != 0 && len(answer.DocumentDigest) != 32 {
		return Step{
			Refusal: wire.NewProblem(wire.CodeServerRefused, "The seal server's answer names no user, or has a malformed document digest."),
			Alarm:   "the seal server's answer is malformed",
		}
	}
	terms := rules.Terms(req)
	count := min(f.left(answer, terms.Count), state.MaxCount)
	if ask.Count > count || count == 0 {
		return refuse(wire.NewProblem(wire.CodeOrderExhausted, fmt.Sprintf(
			"%d stampings were asked for; of %d permitted, %d can still be granted.", max(ask.Count, 1), answer.Count, count)))
	}
	if ask.Count != 0 {
		count = ask.Count
	}
	imsi := f.Session.Imsi
	return Step{Propose: command.New(ClientID(imsi), ask.RequestID, "user:"+words(answer.User), &command.ReserveUses{
		Order: ask.Order.String(), Barrel: f.Barrel.Id, Imsi: imsi, User: words(answer.User), SealType: terms.SealType,
		Level: uint32(terms.Level), Methods: terms.Methods, Count: count, Permitted: answer.Count - f.elsewhere(answer),
		NotBefore: answer.NotBefore.UnixNano(), NotAfter: answer.NotAfter.UnixNano(), GrantNotAfter: terms.NotAfter.UnixNano(),
		EvidenceSeconds: terms.EvidenceSeconds, DocumentDigest: answer.DocumentDigest, PolicyRevision: rules.Revision,
		SubscriberVersion: f.Subscriber.Version, BarrelVersion: f.Barrel.Version, Session: f.Session.Id,
	})}
}

// Check decides on a request as Permit does, and tells what would be granted, or
// why not: its step proposes nothing. The request id doesn't count.
func Check(f Facts, rules *policy.Rules, ask Ask, answer wire.VerifyAnswer) (wire.UseCheck, Step) {
	f.Earlier = nil
	step := Permit(f, rules, ask, answer)
	if step.Refusal != nil {
		return wire.UseCheck{}, step
	}
	r := new(command.ReserveUses)
	if err := proto.Unmarshal(step.Propose.Payload, r); err != nil {
		return wire.UseCheck{}, refuse(wire.NewProblem(wire.CodeInternal, ""))
	}
	return wire.UseCheck{
		Order: r.Order, Barrel: r.Barrel, Methods: r.Methods, Count: r.Count, Level: r.Level, SealType: r.SealType, NotAfter: at(r.GrantNotAfter),
	}, Step{Alarm: step.Alarm}
}

// left is what the order has left by the ledger's count and by the seal
// server's.
func (f Facts) left(answer wire.VerifyAnswer, byLedger uint32) uint32 {
	return byLedger - min(byLedger, f.elsewhere(answer))
}

// elsewhere is how many stampings the seal server knows of that the gateway has
// no part in. Only settled uses are reported to it: what the ledger has beyond
// those is not among them. The ledger is told of the order without them, because
// its arithmetic, and not this, decides between requests that come together.
func (f Facts) elsewhere(answer wire.VerifyAnswer) uint32 {
	return min(answer.Count, answer.Used-min(answer.Used, f.Settled))
}

// ClientID numbers the requests of a terminal in the replicated log.
func ClientID(imsi string) string { return "phone:" + imsi }

// request is what policy is asked.
func (f Facts) request(ask Ask, a wire.VerifyAnswer) policy.UseRequest {
	path := policy.PathKind(f.Session.GetActive())
	apn, _ := ident.ParseAPN(f.Session.GetApn())
	return policy.UseRequest{
		Now:             f.Now,
		Path:            path,
		APN:             apn,
		Access:          view.Where(f.Session, path),
		Shown:           f.Shown | view.Shown(f.Session, path, view.Lease(f.Lease, f.Now)),
		SessionAddress:  address(f.Session.GetAddress()),
		SessionPrefix:   prefix(f.Session.GetPrefix6()),
		Terminal:        view.Subscriber(f.Subscriber),
		TerminalAddress: ask.TerminalAddress,
		ServerAddress:   ask.ServerAddress,
		Time:            ask.Time,
		Barrel:          view.Barrel(f.Barrel),
		BarrelAlive:     f.BarrelAlive,
		Ledger:          f.ledger(),
		Answer: policy.Answer{
			Pass: a.Pass, Words: words(a.Reason), SealType: a.SealType, Level: int(a.Level), Methods: a.Methods,
			Count: a.Count, NotBefore: a.NotBefore, NotAfter: a.NotAfter,
		},
	}
}
