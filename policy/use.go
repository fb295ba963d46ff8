package policy

import (
	"net/netip"
	"slices"
	"time"

	"github.com/sealedge/sealedge/policy/ident"
)

// Ledger is the view of an order in the gateway's own ledger. The zero value
// is an order that was never used.
type Ledger struct {
	Found           bool
	State           State // StateRevoked: ended
	Reason          string
	EvidenceOverdue bool // an image of the order is due and missing
	Reserved        uint32
	Confirmed       uint32
}

// Answer is what the seal server said of a request. The zero value is a
// refusal.
type Answer struct {
	Pass      bool
	Words     string // its reason when it did not pass
	SealType  string
	Level     int
	Methods   []string
	Count     uint32 // stampings that the order permits in all
	NotBefore time.Time
	NotAfter  time.Time
}

// UseRequest asks for a use of a seal. Times are compared with Now, which is
// the cluster's clock.
type UseRequest struct {
	Now             time.Time
	Path            PathKind
	SessionAddress  netip.Addr   // the tunnel's own inner IPv4 address; the zero Addr: none
	SessionPrefix   netip.Prefix // the tunnel's own /64; the zero Prefix: none
	Terminal        Subscriber   // whose session it is
	TerminalAddress netip.Addr   // as the request says
	ServerAddress   string       // as the request says
	Time            time.Time    // as the request says
	Barrel          Barrel
	BarrelAlive     bool // it heartbeats through the gateway
	Ledger          Ledger
	Answer          Answer // zero until the seal server was asked
	APN             ident.APN
	Access          Access
	Shown           Credentials // what terminal, user and barrel proved to be by
}

// ScreenUse decides whether a request is fit to be put to the seal server
// (sealuse step 4). It doesn't look at the Answer, and grants nothing.
func (r *Rules) ScreenUse(q UseRequest) Decision {
	if r == nil {
		return noPolicy()
	}
	f := q.facts(r)
	by := r.rule(&f)
	var t tally
	r.screen(&t, &q, by)
	return r.decide(t, q.Barrel.SealType, f, by, func(id ruleID) (Code, string) { return q.whyNot(r, id) })
}

// PermitUse decides whether uses may be reserved and granted on the seal
// server's Answer (step 6), judging the request itself once more with it.
func (r *Rules) PermitUse(q UseRequest) Decision {
	if r == nil {
		return noPolicy()
	}
	f := q.facts(r)
	by := r.rule(&f)
	var t tally
	r.screen(&t, &q, by)
	a := &q.Answer
	kind, known := r.SealTypes[q.Barrel.SealType]
	require := r.require(by)
	kind = kind.stricter(require)
	matches := a.Pass && a.SealType == q.Barrel.SealType
	span := a.NotAfter.Sub(a.NotBefore)

	t.judge(ruleServerPassed, a.Pass)
	t.judgeIf(a.Pass, ruleSealTypeMatches, matches)
	t.judgeIf(matches && known, ruleLevel, r.levelMet(kind, a.Level))
	t.judgeIf(matches && known, ruleMethods, r.methodsMet(kind, require.Methods, a))
	t.judgeIf(matches && known, ruleCount, a.Count > 0 && a.Count <= kind.MaxCount)
	t.judgeIf(a.Pass, ruleWindowOpen, !a.NotBefore.IsZero() && !q.Now.Before(a.NotBefore) && q.Now.Before(a.NotAfter))
	t.judgeIf(matches && known, ruleWindowLength, span > 0 && span <= kind.MaxWindow)
	t.judgeIf(a.Pass, ruleUsesLeft, q.left() > 0)
	return r.decide(t, q.Barrel.SealType, f, by, func(id ruleID) (Code, string) { return q.whyNot(r, id) })
}

// Terms returns what a use that PermitUse allowed is granted with: the methods
// answered, all uses that the order has left, and an expiry by both the order's
// window and policy. For any other request they are meaningless.
func (r *Rules) Terms(q UseRequest) Terms {
	kind, _ := r.ruled(&q)
	methods, _ := ParseMethods(q.Answer.Methods)
	expiry := q.Now.Add(kind.GrantLifetime)
	if q.Answer.NotAfter.Before(expiry) {
		expiry = q.Answer.NotAfter
	}
	return Terms{
		SealType: q.Answer.SealType, Level: q.Answer.Level, Methods: methods.Names(),
		Count: q.left(), NotAfter: expiry, EvidenceSeconds: kind.EvidenceSeconds,
	}
}

// ruled is the seal type as the rule that decides on a use has it, and the methods
// that it asks for besides.
func (r *Rules) ruled(q *UseRequest) (SealType, Methods) {
	f := q.facts(r)
	require := r.require(r.rule(&f))
	return r.SealTypes[q.Barrel.SealType].stricter(require), require.Methods
}

func (r *Rules) screen(t *tally, q *UseRequest, by ruling) {
	terminal, barrel := q.Terminal.Found, q.Barrel.Found
	kind, known := r.SealTypes[q.Barrel.SealType]

	t.judge(rulePolicy, true)
	t.judge(ruleTerminalListed, terminal)
	t.judgeIf(terminal, ruleTerminalActive, q.Terminal.State == StateActive)
	t.judge(ruleAddressOwn, q.addressOwn())
	t.judge(ruleServer, r.serverAllowed(q.ServerAddress))
	t.judge(ruleClock, !q.Time.IsZero() && !q.Now.IsZero() && q.Time.Sub(q.Now).Abs() <= r.ClockTolerance)
	t.judge(ruleBarrelListed, barrel)
	t.judgeIf(barrel, ruleBarrelActive, q.Barrel.State == StateActive)
	t.judgeIf(barrel, ruleBarrelCheckedOut, q.Barrel.with(q.Terminal))
	t.judgeIf(barrel, ruleBarrelAlive, q.BarrelAlive)
	t.judgeIf(q.Ledger.Found, ruleLedgerOpen, q.Ledger.State == StateActive && !q.Ledger.EvidenceOverdue)
	t.judgeIf(barrel, ruleSealTypeKnown, known)
	t.judgeIf(barrel && known, rulePathForLevel, r.pathFor(q.Path, kind.Level))
	asked, required := r.Admission.Credentials[q.Path], r.require(by).Credentials
	t.judgeIf(asked != 0, ruleCredentials, q.Shown.Has(asked))
	t.judgeIf(by.any, rulePermits, r.permits(by))
	t.judgeIf(required != 0, ruleRequires, q.Shown.Has(required))
}

// addressOwn tells whether the address that the request names is its tunnel's:
// the IPv4 address, or one out of the /64, of which the terminal makes as many
// as it likes.
func (q *UseRequest) addressOwn() bool {
	a := q.TerminalAddress.Unmap()
	return a.IsValid() && (a == q.SessionAddress.Unmap() || q.SessionPrefix.Contains(a))
}

func (r *Rules) serverAllowed(named string) bool {
	for i := range r.Servers {
		if r.Servers[i].written(named) {
			return true
		}
	}
	s, err := ParseServer(named)
	return err == nil && slices.ContainsFunc(r.Servers, func(allowed Server) bool { return allowed.covers(s) })
}

func (r *Rules) pathFor(path PathKind, level int) bool {
	switch path {
	case PathGTP:
		return true
	case PathWireGuard:
		return r.Fallback.Allowed && !slices.Contains(r.Fallback.ForbidLevels, level)
	}
	return false
}

// levelMet: the level answered is one that policy knows, and not weaker (of a
// higher number) than that of the seal type.
func (r *Rules) levelMet(kind SealType, answered int) bool {
	_, known := r.Levels[answered]
	return known && answered <= kind.Level
}

// methodsMet: the methods answered are known and include those of the seal
// type's level, of the level answered and of the rule that decides. A level
// without methods is no level.
func (r *Rules) methodsMet(kind SealType, besides Methods, a *Answer) bool {
	want := r.Levels[kind.Level].Methods | r.Levels[a.Level].Methods
	got, ok := ParseMethods(a.Methods)
	return ok && want != 0 && got.Has(want|besides)
}

// left is what remains of the order: 0 when the ledger holds more than the
// server now permits.
func (q *UseRequest) left() uint32 {
	taken := uint64(q.Ledger.Reserved) + uint64(q.Ledger.Confirmed)
	if taken >= uint64(q.Answer.Count) {
		return 0
	}
	return q.Answer.Count - uint32(taken)
}
