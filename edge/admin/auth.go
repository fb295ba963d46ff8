package admin

import (
	"crypto/x509"
	"net/http"
	"slices"
	"strings"
)

// Role is what a caller may do.
type Role string

// The roles, as they stand in a certificate's organizational units.
const (
	Viewer            Role = "viewer"             // look at everything but the audit chain
	Operator          Role = "operator"           // end sessions, lock barrels, move the leadership
	SealAdministrator Role = "seal-administrator" // devices, check-outs, orders, policy
	Auditor           Role = "auditor"            // read and export the audit chain
	Backup            Role = "backup"             // take backups, for recipients of his choice: read everything, that is
)

var roles = []Role{Viewer, Operator, SealAdministrator, Auditor, Backup}

// Caller is an operator, known by his certificate, or by a token of his.
type Caller struct {
	Name  string
	Roles []Role
	// Token is the id of the token that was shown; empty: a certificate was.
	Token string
}

// actorPrefix is what operators begin with in the audit chain.
const actorPrefix = "operator:"

// Actor is how the caller stands in the audit chain, with a token just as without.
func (c Caller) Actor() string { return actorPrefix + c.Name }

// May tells whether the caller has the role. Who may change things may look at
// them.
func (c Caller) May(r Role) bool {
	if r == Viewer {
		return len(c.Roles) > 0
	}
	return slices.Contains(c.Roles, r)
}

// callerOf reads a verified certificate. ok is false when it isn't an
// operator's: a node's or the seal server's certificate is of the same CA.
func callerOf(cert *x509.Certificate) (Caller, bool) {
	for _, u := range cert.URIs {
		name := strings.TrimPrefix(u.Path, "/")
		if u.Scheme != "sealedge" || u.Host != "operator" || name == "" {
			continue
		}
		c := Caller{Name: name}
		for _, ou := range cert.Subject.OrganizationalUnit {
			if r := Role(ou); slices.Contains(roles, r) {
				c.Roles = append(c.Roles, r)
			}
		}
		return c, true
	}
	return Caller{}, false
}

// authenticate returns the caller of a request. A token counts before a
// certificate: who sends one means it.
func (s *Server) authenticate(r *http.Request) (Caller, *problem) {
	if header := r.Header.Get("Authorization"); header != "" {
		token, ok := strings.CutPrefix(header, "Bearer ")
		if !ok {
			return Caller{}, refuse(http.StatusUnauthorized, "token-invalid", "The Authorization header has no bearer token.", "", "Send 'Authorization: Bearer TOKEN'.")
		}
		return s.bearer(strings.TrimSpace(token))
	}
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return Caller{}, refuse(http.StatusUnauthorized, "certificate-missing", "The request came without a client certificate and without a token.", "", "Use a context that names an operator's certificate and key, or a token.")
	}
	c, ok := callerOf(r.TLS.VerifiedChains[0][0])
	if !ok {
		return Caller{}, refuse(http.StatusForbidden, "not-an-operator", "The certificate is no operator's.", "", "An operator's certificate has a URI such as sealedge://operator/li; have one issued.")
	}
	return c, nil
}
