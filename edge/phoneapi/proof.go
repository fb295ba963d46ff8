package phoneapi

import (
	"crypto/hmac"
	"crypto/subtle"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/credential"
)

// prove checks what a use request shows beside its connection: account and password,
// and the shared key. What is wrong refuses, whether policy asks for it or not; what
// the terminal's record has nothing for counts as not shown. Attempts are limited
// like those to log in.
func (s *Server) prove(c *call, req wire.UseRequest) error {
	password, proof := req.Account != "" || req.Password != "", len(req.KeyProof) > 0
	if !password && !proof {
		return nil
	}
	if len(req.Account) > 128 || len(req.Password) > 1024 || len(req.KeyProof) > 64 {
		return wire.NewProblem(wire.CodeBadRequest, "account, password or key_proof: too long.")
	}
	if wait := s.logins.take(c.holder(), time.Now()); wait > 0 {
		return limited(wait)
	}
	known := c.subscriber.GetCredentials()
	if password && len(known.GetPapSalt()) > 0 {
		// Hashed whatever the account is: who asks learns nothing from the time.
		right := credential.VerifyPAP([]byte(req.Password), known.PapSalt, known.PapHash, known.PapIterations)
		if subtle.ConstantTimeCompare([]byte(req.Account), []byte(known.User)) != 1 || !right {
			return wire.NewProblem(wire.CodeCredentialsMissing, "Account or password of the request is wrong.")
		}
		c.proved |= policy.CredentialPassword
	}
	if proof && len(known.GetChapSecret()) > 0 {
		key, err := s.cfg.Unwrap("chap:"+c.imsi(), known.ChapSecret)
		if err != nil {
			s.log.Error("the shared key of a terminal can't be opened on this node", "terminal", c.terminal, "err", err)
			return wire.NewProblem(wire.CodeInternal, "")
		}
		if !hmac.Equal(req.KeyProof, wire.KeyProof(key, req)) {
			return wire.NewProblem(wire.CodeCredentialsMissing, "The request's key_proof is wrong.")
		}
		c.proved |= policy.CredentialPreSharedKey
	}
	return nil
}
