package barrel

import "github.com/sealedge/sealedge/policy"

// Shown is what a barrel that is connected here proved to be by; nothing if it isn't.
func (s *Server) Shown(id string) policy.Credentials {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch a := s.byBarrel[id]; {
	case a == nil:
		return 0
	case len(a.id.cert) > 0:
		return policy.CredentialBarrelCert
	}
	return policy.CredentialBarrelPSK
}
