package chain

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net/url"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
)

// authority issues certificates of operators.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: noon.Add(-time.Hour), NotAfter: noon.Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

func (a *authority) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// operator is a person with a certificate.
type operator struct {
	actor string
	der   []byte
	key   ed25519.PrivateKey
}

func (a *authority) operator(t *testing.T, name, role string, until time.Time) operator {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: noon.Add(-time.Hour), NotAfter: until, Subject: pkix.Name{OrganizationalUnit: []string{role}},
		URIs: []*url.URL{{Scheme: "sealedge", Host: "operator", Path: "/" + name}}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, a.cert, pub, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return operator{"operator:" + name, der, key}
}

// approval is an entry in which somebody signed a change.
func (o operator) approval(t *testing.T, c *command.Change, state command.ChangeState) *Entry {
	t.Helper()
	signature, err := command.SignApproval(rand.Reader, o.key, command.ApprovalStatement(c, o.actor))
	if err != nil {
		t.Fatal(err)
	}
	after := proto.CloneOf(c)
	after.State = state
	return read(t, link(o.actor, &command.ApproveChange{Change: c.Id, Digest: c.Digest, Certificate: o.der, Signature: signature}, after))
}

func TestApprovals(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	const admin = "seal-administrator"
	later := noon.Add(time.Hour)
	wu, he := ca.operator(t, "wu", admin, later), ca.operator(t, "he", admin, later)
	policy := &command.PutPolicy{BaseRevision: 1, Document: []byte("x")}
	digest := command.ChangeDigest(policy, nil)
	change := &command.Change{Id: 4, Digest: digest[:], Needed: 2, ProposedBy: "operator:li", Expires: noon.Add(time.Minute).UnixNano(), PolicyRevision: 1, State: command.ChangeState_PENDING}
	proposed := func(alter func(*command.Change)) *Entry {
		c := proto.CloneOf(change)
		if alter != nil {
			alter(c)
		}
		return read(t, link("operator:li", &command.ProposeChange{Policy: policy}, c))
	}
	const pending, inForce = command.ChangeState_PENDING, command.ChangeState_IN_FORCE
	altered := func(e *Entry, alter func(*command.ApproveChange)) *Entry {
		alter(e.Payload.(*command.ApproveChange))
		return e
	}
	for name, c := range map[string]struct {
		entries []*Entry
		ok      bool
	}{
		"two others":               {[]*Entry{proposed(nil), wu.approval(t, change, pending), he.approval(t, change, inForce)}, true},
		"pending":                  {[]*Entry{proposed(nil), wu.approval(t, change, pending)}, true},
		"none needed":              {[]*Entry{proposed(func(c *command.Change) { c.Needed, c.State = 0, inForce })}, true},
		"broken glass":             {[]*Entry{proposed(func(c *command.Change) { c.BreakGlass, c.State = true, inForce })}, true},
		"in force at once":         {[]*Entry{proposed(func(c *command.Change) { c.State = inForce })}, false},
		"one too few":              {[]*Entry{proposed(nil), wu.approval(t, change, inForce)}, false},
		"twice the same":           {[]*Entry{proposed(nil), wu.approval(t, change, pending), wu.approval(t, change, inForce)}, false},
		"one's own":                {[]*Entry{proposed(nil), ca.operator(t, "li", admin, later).approval(t, change, pending)}, false},
		"never proposed":           {[]*Entry{wu.approval(t, change, pending)}, false},
		"another digest":           {[]*Entry{proposed(func(c *command.Change) { c.Digest = make([]byte, 32) })}, false},
		"another digest is signed": {[]*Entry{proposed(nil), altered(wu.approval(t, change, pending), func(p *command.ApproveChange) { p.Digest = make([]byte, 32) })}, false},
		"another signature":        {[]*Entry{proposed(nil), altered(wu.approval(t, change, pending), func(p *command.ApproveChange) { p.Signature[0] ^= 1 })}, false},
		"another's certificate":    {[]*Entry{proposed(nil), altered(wu.approval(t, change, pending), func(p *command.ApproveChange) { p.Certificate = he.der })}, false},
		"no certificate":           {[]*Entry{proposed(nil), altered(wu.approval(t, change, pending), func(p *command.ApproveChange) { p.Certificate = nil })}, false},
		"another CA":               {[]*Entry{proposed(nil), other.operator(t, "wu", admin, later).approval(t, change, pending)}, false},
		"an expired certificate":   {[]*Entry{proposed(nil), ca.operator(t, "wu", admin, noon.Add(-time.Minute)).approval(t, change, pending)}, false},
		"another role":             {[]*Entry{proposed(nil), ca.operator(t, "wu", "viewer", later).approval(t, change, pending)}, false},
		"after it expired":         {[]*Entry{proposed(func(c *command.Change) { c.Expires = noon.UnixNano() }), wu.approval(t, change, pending)}, false},
	} {
		a := &Approvals{Roots: ca.roots()}
		var err error
		for _, e := range c.entries {
			if err = a.Check(e); err != nil {
				break
			}
		}
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrUnapproved) {
			t.Errorf("%s: %v", name, err)
		}
	}
	a := &Approvals{Roots: ca.roots()}
	for _, e := range []*Entry{proposed(nil), wu.approval(t, change, pending), he.approval(t, change, inForce), proposed(func(c *command.Change) { c.BreakGlass, c.State = true, inForce })} {
		if err := a.Check(e); err != nil {
			t.Fatal(err)
		}
	}
	if a.Signatures != 2 || a.BrokenGlass != 1 {
		t.Errorf("%d signatures, %d broken", a.Signatures, a.BrokenGlass)
	}
}
