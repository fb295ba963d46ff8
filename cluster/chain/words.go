package chain

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
)

// Words says in one line who did what, and what came of it. It is for people: its
// wording may change with any version, while the chain and its hashes don't.
func (e *Entry) Words() string {
	who := e.Command.GetActor()
	if who == "" {
		who = "the cluster"
	}
	said := e.done()
	if said == "" {
		said = e.asked()
	}
	said = who + " " + said
	if e.Refused() {
		said += fmt.Sprintf(": refused, %s", strings.ToLower(e.Result.GetCode().String()))
		if m := e.Result.GetMessage(); m != "" {
			said += " (" + m + ")"
		}
	}
	return said
}

// asked is what the command asked for.
func (e *Entry) asked() string {
	switch p := e.Payload.(type) {
	case *command.PutPolicy:
		return fmt.Sprintf("put a policy of %d bytes in the place of revision %d", len(p.Document), p.BaseRevision)
	case *command.PutSubscriber:
		return "put " + subscriber(p.Subscriber) + " on the allow-list"
	case *command.RevokeSubscriber:
		return fmt.Sprintf("revoked terminal %s for ever%s%s", p.Imsi, because(p.Reason), ended(e.Record))
	case *command.PutBarrel:
		return "put " + barrel(p.Barrel) + " on the allow-list"
	case *command.RevokeBarrel:
		return fmt.Sprintf("revoked barrel %s for ever%s%s", p.Id, because(p.Reason), ended(e.Record))
	case *command.CheckOut:
		return fmt.Sprintf("checked barrel %s out to terminal %s", p.Barrel, p.Imsi)
	case *command.CheckIn:
		return "checked barrel " + p.Barrel + " in"
	case *command.SuspendDevice:
		return "suspended " + device(p.Imsi, p.Barrel) + because(p.Reason) + ended(e.Record)
	case *command.ResumeDevice:
		return "resumed " + device(p.Imsi, p.Barrel) + because(p.Reason)
	case *command.PutDevices:
		return devices(p, e.Record)
	case *command.OpenSession:
		return fmt.Sprintf("asked for a session of terminal %s on %s", p.Imsi, p.Apn)
	case *command.ModifySession:
		return fmt.Sprintf("moved session %d%s", p.Session, place(p.ServingPlmn, p.RatType))
	case *command.AttachWireGuard:
		return fmt.Sprintf("asked for the fallback path of terminal %s on %s", p.Imsi, p.Apn)
	case *command.SelectPath:
		return fmt.Sprintf("sent session %d over the %s path", p.Session, path(p.Path))
	case *command.ClosePath:
		return fmt.Sprintf("closed %s of session %d%s", closing(p.Path), p.Session, because(p.Reason))
	case *command.ReleasePaths:
		return fmt.Sprintf("released the paths to peer %s%s", address(p.Peer), because(p.Reason))
	case *command.AcquireAddress:
		return fmt.Sprintf("had node %s hold gateway address %s", p.Node, p.Name)
	case *command.BumpRestartCounter:
		return fmt.Sprintf("raised the restart counter of gateway address %s from %d: sessions were lost", p.Name, p.From)
	case *command.AssignAddress:
		return fmt.Sprintf("assigned gateway address %s to node %s", p.Name, p.Node)
	case *command.SurrenderAddress:
		return fmt.Sprintf("noted that node %s holds gateway address %s no more%s", p.Node, p.Name, to(p.To))
	case *command.MoveAddress:
		return fmt.Sprintf("asked for gateway address %s to move%s", p.Name, to(p.To))
	case *command.ReserveUses:
		return fmt.Sprintf("asked for %s of order %s with barrel %s on terminal %s for %s (%s seal, level %d)", count(p.Count, "use"), p.Order, p.Barrel, p.Imsi, p.User, p.SealType, p.Level)
	case *command.RecordReceipt:
		return fmt.Sprintf("told by receipt that stamping %d of use %d was done", p.Number, p.Use)
	case *command.RecordEvidence:
		return fmt.Sprintf("had the image of stamping %d of use %d stored (%d bytes)", p.Number, p.Use, p.Size)
	case *command.SettleUse:
		return fmt.Sprintf("settled use %d: %s", p.Use, count(p.Stamped, "stamping"))
	case *command.Disconnect:
		return "ordered " + locked(p) + because(p.Reason)
	case *command.AckLock:
		return fmt.Sprintf("told that lock %d was carried out by %s", p.Lock, lockers(p))
	case *command.SuspendOrder:
		return "suspended order " + p.Order + because(p.Reason)
	case *command.ResumeOrder:
		return "resumed order " + p.Order + because(p.Reason)
	case *command.MarkOverdue:
		return fmt.Sprintf("found the image of stamping %d of use %d overdue", p.Number, p.Use)
	case *command.ExpireUse:
		return fmt.Sprintf("ended use %d, whose time was up", p.Use)
	case *command.RecordDecision:
		return decision(p)
	case *command.ReleaseUse:
		return fmt.Sprintf("proposed to release use %d with %s%s", p.Use, count(p.Stamped, "stamping"), because(p.Reason))
	case *command.ConfirmRelease:
		return fmt.Sprintf("confirmed that use %d is released with %s, as %s proposed", p.Use, count(p.Stamped, "stamping"), p.ProposedBy)
	case *command.RecordCalls:
		return calls(p)
	case *command.Checkpoint:
		if len(p.Digest) == 0 {
			return "asked all nodes for the digest of their states"
		}
		return fmt.Sprintf("told the digest of its state after log entry %d: %.16x", p.Index, p.Digest)
	case *command.RaiseLevel:
		return fmt.Sprintf("noted that every node applies commands of level %d: %s", p.Level, strings.Join(p.Nodes, ", "))
	case *command.RaiseEpoch:
		return "began a new epoch after a " + p.Cause
	case *command.ReconcileBarrel:
		return fmt.Sprintf("told that barrel %s has stamped %d times in its life", p.Barrel, p.Lifetime)
	case *command.ExcuseBarrel:
		return fmt.Sprintf("excused barrel %s for %s that no use accounts for%s", p.Barrel, count(p.Unaccounted, "stamping"), because(p.Reason))
	case *command.CloseEpoch:
		return fmt.Sprintf("opened the orders again in epoch %d", p.Epoch)
	case *command.ProposeChange:
		return "proposed " + proposal(p) + because(p.Reason)
	case *command.ApproveChange:
		return fmt.Sprintf("approved change %d (digest %.16x), signed", p.Change, p.Digest)
	case *command.RejectChange:
		return fmt.Sprintf("rejected change %d%s", p.Change, because(p.Reason))
	case *command.ReviewChange:
		return fmt.Sprintf("reviewed change %d, made by breaking the glass%s", p.Change, because(p.Review))
	case *command.PutToken:
		return fmt.Sprintf("issued token %s for %s with %s, until %s", p.Token.GetId(), p.Token.GetOwner(), strings.Join(p.Token.GetRoles(), ", "), clock(p.Token.GetExpires()))
	case *command.RevokeToken:
		return "revoked token " + p.Id
	case *command.PutServerKey:
		return serverKey(p)
	case *command.RetireServerKey:
		return "retired server key " + key(p.PublicKey) + " of the fallback path" + because(p.Reason)
	case *command.LeaseFallback:
		return "asked for the fallback path to be open to terminal " + p.Imsi + provedBy(p.Shown)
	case *command.EndFallback:
		return "closed the fallback path to terminal " + p.Imsi + because(p.Reason)
	case *command.RoamWireGuard:
		return fmt.Sprintf("heard session %d over the fallback path from %s", p.Session, endpoint(p.Endpoint, p.EndpointPort))
	}
	return strings.ToLower(e.Command.GetType().String()) // TestEveryCommandHasWords sees to it that there is none
}

// done is what was done, for commands whose record says more than the command; ""
// for the others.
func (e *Entry) done() string {
	switch r := e.Record.(type) {
	case *command.Policy:
		return fmt.Sprintf("put policy revision %d in force (SHA-256 %.16x)", r.Revision, r.Digest)
	case *command.Opened:
		s := r.Session
		by := "the carrier"
		if e.Command.GetType() == command.Type_ATTACH_WIREGUARD {
			by = "the fallback path"
		}
		from := place(s.GetGtp().GetServingPlmn(), s.GetGtp().GetRatType())
		if p, ok := e.Payload.(*command.AttachWireGuard); ok && len(p.Endpoint) > 0 {
			from = " (from " + endpoint(p.Endpoint, p.EndpointPort) + ")"
		}
		return fmt.Sprintf("opened session %d of terminal %s on %s through %s: address %s%s", s.GetId(), s.GetImsi(), s.GetApn(), by, inner(s), from)
	case *command.Closed:
		p, _ := e.Payload.(*command.ClosePath)
		if r.Ended {
			return fmt.Sprintf("ended session %d of terminal %s on %s%s", r.Session.GetId(), r.Session.GetImsi(), r.Session.GetApn(), because(p.GetReason()))
		}
		return fmt.Sprintf("closed %s of session %d of terminal %s%s", closing(p.GetPath()), r.Session.GetId(), r.Session.GetImsi(), because(p.GetReason()))
	case *command.Released:
		p, _ := e.Payload.(*command.ReleasePaths)
		return fmt.Sprintf("released %s that led to peer %s%s", count(uint32(len(r.Sessions)), "path"), address(p.GetPeer()), because(p.GetReason()))
	case *command.Use:
		return e.use(r)
	case *command.Lock:
		if p, ok := e.Payload.(*command.Disconnect); ok {
			return fmt.Sprintf("ordered %s%s: lock %d", locked(p), because(p.Reason), r.Id)
		}
		p, _ := e.Payload.(*command.AckLock)
		return fmt.Sprintf("told that lock %d of barrel %s was carried out by %s", r.Id, r.Barrel, lockers(p))
	case *command.Order:
		if p, ok := e.Payload.(*command.MarkOverdue); ok {
			return fmt.Sprintf("found the image of stamping %d of use %d overdue, and suspended order %s", p.Number, p.Use, r.Number)
		}
	case *command.Change:
		return e.change(r)
	case *command.FallbackLease:
		if r.IssuedByOperator && e.Command.GetType() == command.Type_LEASE_FALLBACK {
			return fmt.Sprintf("issued the fallback path to terminal %s until %s: lease %d", r.Imsi, clock(r.Expires), r.Number)
		}
		if e.Command.GetType() == command.Type_LEASE_FALLBACK {
			return fmt.Sprintf("opened the fallback path to terminal %s%s until %s: lease %d", r.Imsi, provedBy(r.Shown), clock(r.Expires), r.Number)
		}
	}
	return ""
}

// use tells what became of a use.
func (e *Entry) use(u *command.Use) string {
	of := fmt.Sprintf("of order %s with barrel %s", u.Order, u.Barrel)
	switch p := e.Payload.(type) {
	case *command.ReserveUses:
		return fmt.Sprintf("reserved %s %s on terminal %s for %s (%s seal, level %d, %s): use %d, until %s",
			count(u.Count, "use"), of, u.Imsi, u.User, u.SealType, u.Level, strings.Join(u.Methods, " and "), u.Id, clock(u.NotAfter))
	case *command.RecordReceipt:
		return fmt.Sprintf("told by receipt that stamping %d of use %d %s was done", p.Number, u.Id, of)
	case *command.RecordEvidence:
		return fmt.Sprintf("had the image of stamping %d of use %d %s stored (%d bytes, SHA-256 %.16x)", p.Number, u.Id, of, p.Size, p.Digest)
	case *command.SettleUse:
		return fmt.Sprintf("settled use %d %s: %s, %d given back", u.Id, of, count(u.Confirmed, "stamping"), u.Refunded)
	case *command.ExpireUse:
		return fmt.Sprintf("ended use %d %s, whose time was up", u.Id, of)
	case *command.ReleaseUse:
		return fmt.Sprintf("proposed to release use %d %s with %s%s", u.Id, of, count(p.Stamped, "stamping"), because(p.Reason))
	case *command.ConfirmRelease:
		return fmt.Sprintf("released use %d %s with %s, as %s had proposed", u.Id, of, count(p.Stamped, "stamping"), p.ProposedBy)
	}
	return ""
}

// change tells what became of a change.
func (e *Entry) change(c *command.Change) string {
	state := ""
	switch c.State {
	case command.ChangeState_PENDING:
		state = fmt.Sprintf(": %d of %d approvals, until %s", len(c.Approvals), c.Needed, clock(c.Expires))
	case command.ChangeState_IN_FORCE:
		state = ": in force"
		if c.Revision != 0 {
			state += fmt.Sprintf(" as policy revision %d", c.Revision)
		}
	}
	switch p := e.Payload.(type) {
	case *command.ProposeChange:
		how := "proposed"
		if c.BreakGlass {
			how = "broke the glass for"
			state += fmt.Sprintf(", to be reviewed by another person before %s", clock(c.ReviewDue))
		}
		return fmt.Sprintf("%s change %d, %s%s%s", how, c.Id, proposal(p), because(p.Reason), state)
	case *command.ApproveChange:
		return fmt.Sprintf("approved change %d of %s (digest %.16x), signed%s", c.Id, c.ProposedBy, p.Digest, state)
	}
	return ""
}

func clock(ns int64) string { return at(ns).Format(time.RFC3339) }

func address(b []byte) string {
	if a, ok := netip.AddrFromSlice(b); ok {
		return a.String()
	}
	return "unknown"
}
