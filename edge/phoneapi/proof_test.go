package phoneapi

import (
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/credential"
)

const sharedKey = "tr0ub4dor"

// unwrapShared opens the shared key of the tests' terminal.
func unwrapShared(owner string, wrapped []byte) ([]byte, error) {
	if owner != "chap:"+usetest.Terminal || string(wrapped) != "wrapped" {
		return nil, errors.New("another key")
	}
	return []byte(sharedKey), nil
}

// A use may take what the terminal shows in its request, as policy asks for it.
func TestCredentialsOfUses(t *testing.T) {
	for _, c := range []struct {
		name     string
		required policy.Credentials
		show     func(*wire.UseRequest)
		code     wire.Code // empty: granted
	}{
		{"nothing asked", 0, nil, ""},
		{"the barrel's key", policy.CredentialBarrelPSK | policy.CredentialSIM, nil, ""},
		{"the barrel's certificate", policy.CredentialBarrelCert, nil, wire.CodeRuleRequires},
		{"the certificate, which isn't shown", policy.CredentialCertificate, nil, wire.CodeRuleRequires},
		{"password not shown", policy.CredentialPassword, nil, wire.CodeRuleRequires},
		{"password", policy.CredentialPassword, func(r *wire.UseRequest) { r.Account, r.Password = "phone", sharedKey }, ""},
		{"wrong password", policy.CredentialPassword, func(r *wire.UseRequest) { r.Account, r.Password = "phone", "another" }, wire.CodeCredentialsMissing},
		{"wrong account", policy.CredentialPassword, func(r *wire.UseRequest) { r.Account, r.Password = "phones", sharedKey }, wire.CodeCredentialsMissing},
		{"wrong password that nobody asked for", 0, func(r *wire.UseRequest) { r.Account, r.Password = "phone", "another" }, wire.CodeCredentialsMissing},
		{"shared key not shown", policy.CredentialPreSharedKey, func(r *wire.UseRequest) { r.Account, r.Password = "phone", sharedKey }, wire.CodeRuleRequires},
		{"shared key", policy.CredentialPreSharedKey, func(r *wire.UseRequest) { r.KeyProof = wire.KeyProof([]byte(sharedKey), *r) }, ""},
		{"another key", policy.CredentialPreSharedKey, func(r *wire.UseRequest) { r.KeyProof = wire.KeyProof([]byte("another"), *r) }, wire.CodeCredentialsMissing},
		{"proof of another request", policy.CredentialPreSharedKey, func(r *wire.UseRequest) {
			other := *r
			other.Order = "WO-2"
			r.KeyProof = wire.KeyProof([]byte(sharedKey), other)
		}, wire.CodeCredentialsMissing},
		{"both", policy.CredentialPreSharedKey | policy.CredentialPassword, func(r *wire.UseRequest) {
			r.Account, r.Password, r.KeyProof = "phone", sharedKey, wire.KeyProof([]byte(sharedKey), *r)
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				var sub *command.Subscriber
				r.w.View(func(m *state.Machine) { sub = proto.CloneOf(m.Subscriber(usetest.Terminal)) })
				salt := []byte("0123456789abcdef")
				sub.Credentials = &command.Credentials{
					User: "phone", PapSalt: salt, PapHash: credential.Hash([]byte(sharedKey), salt, 10), PapIterations: 10, ChapSecret: []byte("wrapped"),
				}
				r.w.Do(&command.PutSubscriber{Subscriber: sub, AnyVersion: true})
				rules := usetest.Rules()
				if c.required != 0 {
					rules.Table = []policy.Rule{{ID: "x", Action: policy.ActionUse, Permit: true, Require: policy.Require{Credentials: c.required}}}
				}
				r.rules.Store(rules)
				req := usetest.Request("r1", time.Now())
				if c.show != nil {
					c.show(&req)
				}
				answer := r.send("POST", wire.PathUses, req, "Authorization", bearer)
				if c.code == "" {
					answer.want(t, 201, nil)
				} else {
					answer.refused(t, c.code)
				}
			})
		})
	}
}

// Passwords can't be tried out.
func TestCredentialsAreLimited(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		req := usetest.Request("r1", time.Now())
		req.Account, req.Password = "phone", "guess"
		req.Order = "WO-NONE"
		var last answer
		for range 6 {
			last = r.send("POST", wire.PathUses, req, "Authorization", bearer)
		}
		last.refused(t, wire.CodeRateLimited)
	})
}
