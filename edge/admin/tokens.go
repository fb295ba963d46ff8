package admin

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/wire"
)

// maxLabel bounds what people call a token.
const maxLabel = 200

// bearer finds the caller that a token stands for. What is wrong with a token is
// told only to who has its secret.
func (s *Server) bearer(text string) (Caller, *problem) {
	const hint = "Issue a new token with 'sealctl token issue', or use your certificate."
	id, secret, _ := strings.Cut(text, ".")
	var t *command.Token
	now := s.cfg.Now()
	s.cfg.Cluster.View(func(m *state.Machine) {
		if t = m.Token(id); m.Clock().After(now) {
			now = m.Clock()
		}
	})
	sum := sha256.Sum256([]byte(secret))
	switch {
	case t == nil || subtle.ConstantTimeCompare(sum[:], t.SecretSha256) != 1:
		return Caller{}, refuse(http.StatusUnauthorized, "token-invalid", "The token is not valid.", "It was revoked, or never issued.", hint)
	case now.UnixNano() >= t.Expires:
		return Caller{}, refuse(http.StatusUnauthorized, "token-expired", "The token has expired.", "It was valid until "+time.Unix(0, t.Expires).UTC().Format(time.RFC3339)+".", hint)
	}
	c := Caller{Name: strings.TrimPrefix(t.Owner, actorPrefix), Token: t.Id}
	for _, r := range t.Roles {
		if r := Role(r); slices.Contains(roles, r) {
			c.Roles = append(c.Roles, r)
		}
	}
	return c, nil
}

// tokens lists one's own; seal administrators and auditors see everybody's.
func (s *Server) tokens(r *http.Request, c Caller) (any, *problem) {
	p, bad := pageOf(r, textKey)
	if bad != nil {
		return nil, bad
	}
	all := c.May(SealAdministrator) || c.May(Auditor)
	var list adminapi.List[adminapi.Token]
	s.cfg.Cluster.View(func(m *state.Machine) {
		list = show(p, func(yield func(*command.Token) bool) {
			for t := range m.TokensAfter(p.after) {
				if (all || t.Owner == c.Actor()) && !yield(t) {
					return
				}
			}
		}, (*command.Token).GetId, adminapi.TokenOf)
	})
	return list, nil
}

// issueToken makes a token for the caller. Its secret is in this answer and nowhere
// else, so a repeated request can't be answered as it was first.
func (s *Server) issueToken(r *http.Request, c Caller) (any, *problem) {
	if c.Token != "" {
		return nil, refuse(http.StatusForbidden, "certificate-needed", "This takes a certificate.", "A token issues no tokens: else it would outlive its own end.", "Use a context with your certificate and key.")
	}
	var b adminapi.IssueToken
	if p := read(r, &b); p != nil {
		return nil, p
	}
	lifetime := time.Duration(b.LifetimeSeconds) * time.Second
	switch {
	case lifetime <= 0 || lifetime > command.TokenFor:
		return nil, badRequest(fmt.Errorf("lifetime_seconds: %d is none from 1 to %d", b.LifetimeSeconds, int(command.TokenFor.Seconds())))
	case len(b.Roles) == 0:
		return nil, badRequest(errors.New("roles: missing: name those of your own that the token needs"))
	case len(b.Label) > maxLabel:
		return nil, badRequest(fmt.Errorf("label: longer than %d bytes", maxLabel))
	}
	slices.Sort(b.Roles)
	b.Roles = slices.Compact(b.Roles)
	for _, role := range b.Roles {
		if !slices.Contains(c.Roles, Role(role)) {
			return nil, refuse(http.StatusForbidden, "role-missing", "A token has no more roles than its owner.",
				fmt.Sprintf("%s has %v, and not %q.", c.Name, c.Roles, role), "Name roles of your own.")
		}
	}
	key := requestID(r)
	var again *command.Result
	now := s.cfg.Now()
	s.cfg.Cluster.View(func(m *state.Machine) {
		again = m.Answered(clientOf(c), key)
		if m.Clock().After(now) {
			now = m.Clock()
		}
	})
	made := new(command.Token)
	if again != nil && again.Into(made) == nil && made.Id != "" {
		return nil, refuse(http.StatusConflict, wire.CodeConflict, "The token was issued already.", "Its secret was in the first answer, and is kept nowhere.",
			"If that answer was lost, revoke it with 'sealctl token revoke "+made.Id+"' and issue another.")
	}
	secret := rand.Text()
	sum := sha256.Sum256([]byte(secret))
	t := &command.Token{
		Id: "tk" + strings.ToLower(rand.Text()[:14]), Owner: c.Actor(), SecretSha256: sum[:], Roles: b.Roles, Label: b.Label,
		// The leader's clock may be a little behind this node's.
		Expires: now.Add(min(lifetime, command.TokenFor-time.Minute)).UnixNano(),
	}
	if p := s.proposeAs(r, c, key, &command.PutToken{Token: t}, made); p != nil {
		return nil, p
	}
	return adminapi.IssuedToken{Token: adminapi.TokenOf(made), Bearer: t.Id + "." + secret}, nil
}

// revokeToken ends a token of one's own; a seal administrator ends anybody's.
func (s *Server) revokeToken(r *http.Request, c Caller) (any, *problem) {
	id := r.PathValue("id")
	var t *command.Token
	s.cfg.Cluster.View(func(m *state.Machine) { t = m.Token(id) })
	if t != nil && t.Owner != c.Actor() && !c.May(SealAdministrator) {
		return nil, refuse(http.StatusForbidden, "role-missing", "The token is another's.", "It is "+t.Owner+"'s; that needs "+string(SealAdministrator)+".", "Ask its owner or a seal administrator.")
	}
	out := new(command.Token)
	if p := s.propose(r, c, &command.RevokeToken{Id: id}, out); p != nil {
		return nil, p
	}
	return adminapi.TokenOf(out), nil
}
