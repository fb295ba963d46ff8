package fallback

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/policy/view"
)

// Sizes of what is in a request.
const (
	keySize     = 32 // of Curve25519 and of a pre-shared key, bytes
	proofSize   = 32 // of HMAC with SHA-256, bytes
	maxAccount  = 128
	maxPassword = 1024
)

var requestID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// parse checks the form of a request, and whom it is about. What it answers doesn't
// quote the request: there may be a password in it.
func parse(r wire.ConnectionRequest) (ident.IMSI, *wire.Problem) {
	imsi, err := ident.ParseIMSI(r.IMSI)
	switch {
	case err != nil:
		return imsi, bad("imsi: want the terminal's, 6 to 15 digits.")
	case !requestID.MatchString(r.RequestID):
		return imsi, bad("request_id: want 1 to 64 letters, digits, dashes or underscores, new for each request.")
	case len(r.PublicKey) != keySize:
		return imsi, bad("public_key: want the 32 bytes of the terminal's WireGuard key, in base64.")
	case r.Time.IsZero():
		return imsi, bad("time: want the terminal's clock, RFC 3339.")
	case (r.Account == "") != (r.Password == ""):
		return imsi, bad("account and password: want both or none.")
	case len(r.Account) > maxAccount || len(r.Password) > maxPassword:
		return imsi, bad(fmt.Sprintf("account or password: too long; at most %d and %d bytes.", maxAccount, maxPassword))
	case len(r.KeyProof) != 0 && len(r.KeyProof) != proofSize:
		return imsi, bad("key_proof: want 32 bytes in base64.")
	}
	return imsi, nil
}

func bad(detail string) *wire.Problem {
	p := wire.NewProblem(wire.CodeBadRequest, detail)
	p.Hint = "Mend the request as the detail says; it is described in docs/api/fallback.yaml."
	return p
}

// decision is what becomes of a request at a moment.
type decision struct {
	facts
	shown policy.Credentials // beside the WireGuard key

	code    string // why it is refused; empty: it isn't
	reasons []string

	problem *wire.Problem          // why it isn't carried out, though it isn't refused
	earlier *command.FallbackLease // that the same request was given before
}

func (d *decision) refused() bool { return d.code != "" }

// refuse adds a reason. The first names the refusal.
func (d *decision) refuse(code, reason string) {
	if d.code == "" {
		d.code = code
	}
	d.reasons = append(d.reasons, reason)
}

// revised is a policy that may be missing.
type revised struct{ *policy.Rules }

func (r revised) revision() uint64 {
	if r.Rules == nil {
		return 0
	}
	return r.Revision
}

// facts are what a request is decided by.
type facts struct {
	now        time.Time
	rules      revised
	subscriber *command.Subscriber // nil: not on the list
	session    *command.Session    // nil: it has none
	apn        ident.APN
	address    netip.Addr // reserved for it; invalid: none
	gateway    netip.Addr // inside the tunnel; invalid: none of IPv4
	keys       []wire.GatewayKey
	lease      *command.FallbackLease
	answered   *command.Result // to the same request; nil: it is new
}

func (s *Server) gather(imsi ident.IMSI, request string) (f facts) {
	f.rules = revised{s.cfg.Rules()}
	s.cfg.Cluster.View(func(m *state.Machine) {
		f.now = sealuse.Later(time.Now(), m.Clock())
		f.subscriber = m.Subscriber(imsi.String())
		name := s.cfg.APN(f.subscriber)
		f.apn, _ = ident.ParseAPN(name)
		f.session = m.SessionByKey(imsi.String(), name)
		f.address, _ = netip.AddrFromSlice(m.Lease(name, imsi.String()).GetAddress())
		f.lease = m.FallbackLease(imsi.String())
		f.answered = m.Answered(clientID(imsi), request)
		for _, k := range m.ServerKeys() {
			if k.Until == 0 || k.Until > f.now.UnixNano() {
				f.keys = append(f.keys, gatewayKey(k))
			}
		}
	})
	apn, _ := f.rules.APN(f.apn)
	f.gateway = apn.GatewayAddress
	return f
}

func gatewayKey(k *command.ServerKey) wire.GatewayKey {
	v := wire.GatewayKey{PublicKey: k.PublicKey}
	if k.Until != 0 {
		until := time.Unix(0, k.Until).UTC()
		v.Until = &until
	}
	return v
}

// clientID is the client of the cluster that a terminal's requests are remembered of.
func clientID(imsi ident.IMSI) string { return "connection:" + imsi.String() }

// decide judges a request by what is known now. All of it is judged whatever the first
// part says, so that a refusal takes the same work whatever it is for. busy tells that
// it can't be judged now.
func (s *Server) decide(ctx context.Context, imsi ident.IMSI, r Request) (d decision, busy *wire.Problem) {
	d.facts = s.gather(imsi, r.Wire.RequestID)
	if busy = s.prove(ctx, &d, imsi, r); busy != nil {
		return d, busy
	}
	if r.Session != nil && r.Session.Imsi != imsi.String() {
		d.refuse("address-mismatch", "it was asked inside another terminal's tunnel")
	}
	where := view.Where(d.session, policy.PathWireGuard)
	verdict := d.rules.Admit(policy.AdmitRequest{
		IMSI: imsi, Subscriber: view.Subscriber(d.subscriber), APN: d.apn, Path: policy.PathWireGuard,
		Place: where.Place, Told: where.Told, Now: d.now,
		// The key is proved by the handshake, before which the lease is of no use.
		Shown: policy.CredentialWireGuard | d.shown,
	})
	if !verdict.Allowed {
		for _, reason := range verdict.Denials() {
			d.refuse(string(verdict.Code), reason)
		}
	} else if !d.address.Is4() || !d.gateway.Is4() {
		d.refuse("no-address", "the terminal has no IPv4 address of its own; give it one with \"sealctl device update --static-address\"")
	}
	// A public key is no secret: who knows one must not put another pre-shared key in
	// the place of its terminal's.
	if r.Session == nil && d.shown == 0 {
		d.refuse("nothing-shown", "nothing was shown but the WireGuard key, which a request doesn't prove")
	}
	if d.refused() {
		return d, nil
	}
	d.problem, d.earlier = d.wanting(r)
	return d, nil
}

// wanting tells what is wrong though the terminal is who it says, or what it was given
// before for the same request.
func (d *decision) wanting(r Request) (*wire.Problem, *command.FallbackLease) {
	if skew := d.now.Sub(r.Wire.Time).Abs(); skew > d.rules.ClockTolerance {
		return wire.NewProblem(wire.CodeClockSkew, fmt.Sprintf("It is %s off; here it is %s.", skew.Round(time.Second), d.now.UTC().Format(time.RFC3339))), nil
	}
	if len(d.keys) == 0 {
		return notReady("It has no key yet."), nil
	}
	if d.answered.GetCode() != command.Code_OK {
		return nil, nil
	}
	earlier := new(command.FallbackLease)
	if err := d.answered.Into(earlier); err != nil {
		return wire.NewProblem(wire.CodeInternal, ""), nil
	}
	// What was replaced, taken back or has expired is nothing to answer with.
	if earlier.Number != d.lease.GetNumber() || d.now.UnixNano() >= d.lease.GetExpires() {
		return wire.NewProblem(wire.CodeRequestReused, "What it was answered with is good no more."), nil
	}
	return nil, d.lease
}

func notReady(detail string) *wire.Problem {
	p := wire.NewProblem(wire.CodeFallbackNotReady, detail)
	p.RetryAfterSeconds = 10
	return p
}
