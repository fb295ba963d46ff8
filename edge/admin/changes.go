package admin

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/adminapi"
)

// changes lists the changes that are kept, the oldest first; ?state= those of a
// state only.
func (s *Server) changes(r *http.Request, _ Caller) (any, *problem) {
	p, bad := pageOf(r, numberKey)
	if bad != nil {
		return nil, bad
	}
	want := r.URL.Query().Get("state")
	if known := []string{"", adminapi.ChangePending, adminapi.ChangeInForce, adminapi.ChangeRejected, adminapi.ChangeExpired, adminapi.ChangeOutdated}; !slices.Contains(known, want) {
		return nil, badRequest(fmt.Errorf("state: %q is none; there are %s", want, strings.Join(known[1:], ", ")))
	}
	var list any
	s.cfg.Cluster.View(func(m *state.Machine) {
		chosen := func(yield func(*command.Change) bool) {
			for c := range m.ChangesAfter(p.after) {
				if (want == "" || adminapi.ChangeOf(c, m.Clock(), m.PolicyRevision()).State == want) && !yield(c) {
					return
				}
			}
		}
		list = show(p, chosen, (*command.Change).GetId, func(c *command.Change) adminapi.Change {
			return adminapi.ChangeOf(c, m.Clock(), m.PolicyRevision())
		})
	})
	return list, nil
}

// changeOf finds the change that a path names.
func (s *Server) changeOf(r *http.Request) (*command.Change, *problem) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil {
		return nil, badRequest(fmt.Errorf("id: %q is no number of a change", r.PathValue("id")))
	}
	var c *command.Change
	s.cfg.Cluster.View(func(m *state.Machine) { c = m.Change(id) })
	if c == nil {
		return nil, notFound(fmt.Sprintf("change %d", id))
	}
	return c, nil
}

// change shows one, with what it is about.
func (s *Server) change(r *http.Request, _ Caller) (any, *problem) {
	c, p := s.changeOf(r)
	if p != nil {
		return nil, p
	}
	v := s.shown(c)
	v.Document = string(c.Policy.GetDocument())
	for _, d := range c.Devices.GetChanges() {
		v.Devices = append(v.Devices, deviceWords(d))
	}
	return v, nil
}

// deviceWords tells what a row does, without its secrets.
func deviceWords(d *command.DeviceChange) string {
	switch c := d.Change.(type) {
	case *command.DeviceChange_Subscriber:
		t := c.Subscriber.GetSubscriber()
		words := fmt.Sprintf("terminal %s: access points %s", t.GetImsi(), strings.Join(t.GetApns(), ", "))
		if len(t.GetImeis()) > 0 {
			words += ", handsets " + strings.Join(t.Imeis, ", ")
		}
		if len(t.GetGroups()) > 0 {
			words += ", groups " + strings.Join(t.Groups, ", ")
		}
		if t.GetLabel() != "" {
			words += fmt.Sprintf(", %q", t.Label)
		}
		return words
	case *command.DeviceChange_Barrel:
		b := c.Barrel.GetBarrel()
		return fmt.Sprintf("barrel %s: MAC %s, seal %s, %q", b.GetId(), b.GetMac(), b.GetSealType(), b.GetLabel())
	case *command.DeviceChange_CheckOut:
		return fmt.Sprintf("barrel %s is checked out to %s", c.CheckOut.GetBarrel(), c.CheckOut.GetImsi())
	case *command.DeviceChange_CheckIn:
		return fmt.Sprintf("barrel %s is checked in", c.CheckIn.GetBarrel())
	case *command.DeviceChange_Resume:
		return fmt.Sprintf("%s%s is resumed", c.Resume.GetImsi(), c.Resume.GetBarrel())
	}
	return "nothing"
}

// propose is POST /v1/changes: a change of the policy, or with ?dry_run=true what
// it would do.
func (s *Server) proposeChangeRequest(r *http.Request, c Caller) (any, *problem) {
	var asked adminapi.Proposal
	if p := read(r, &asked); p != nil {
		return nil, p
	}
	if r.URL.Query().Get("dry_run") == "true" {
		if p := s.linearize(r); p != nil {
			return nil, p
		}
		return s.planned(asked)
	}
	return s.answerChange(s.proposePolicy(r, c, asked))
}

// answerChange answers with a change: 202 while it waits.
func (s *Server) answerChange(v *adminapi.Change, p *problem) (any, *problem) {
	switch {
	case p != nil:
		return nil, p
	case v.State == adminapi.ChangePending:
		return accepted{v}, nil
	}
	return v, nil
}

// secondPerson refuses who proposed.
func secondPerson(c Caller, by, what string) *problem {
	if by != c.Actor() {
		return nil
	}
	return refuse(http.StatusForbidden, "second-person-needed", "This takes two people.",
		c.Name+" "+what+".", "Have another seal administrator do it, with a certificate of his own.")
}

// approve takes a signed yes in. The signature is checked against the certificate of
// the connection: a token signs nothing.
func (s *Server) approve(r *http.Request, c Caller) (any, *problem) {
	var b adminapi.Approve
	if p := read(r, &b); p != nil {
		return nil, p
	}
	if c.Token != "" || r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return nil, refuse(http.StatusForbidden, "certificate-needed", "An approval is signed with your certificate's key.",
			"The request came with a token.", "Use a context that names your certificate and key.")
	}
	if p := s.linearize(r); p != nil {
		return nil, p
	}
	change, p := s.changeOf(r)
	if p != nil {
		return nil, p
	}
	if p := secondPerson(c, change.ProposedBy, "proposed the change"); p != nil {
		return nil, p
	}
	digest, err := hex.DecodeString(b.Digest)
	if err != nil || len(digest) != 32 {
		return nil, badRequest(errors.New("digest: want the 64 hexadecimal digits of the change's digest"))
	}
	if !slices.Equal(digest, change.Digest) {
		return nil, refuse(http.StatusConflict, "conflict", "What is approved is not what the change does.",
			fmt.Sprintf("Change %d has the digest %x.", change.Id, change.Digest), "Look at it with 'sealctl change show' before you approve it.")
	}
	signature, err := base64.StdEncoding.DecodeString(b.Signature)
	if err != nil {
		return nil, badRequest(fmt.Errorf("signature: %w", err))
	}
	cert := r.TLS.VerifiedChains[0][0]
	if err := command.CheckApproval(cert, command.ApprovalStatement(change, c.Actor()), signature); err != nil {
		return nil, refuse(http.StatusUnprocessableEntity, "signature-invalid", "The approval was refused.", err.Error(),
			"It has to be made with the key of the certificate that you connect with, over the change as it is.")
	}
	return s.decide(r, c, &command.ApproveChange{Change: change.Id, Digest: digest, Certificate: cert.Raw, Signature: signature})
}

// decide has somebody's word on a change carried out.
func (s *Server) decide(r *http.Request, c Caller, payload proto.Message) (any, *problem) {
	out := new(command.Change)
	if code, p := s.proposeOnce(r, c, requestID(r), payload, out); p != nil {
		return nil, changeProblem(code, p)
	}
	return s.answerChange(s.shown(out), nil)
}

func (s *Server) reject(r *http.Request, c Caller) (any, *problem) {
	reason, p := reasonOf(r)
	if p != nil {
		return nil, p
	}
	change, p := s.changeOf(r)
	if p != nil {
		return nil, p
	}
	return s.decide(r, c, &command.RejectChange{Change: change.Id, Reason: reason})
}

// review notes what another person says of broken glass.
func (s *Server) review(r *http.Request, c Caller) (any, *problem) {
	var b adminapi.Review
	if p := read(r, &b); p != nil {
		return nil, p
	}
	if strings.TrimSpace(b.Review) == "" {
		return nil, badRequest(errors.New("review: missing: say what you found, it goes into the audit chain"))
	}
	change, p := s.changeOf(r)
	if p != nil {
		return nil, p
	}
	if p := secondPerson(c, change.ProposedBy, "broke the glass"); p != nil {
		return nil, p
	}
	return s.decide(r, c, &command.ReviewChange{Change: change.Id, Review: b.Review})
}
