package admin

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/policy/view"
)

// Fallback is what of the fallback path is configured and not in the replicated state.
type Fallback struct {
	Endpoints []string // host:port of each gateway address, as seen from outside
	MTU       int      // inside the tunnel, bytes
	Keepalive int      // seconds
}

// pskOwner is whom the wrapped pre-shared key of a lease belongs to.
func pskOwner(imsi string) string { return "wireguard-psk:" + imsi }

// fallbackAPN is the access point that a terminal has on the fallback path: its first.
func fallbackAPN(s *command.Subscriber) string {
	if apns := s.GetApns(); len(apns) > 0 {
		return apns[0]
	}
	return ""
}

func (s *Server) fallbackLeases(r *http.Request, _ Caller) (any, *problem) {
	p, bad := pageOf(r, textKey)
	if bad != nil {
		return nil, bad
	}
	var list adminapi.List[adminapi.FallbackLease]
	s.cfg.Cluster.View(func(m *state.Machine) {
		list = show(p, m.FallbackLeasesAfter(p.after), (*command.FallbackLease).GetImsi, adminapi.FallbackLeaseOf)
	})
	return list, nil
}

func (s *Server) fallback(r *http.Request, _ Caller) (any, *problem) {
	imsi := r.PathValue("imsi")
	var v adminapi.Fallback
	found := false
	s.cfg.Cluster.View(func(m *state.Machine) {
		if sub := m.Subscriber(imsi); sub != nil {
			apn := fallbackAPN(sub)
			v, found = adminapi.FallbackOf(sub, m.Lease(apn, imsi).GetAddress(), m.FallbackLease(imsi), m.SessionByKey(imsi, apn)), true
		}
	})
	if !found {
		return nil, notFound("terminal with IMSI " + imsi)
	}
	return v, nil
}

// issuing is what a lease is decided upon.
type issuing struct {
	sub      *command.Subscriber
	address  netip.Addr
	session  *command.Session // on the access point of the fallback; nil: none
	keys     []adminapi.FallbackKey
	again    *command.Result // of an earlier request with the same key
	lease    *command.FallbackLease
	revision uint64
	now      time.Time
}

func (s *Server) issuing(imsi string, c Caller, id string) (w issuing) {
	w.now = s.cfg.Now()
	s.cfg.Cluster.View(func(m *state.Machine) {
		if m.Clock().After(w.now) {
			w.now = m.Clock()
		}
		w.sub, w.revision, w.lease = m.Subscriber(imsi), m.PolicyRevision(), m.FallbackLease(imsi)
		apn := fallbackAPN(w.sub)
		w.address, _ = netip.AddrFromSlice(m.Lease(apn, imsi).GetAddress())
		w.session = m.SessionByKey(imsi, apn)
		w.again = m.Answered(clientOf(c), id)
		for _, k := range m.ServerKeys() {
			if k.Until == 0 || k.Until > w.now.UnixNano() { // who replaced it may not have retired it yet
				w.keys = append(w.keys, adminapi.FallbackKeyOf(k))
			}
		}
	})
	return w
}

// issueFallback makes a lease for a client that can't ask for one: it has the
// pre-shared key from this answer, and proves it by the handshake.
func (s *Server) issueFallback(r *http.Request, c Caller) (any, *problem) {
	if s.cfg.Fallback == nil {
		return nil, noFallback()
	}
	var b adminapi.IssueFallback
	if p := read(r, &b); p != nil {
		return nil, p
	}
	imsi, err := ident.ParseIMSI(r.PathValue("imsi"))
	if err != nil {
		return nil, badRequest(err)
	}
	public, err := wireGuardKey(b.PublicKey)
	if err != nil {
		return nil, badRequest(fmt.Errorf("public_key: %w", err))
	}
	if p := s.linearize(r); p != nil {
		return nil, p
	}
	id := requestID(r)
	w := s.issuing(imsi.String(), c, id)
	if w.again != nil {
		return s.issuedAgain(w, public)
	}
	rules, p := s.mayIssue(w, imsi, public)
	if p != nil {
		return nil, p
	}
	lifetime := time.Duration(b.LifetimeSeconds) * time.Second
	switch most := rules.Fallback.IssuedLifetime; {
	case lifetime == 0:
		lifetime = most
	case lifetime > most:
		return nil, badRequest(fmt.Errorf("lifetime_seconds: %s is more than the %s that the policy lets one issue (spec.fallback.issuedLifetime)", lifetime, most))
	}
	psk := make([]byte, 32)
	defer clear(psk)
	_, _ = rand.Read(psk) // never fails
	wrapped, err := s.cfg.Secrets.Wrap(pskOwner(imsi.String()), psk, rand.Reader)
	if err != nil {
		return nil, wire.NewProblem(wire.CodeInternal, err.Error())
	}
	made := new(command.FallbackLease)
	p = s.proposeAs(r, c, id, &command.LeaseFallback{
		Imsi: imsi.String(), PublicKey: public, PresharedKey: wrapped, Shown: uint32(policy.CredentialPreSharedKey),
		LifetimeSeconds: uint32(lifetime.Seconds()), IssuedByOperator: true, PolicyRevision: w.revision, SubscriberVersion: w.sub.Version,
	}, made)
	if w = s.issuing(imsi.String(), c, id); p != nil {
		if w.again != nil && w.again.Code == command.Code_OK { // the same request, sent twice, was faster
			return s.issuedAgain(w, public)
		}
		return nil, p
	}
	return s.issued(w, made)
}

// issuedAgain answers a repeated request as it was answered first, while the lease is
// still the one that came of it.
func (s *Server) issuedAgain(w issuing, public []byte) (any, *problem) {
	if w.again.Code != command.Code_OK {
		return nil, problemOfResult(w.again)
	}
	made := new(command.FallbackLease)
	if err := w.again.Into(made); err != nil {
		return nil, wire.NewProblem(wire.CodeInternal, err.Error())
	}
	if !bytes.Equal(made.PublicKey, public) {
		return nil, refuse(http.StatusUnprocessableEntity, wire.CodeBadRequest, "The change was refused.", "The Idempotency-Key was used for another request.", "Take a new one.")
	}
	return s.issued(w, made)
}

// issued puts the answer together. made may lack its secret: the state has it.
func (s *Server) issued(w issuing, made *command.FallbackLease) (any, *problem) {
	if w.sub == nil || w.lease.GetNumber() != made.Number || made.Number == 0 {
		return nil, refuse(http.StatusConflict, wire.CodeConflict, "The lease is gone by now.", "Another was issued since, or it was ended.", "Issue another.")
	}
	psk, err := s.cfg.Secrets.Unwrap(pskOwner(made.Imsi), w.lease.PresharedKey)
	if err != nil {
		return nil, wire.NewProblem(wire.CodeInternal, err.Error())
	}
	_, rules := s.current()
	gateway := gatewayOf(rules, w.sub)
	if !gateway.IsValid() {
		return nil, noAddress(w.sub)
	}
	expires := time.Unix(0, w.lease.Expires).UTC()
	v := adminapi.IssuedFallback{Lease: adminapi.FallbackLeaseOf(w.lease), Connection: wire.ConnectionAnswer{
		Connection: made.Number, Address: w.address.String(), AllowedIPs: []string{netip.PrefixFrom(gateway, 32).String()}, Endpoints: s.cfg.Fallback.Endpoints,
		GatewayKeys: []wire.GatewayKey{}, PresharedKey: psk, MTU: s.cfg.Fallback.MTU, Keepalive: s.cfg.Fallback.Keepalive,
		Issued: time.Unix(0, w.lease.Issued).UTC(), Expires: expires, RenewAfter: expires, // it can't renew by itself
	}}
	for _, k := range w.keys {
		raw, err := wireGuardKey(k.PublicKey)
		if err != nil {
			return nil, wire.NewProblem(wire.CodeInternal, err.Error())
		}
		g := wire.GatewayKey{PublicKey: raw}
		if !k.Until.IsZero() {
			g.Until = &k.Until
		}
		v.Connection.GatewayKeys = append(v.Connection.GatewayKeys, g)
	}
	return v, nil
}

// mayIssue looks at all that a lease needs, and asks the policy.
func (s *Server) mayIssue(w issuing, imsi ident.IMSI, public []byte) (*policy.Rules, *problem) {
	const update = "Change it with 'sealctl device update'."
	switch {
	case w.sub == nil:
		return nil, notFound("terminal with IMSI " + imsi.String())
	case len(w.sub.WireguardPublicKey) == 0:
		return nil, refuse(http.StatusConflict, wire.CodeConflict, "The terminal has no WireGuard key.", "A lease is for the key on the allow-list.", update)
	case !bytes.Equal(w.sub.WireguardPublicKey, public):
		return nil, refuse(http.StatusConflict, wire.CodeConflict, "The terminal has another WireGuard key.", "The one on the allow-list is "+base64.StdEncoding.EncodeToString(w.sub.WireguardPublicKey)+".", update)
	case len(w.keys) == 0:
		return nil, refuse(http.StatusConflict, wire.CodeConflict, "The gateway has no key for the fallback path yet.", "The node that leads makes it.", "Try again in a moment; see it with 'sealctl fallback keys'.")
	}
	p, rules := s.current()
	if rules == nil || p.GetRevision() != w.revision {
		return nil, wire.NewProblem(wire.CodeNoPolicy, "")
	}
	lease := &command.FallbackLease{Imsi: w.sub.Imsi, PublicKey: public, Shown: uint32(policy.CredentialPreSharedKey), Issued: w.now.UnixNano(), Expires: w.now.Add(rules.Fallback.IssuedLifetime).UnixNano()}
	// As the terminal will stand when it has shaken hands by the key and the lease.
	as := &command.Session{Imsi: w.sub.Imsi, Apn: fallbackAPN(w.sub), Gtp: w.session.GetGtp(), LastPlace: w.session.GetLastPlace(), Wireguard: &command.WireGuardPath{PublicKey: public}}
	d := rules.Admit(view.Attached(as, w.sub, policy.PathWireGuard, lease, w.now))
	if !d.Allowed {
		return nil, refuse(http.StatusForbidden, "not-admitted", "The policy does not admit the terminal on the fallback path.", reasonsOf(d), "See why with 'sealctl policy explain attach imsi="+imsi.String()+" path=fallback'.")
	}
	if !w.address.IsValid() || !w.address.Is4() || !gatewayOf(rules, w.sub).IsValid() {
		return nil, noAddress(w.sub)
	}
	return rules, nil
}

// reasonsOf are those of a refusal, in words.
func reasonsOf(d policy.Decision) string {
	var words []string
	for _, r := range adminapi.ReasonsOf(d) {
		if !r.OK && !r.Skipped {
			words = append(words, r.Text)
		}
	}
	return strings.Join(words, "; ")
}

// gatewayOf is the gateway's inner address that a terminal reaches; the zero address:
// there is none.
func gatewayOf(rules *policy.Rules, sub *command.Subscriber) netip.Addr {
	if rules != nil {
		for name, apn := range rules.APNs {
			if name.String() == fallbackAPN(sub) {
				return apn.GatewayAddress
			}
		}
	}
	return netip.Addr{}
}

func noFallback() *problem {
	return refuse(http.StatusConflict, wire.CodeConflict, "The gateway has no fallback path.", "gateway.wireguard is off.", "Set gateway.wireguard.enabled on every node.")
}

func noAddress(sub *command.Subscriber) *problem {
	return refuse(http.StatusConflict, wire.CodeConflict, "The terminal has no address for the fallback path.",
		"It takes an IPv4 address of its own at the access point "+fallbackAPN(sub)+", and a gateway of IPv4 there.",
		"Give it one with 'sealctl device update --static-address', or have it attach once through its carrier.")
}

// wireGuardKey reads a public key.
func wireGuardKey(text string) ([]byte, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err == nil && len(raw) != 32 {
		err = fmt.Errorf("has %d bytes, want 32", len(raw))
	}
	return raw, err
}

// endFallback takes a lease back, at once.
func (s *Server) endFallback(r *http.Request, c Caller) (any, *problem) {
	imsi, err := ident.ParseIMSI(r.PathValue("imsi"))
	if err != nil {
		return nil, badRequest(err)
	}
	why := strings.TrimSpace(r.URL.Query().Get("reason"))
	if why == "" {
		return nil, badRequest(errors.New("reason: missing: say why, it goes into the audit chain"))
	}
	out := new(command.FallbackLease)
	if p := s.propose(r, c, &command.EndFallback{Imsi: imsi.String(), Reason: why}, out); p != nil {
		return nil, p
	}
	return adminapi.FallbackLeaseOf(out), nil
}
