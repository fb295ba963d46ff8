package admin

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy/credential"
)

// chapOwner is whom a wrapped CHAP secret belongs to; apn/session unwraps it by
// the same name.
func chapOwner(imsi string) string { return "chap:" + imsi }

// credentials makes what is kept of a document's credentials, given what is
// stored. A password that is stored already is left as it is, so that importing a
// file again changes nothing. It hashes, which takes milliseconds: call it outside
// of View.
func (s *Server) credentials(imsi string, want *adminapi.Credentials, stored *command.Credentials) (*command.Credentials, *problem) {
	switch {
	case want == nil:
		return stored, nil
	case want.Removed():
		return nil, nil
	case want.Password == "":
		if stored == nil || stored.User != want.User || (len(stored.ChapSecret) > 0) != want.CHAP {
			return nil, badRequest(errors.New("credentials.password: missing: without it user and chap must be as they are stored"))
		}
		return stored, nil
	case s.isStored(imsi, want, stored):
		return stored, nil
	}
	password := []byte(want.Password)
	made := &command.Credentials{User: want.User, PapSalt: make([]byte, credential.SaltSize), PapIterations: credential.Iterations}
	_, _ = rand.Read(made.PapSalt) // never fails
	made.PapHash = credential.Hash(password, made.PapSalt, made.PapIterations)
	if want.CHAP {
		wrapped, err := s.cfg.Secrets.Wrap(chapOwner(imsi), password, rand.Reader)
		if err != nil {
			return nil, wire.NewProblem(wire.CodeInternal, err.Error())
		}
		made.ChapSecret = wrapped
	}
	return made, nil
}

// isStored tells whether the credentials with their password are the stored ones,
// kept as they would be kept today.
func (s *Server) isStored(imsi string, want *adminapi.Credentials, stored *command.Credentials) bool {
	if stored == nil || stored.User != want.User || stored.PapIterations != credential.Iterations || (len(stored.ChapSecret) > 0) != want.CHAP {
		return false
	}
	password := []byte(want.Password)
	if !credential.VerifyPAP(password, stored.PapSalt, stored.PapHash, stored.PapIterations) {
		return false
	}
	if !want.CHAP {
		return true
	}
	secret, err := s.cfg.Secrets.Unwrap(chapOwner(imsi), stored.ChapSecret)
	return err == nil && subtle.ConstantTimeCompare(secret, password) == 1
}
