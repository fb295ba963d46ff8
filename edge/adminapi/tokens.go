package adminapi

import (
	"time"

	"github.com/sealedge/sealedge/cluster/command"
)

// Token is what a program of an operator authenticates with, without its secret.
type Token struct {
	ID      string    `json:"id"`
	Owner   string    `json:"owner"` // an actor of the audit chain, such as "operator:li"
	Roles   []string  `json:"roles"`
	Label   string    `json:"label,omitempty"`
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
}

// TokenOf shows a token record.
func TokenOf(t *command.Token) Token {
	return Token{ID: t.Id, Owner: t.Owner, Roles: t.Roles, Label: t.Label, Issued: timeOf(t.Issued), Expires: timeOf(t.Expires)}
}

// IssueToken is the body of a request for a token of one's own.
type IssueToken struct {
	Label           string   `json:"label"`
	Roles           []string `json:"roles"` // of one's own
	LifetimeSeconds uint32   `json:"lifetime_seconds"`
}

// IssuedToken is the only answer that has the secret.
type IssuedToken struct {
	Token  Token  `json:"token"`
	Bearer string `json:"bearer"` // goes into "Authorization: Bearer ..."
}
