package chain

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
)

// ErrUnapproved: the chain has a change in force that was not approved as it should
// have been.
var ErrUnapproved = errors.New("a change was not approved as it should have been")

// Approvals verifies, entry by entry from the beginning of the chain, that changes
// came into force by the signatures of as many other people as they needed. How
// many that are was decided by the policy in force at the time.
type Approvals struct {
	Roots *x509.CertPool // who issues the certificates of operators
	// Signatures counts those that were verified, BrokenGlass changes that came into
	// force without.
	Signatures, BrokenGlass int

	pending map[uint64]*pendingChange
}

type pendingChange struct {
	change *command.Change
	by     []string // who approved it
}

// Check takes the next entry. Errors wrap ErrUnapproved.
func (a *Approvals) Check(e *Entry) error {
	record, ok := e.Record.(*command.Change)
	if !ok || e.Refused() {
		return nil
	}
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("entry %d: %w: change %d: %s", e.Sequence, ErrUnapproved, record.Id, fmt.Sprintf(format, args...))
	}
	switch p := e.Payload.(type) {
	case *command.ProposeChange:
		if digest := command.ChangeDigest(p.Policy, p.Devices); !bytes.Equal(digest[:], record.Digest) {
			return wrong("its digest is %x, what it does has the digest %x", record.Digest, digest)
		}
		if a.pending == nil {
			a.pending = map[uint64]*pendingChange{}
		}
		c := &pendingChange{change: proto.CloneOf(record)}
		a.pending[record.Id] = c
		if record.BreakGlass {
			a.BrokenGlass++
			return nil
		}
		return a.inForce(c, record, wrong)
	case *command.ApproveChange:
		c := a.pending[record.Id]
		if c == nil {
			return wrong("it is approved, and was never proposed")
		}
		by := e.Command.GetActor()
		switch {
		case by == c.change.ProposedBy:
			return wrong("%s approved what %s proposed", by, by)
		case slices.Contains(c.by, by):
			return wrong("%s approved it twice", by)
		case !bytes.Equal(p.Digest, c.change.Digest):
			return wrong("%s approved the digest %x, not %x", by, p.Digest, c.change.Digest)
		case e.Command.GetLeaderTime() >= c.change.Expires:
			return wrong("%s approved it when it had expired", by)
		}
		if err := a.signed(e, p, c.change); err != nil {
			return wrong("%s: %v", by, err)
		}
		a.Signatures++
		c.by = append(c.by, by)
		return a.inForce(c, record, wrong)
	}
	return nil
}

// inForce checks that a change that came into force had what it needed.
func (a *Approvals) inForce(c *pendingChange, now *command.Change, wrong func(string, ...any) error) error {
	if now.State != command.ChangeState_IN_FORCE {
		return nil
	}
	if delete(a.pending, now.Id); uint32(len(c.by)) < c.change.Needed {
		return wrong("it is in force with %d approvals of %d", len(c.by), c.change.Needed)
	}
	return nil
}

// signed checks whose certificate it is, who issued it, and the signature.
func (a *Approvals) signed(e *Entry, p *command.ApproveChange, c *command.Change) error {
	cert, err := x509.ParseCertificate(p.Certificate)
	if err != nil {
		return fmt.Errorf("the certificate can't be read: %w", err)
	}
	name, _ := strings.CutPrefix(e.Command.GetActor(), "operator:")
	owns := false
	for _, u := range cert.URIs {
		owns = owns || u.Scheme == "sealedge" && u.Host == "operator" && strings.TrimPrefix(u.Path, "/") == name
	}
	if name == "" || !owns {
		return fmt.Errorf("the certificate is of %v", cert.URIs)
	}
	if !slices.Contains(cert.Subject.OrganizationalUnit, "seal-administrator") {
		return fmt.Errorf("the certificate has the roles %v, not seal-administrator", cert.Subject.OrganizationalUnit)
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: a.Roots, CurrentTime: e.Time(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return fmt.Errorf("the certificate: %w", err)
	}
	return command.CheckApproval(cert, command.ApprovalStatement(c, e.Command.GetActor()), p.Signature)
}
