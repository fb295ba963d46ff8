package fallback

import (
	"bytes"
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
)

// Whatever a request is refused for, the answer has the same bytes and took the same
// work: as much as one that is granted, as far as credentials go. The audit chain has
// the reason.
func TestRefusalsAreAlike(t *testing.T) {
	full := func(l *line, id string) wire.ConnectionRequest {
		return l.prove(ask(id), sharedKey)
	}
	suspended := func(s *command.Subscriber) { s.State = command.DeviceState_SUSPENDED_DEVICE }
	var granted work
	var first reply
	for i, c := range []struct {
		name   string
		record func(*command.Subscriber) // changed before
		rules  func(*policy.Rules)
		cert   string // "own", "another" or ""
		change func(*wire.ConnectionRequest)
		code   string // recorded; empty: it is granted
	}{
		{name: "in order", cert: "own"},
		{name: "not on the list", change: func(r *wire.ConnectionRequest) { r.IMSI = "460019999999999" }, code: "key-not-bound"},
		{name: "another's", change: func(r *wire.ConnectionRequest) { r.IMSI = usetest.Other }, code: "key-not-bound"},
		{name: "another key", change: func(r *wire.ConnectionRequest) { r.PublicKey = otherKey }, code: "key-not-bound"},
		{name: "a key of zeros for a terminal without a key", record: func(s *command.Subscriber) { s.WireguardPublicKey = nil }, change: func(r *wire.ConnectionRequest) { r.PublicKey = make([]byte, 32) }, code: "key-not-bound"},
		{name: "another password", change: func(r *wire.ConnectionRequest) { r.Password += "x" }, code: "password-wrong"},
		{name: "another account", change: func(r *wire.ConnectionRequest) { r.Account += "x" }, code: "password-wrong"},
		{name: "another proof", change: func(r *wire.ConnectionRequest) { r.KeyProof = make([]byte, 32) }, code: "key-proof-wrong"},
		{name: "another certificate", cert: "another", code: "certificate-wrong"},
		{name: "suspended", record: suspended, code: "subscriber-suspended"},
		{name: "suspended, with another password", record: suspended, change: func(r *wire.ConnectionRequest) { r.Password += "x" }, code: "password-wrong"},
		{name: "no credentials on record", record: func(s *command.Subscriber) { s.Credentials = nil }, rules: func(r *policy.Rules) {
			r.Admission.Credentials = rules(policy.CredentialPassword).Admission.Credentials
		}, code: "credentials-missing"},
		{name: "certificate demanded", rules: func(r *policy.Rules) {
			r.Admission.Credentials = rules(policy.CredentialCertificate).Admission.Credentials
		}, code: "credentials-missing"},
		{name: "no fallback for anybody", rules: func(r *policy.Rules) { r.Fallback.Allowed = false }, code: "fallback-not-allowed"},
		{name: "a rule forbids it", rules: func(r *policy.Rules) {
			r.Table = []policy.Rule{
				{ID: "no", Action: policy.ActionAttach, Match: policy.Match{Paths: []policy.PathKind{policy.PathWireGuard}}},
				{ID: "any", Action: policy.ActionAttach, Permit: true},
			}
		}, code: "rule-forbids"},
		{name: "no policy", rules: func(r *policy.Rules) { *r = policy.Rules{} }, code: "apn-unknown"},
		{name: "an access point without IPv4", rules: func(r *policy.Rules) {
			for name, apn := range r.APNs {
				apn.GatewayAddress = netip.Addr{}
				r.APNs = map[ident.APN]policy.APN{name: apn}
			}
		}, code: "no-address"},
		{name: "a wrong clock, and another password", change: func(r *wire.ConnectionRequest) { r.Time, r.Password = time.Unix(1, 0), "x" }, code: "password-wrong"},
	} {
		bubble(t, func(t *testing.T, r *rig) {
			if c.record != nil {
				r.change(usetest.Terminal, c.record)
			}
			in := rules(0)
			if c.rules != nil {
				c.rules(in)
			}
			r.rules.Store(in)
			cert := r.device
			switch c.cert {
			case "":
				cert = nil
			case "another":
				cert = selfSigned(t, "terminal")
			}
			l := r.dial(home, cert)
			req := full(l, "r1")
			if c.change != nil {
				c.change(&req)
			}
			r.hashes.Store(0)
			r.secrets.n.Store(0)
			a := l.post(req)
			did := work{r.hashes.Load(), r.secrets.n.Load()}
			if c.code == "" {
				a.granted(t)
				did.unwrapped-- // the pre-shared key, for the answer
				granted = did
				return
			}
			if i == 1 {
				first = a
			}
			if a.status != http.StatusForbidden || !bytes.Equal(a.body, first.body) || !slices.Equal(headers(a), headers(first)) {
				t.Errorf("%s: %d %s %v; elsewhere %d %s %v", c.name, a.status, a.body, a.header, first.status, first.body, first.header)
			}
			if did != granted || did.hashed != 1 || did.unwrapped != 1 {
				t.Errorf("%s: work %+v, granted %+v", c.name, did, granted)
			}
			if got := r.recorded(); !slices.Equal(got, []string{c.code}) {
				t.Errorf("%s: recorded %v, want %s", c.name, got, c.code)
			}
			if r.lease() != nil {
				t.Errorf("%s: there is a lease", c.name)
			}
		})
	}
}

// work is what checking credentials took.
type work struct{ hashed, unwrapped int64 }

// headers are those of an answer, but for the time.
func headers(a reply) (all []string) {
	for name, values := range a.header {
		if name != "Date" {
			all = append(all, name+": "+values[0])
		}
	}
	slices.Sort(all)
	return all
}

// A terminal that shows no more than its key learns as little.
func TestBareRefusalsAreAlike(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.rules.Store(rules(policy.CredentialCertificate))
		l := r.dial(home, nil)
		listed := l.post(bare("r1")).refused(t, wire.CodeConnectionRefused)
		stranger := bare("r2")
		stranger.IMSI = "460019999999999"
		unlisted := l.post(stranger).refused(t, wire.CodeConnectionRefused)
		if !bytes.Equal(listed.body, unlisted.body) || r.hashes.Load() != 0 {
			t.Errorf("%s, %s; %d hashed", listed.body, unlisted.body, r.hashes.Load())
		}
	})
}
