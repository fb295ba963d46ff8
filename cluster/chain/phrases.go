package chain

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy"
)

// because appends a reason that was given.
func because(reason string) string {
	if reason = strings.TrimSpace(reason); reason == "" {
		return ""
	}
	return fmt.Sprintf(" (%q)", reason)
}

func to(node string) string {
	if node == "" {
		return ""
	}
	return " to node " + node
}

func count[N uint32 | uint64](n N, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func subscriber(s *command.Subscriber) string {
	words := "terminal " + s.GetImsi()
	if s.GetLabel() != "" {
		words += fmt.Sprintf(" %q", s.GetLabel())
	}
	if len(s.GetImeis()) > 0 {
		words += " in handset " + strings.Join(s.GetImeis(), " or ")
	}
	if len(s.GetApns()) > 0 {
		words += " for " + strings.Join(s.GetApns(), ", ")
	}
	return words + stopped(s.GetState())
}

func barrel(b *command.Barrel) string {
	words := "barrel " + b.GetId()
	if b.GetSealType() != "" {
		words += " with a " + b.GetSealType() + " seal"
	}
	return words + stopped(b.GetState())
}

func stopped(s command.DeviceState) string {
	if s == command.DeviceState_SUSPENDED_DEVICE {
		return " (suspended)"
	}
	return ""
}

// device names the one of the two that there is.
func device(imsi, id string) string {
	if id != "" {
		return "barrel " + id
	}
	return "terminal " + imsi
}

// ended tells what a revocation ended.
func ended(record proto.Message) string {
	r, ok := record.(*command.Revocation)
	if !ok || len(r.Sessions)+len(r.Uses)+len(r.Locks) == 0 {
		return ""
	}
	return fmt.Sprintf(": ended %s and %s, ordered %s", count(uint32(len(r.Sessions)), "session"), count(uint32(len(r.Uses)), "use"), count(uint32(len(r.Locks)), "lock"))
}

// devices tells of many changes at once: each, if they are few.
func devices(p *command.PutDevices, record proto.Message) string {
	const few = 3
	var each []string
	for _, c := range p.Changes {
		switch {
		case c.GetSubscriber() != nil:
			each = append(each, "terminal "+c.GetSubscriber().GetSubscriber().GetImsi())
		case c.GetBarrel() != nil:
			each = append(each, "barrel "+c.GetBarrel().GetBarrel().GetId())
		case c.GetCheckOut() != nil:
			each = append(each, fmt.Sprintf("check-out of barrel %s to terminal %s", c.GetCheckOut().Barrel, c.GetCheckOut().Imsi))
		case c.GetCheckIn() != nil:
			each = append(each, "check-in of barrel "+c.GetCheckIn().Barrel)
		case c.GetResume() != nil:
			each = append(each, "resumption of "+device(c.GetResume().Imsi, c.GetResume().Barrel))
		}
	}
	words := "changed " + count(uint32(len(p.Changes)), "device")
	if len(each) > few {
		each = append(each[:few:few], "…")
	}
	if len(each) > 0 {
		words += " (" + strings.Join(each, ", ") + ")"
	}
	if r, ok := record.(*command.DevicesPut); ok {
		var carried, unchanged, refused int
		for _, o := range r.Outcomes {
			switch {
			case o.Code != command.Code_OK:
				refused++
			case o.Unchanged:
				unchanged++
			default:
				carried++
			}
		}
		words += fmt.Sprintf(": %d carried out, %d as they were, %d refused", carried, unchanged, refused)
	}
	return words
}

// place says where a session is.
func place(plmn string, rat uint32) string {
	var list []string
	if plmn != "" {
		list = append(list, "network "+plmn)
	}
	if rat != 0 {
		list = append(list, policy.RAT(rat).String())
	}
	if len(list) == 0 {
		return ""
	}
	return " (" + strings.Join(list, ", ") + ")"
}

// inner is the session's address, or both.
func inner(s *command.Session) string {
	var list []string
	if len(s.GetAddress()) > 0 {
		list = append(list, address(s.Address))
	}
	if len(s.GetPrefix6()) > 0 {
		list = append(list, address(s.Prefix6)+"/64")
	}
	return strings.Join(list, " and ")
}

func path(k command.PathKind) string {
	if k == command.PathKind_WIREGUARD {
		return "fallback"
	}
	return "carrier's"
}

func closing(k command.PathKind) string {
	if k == command.PathKind_PATH_KIND_UNSPECIFIED {
		return "all paths"
	}
	return "the " + path(k) + " path"
}

// locked says what a disconnect stops.
func locked(p *command.Disconnect) string {
	var list []string
	if p.Barrel != "" {
		list = append(list, "barrel "+p.Barrel+" locked")
	}
	if p.Use != 0 {
		list = append(list, fmt.Sprintf("use %d stopped", p.Use))
	}
	if p.Order != "" {
		list = append(list, "order "+p.Order+" ended")
	}
	if len(list) == 0 {
		return "nothing"
	}
	return strings.Join(list, ", ")
}

func lockers(p *command.AckLock) string {
	switch {
	case p.GetBarrel() && p.GetTerminal():
		return "barrel and terminal"
	case p.GetTerminal():
		return "the terminal"
	}
	return "the barrel"
}

func decision(p *command.RecordDecision) string {
	verdict := "refused"
	if p.Allowed {
		verdict = "allowed"
	}
	words := fmt.Sprintf("%s %s", p.Kind, verdict)
	if p.Subject != "" {
		words += ", " + p.Subject
	}
	if p.Code != "" && p.Code != p.Kind {
		words += ", " + p.Code
	}
	if len(p.Reasons) > 0 {
		words += ": " + strings.Join(p.Reasons, "; ")
	}
	return "noted: " + words
}

// calls tells of calls of the admin API.
func calls(p *command.RecordCalls) string {
	const few = 3
	var each []string
	personal := 0
	for _, c := range p.Calls {
		if c.Personal {
			personal++
		}
		words := c.Caller + " " + c.Operation
		if c.Subject != "" {
			words += " of " + c.Subject
		}
		if c.Token != "" {
			words += " by token " + c.Token
		}
		if c.Times > 1 {
			words += fmt.Sprintf(" %d times", c.Times)
		}
		each = append(each, fmt.Sprintf("%s: %d", words, c.Status))
	}
	words := "noted " + count(uint32(len(p.Calls)), "call") + " of the admin API"
	if personal > 0 {
		words += fmt.Sprintf(", %d of which showed personal data", personal)
	}
	if p.Lost > 0 {
		words += fmt.Sprintf(", after %d that were lost", p.Lost)
	}
	if len(each) > few {
		each = append(each[:few:few], "…")
	}
	if len(each) > 0 {
		words += " (" + strings.Join(each, "; ") + ")"
	}
	return words
}

// proposal says what a change is to do.
func proposal(p *command.ProposeChange) string {
	if p.Devices != nil {
		return strings.TrimPrefix(devices(p.Devices, nil), "changed ") + " to be changed"
	}
	words := fmt.Sprintf("a policy of %d bytes in the place of revision %d", len(p.Policy.GetDocument()), p.Policy.GetBaseRevision())
	if p.RollbackTo != 0 {
		words = fmt.Sprintf("policy revision %d to be put in force again", p.RollbackTo)
	}
	if len(p.Touches) > 0 {
		words += ", which touches " + strings.Join(p.Touches, ", ")
	}
	return words
}

// serverKey says what a key of the fallback path comes in the place of.
func serverKey(p *command.PutServerKey) string {
	words := "put server key " + key(p.PublicKey) + " in use on the fallback path"
	switch overlap := time.Duration(p.OverlapSeconds) * time.Second; {
	case len(p.Replaces) == 0:
		return words
	case overlap == 0:
		return words + " in the place of " + key(p.Replaces) + ", at once"
	default:
		return fmt.Sprintf("%s in the place of %s, which is good for %v yet", words, key(p.Replaces), overlap)
	}
}

// key is a WireGuard key as its tools write it.
func key(public []byte) string { return base64.StdEncoding.EncodeToString(public) }

// provedBy says what was shown for a lease.
func provedBy(shown uint32) string {
	if shown == 0 {
		return ""
	}
	return ", by " + policy.Credentials(shown).String() + ","
}

// endpoint is where a terminal is outside of the tunnel.
func endpoint(b []byte, port uint32) string {
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		return "nowhere known"
	}
	return netip.AddrPortFrom(a, uint16(port)).String()
}
