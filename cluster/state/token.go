package state

import (
	"crypto/sha256"
	"iter"
	"slices"

	"github.com/sealedge/sealedge/cluster/command"
)

// Token finds a token by its id; also one that has expired, until the next is
// issued.
func (m *Machine) Token(id string) *command.Token { return m.tokens.get(id) }

// Tokens goes through the tokens by id.
func (m *Machine) Tokens() iter.Seq[*command.Token] { return m.tokens.values() }

// TokensAfter goes through the tokens after an id.
func (m *Machine) TokensAfter(id string) iter.Seq[*command.Token] { return after(m.tokens, id) }

// putToken issues a token. Nobody has one issued for another: whoever acts by it
// acts as its owner.
func (m *Machine) putToken(p *command.PutToken, actor string) outcome {
	t := p.Token
	switch {
	case t.GetId() == "" || len(t.SecretSha256) != sha256.Size || len(t.Roles) == 0:
		return invalid("a token has an id, the digest of a secret, and a role")
	case !slices.IsSorted(t.Roles) || len(slices.Compact(slices.Clone(t.Roles))) != len(t.Roles):
		return invalid("the roles of a token are sorted, and none is there twice")
	case actor == "" || t.Owner != actor:
		return invalid("a token is issued for who asks for it")
	case t.Expires <= m.clock:
		return invalid("the token would have expired already")
	case t.Expires-m.clock > int64(command.TokenFor):
		return invalid("a token is valid for %d days at most", int(command.TokenFor.Hours()/24))
	case m.tokens.has(t.Id):
		return refuse(command.Code_DUPLICATE, "there is a token of this id already")
	}
	var expired []string
	held := 0
	for other := range m.tokens.values() {
		switch {
		case other.Expires <= m.clock:
			expired = append(expired, other.Id)
		case other.Owner == t.Owner:
			held++
		}
	}
	if held >= command.TokensOf {
		return refuse(command.Code_CONFLICT, "%s has %d tokens, which is the most; revoke one of them", t.Owner, held)
	}
	for _, id := range expired {
		m.tokens.delete(id)
	}
	t = shallow(t)
	t.Issued = m.clock
	m.tokens.set(t.Id, t)
	return done(withoutSecret(t), "")
}

func (m *Machine) revokeToken(p *command.RevokeToken) outcome {
	t := m.tokens.get(p.Id)
	if t == nil {
		return refuse(command.Code_NOT_FOUND, "no such token")
	}
	m.tokens.delete(t.Id)
	return done(withoutSecret(t), "")
}

func withoutSecret(t *command.Token) *command.Token {
	t = shallow(t)
	t.SecretSha256 = nil
	return t
}

// validToken is what a snapshot may hold.
func validToken(t *command.Token) bool {
	return t.Id != "" && t.Owner != "" && len(t.SecretSha256) == sha256.Size && len(t.Roles) > 0
}
