package fallback

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"fmt"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/credential"
	"github.com/sealedge/sealedge/policy/ident"
)

// What stands in for what a record hasn't got, so that checking it takes as long.
var (
	decoySalt = make([]byte, credential.SaltSize)
	decoyHash [credential.HashSize]byte
)

const decoyOwner = "chap:decoy"

func newDecoy(secrets Secrets) ([]byte, error) {
	secret := make([]byte, keySize)
	if _, err := rand.Read(secret); err != nil {
		return nil, err
	}
	wrapped, err := secrets.Wrap(decoyOwner, secret, rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("fallback: %w", err)
	}
	return wrapped, nil
}

// prove checks what a request shows. What is wrong refuses, whether the policy asks for
// it or not; what the record has nothing for counts as not shown. How much there is to
// do depends on the request alone.
func (s *Server) prove(ctx context.Context, d *decision, imsi ident.IMSI, r Request) (busy *wire.Problem) {
	sub := d.subscriber
	var bound [keySize]byte
	copy(bound[:], sub.GetWireguardPublicKey())
	if same := subtle.ConstantTimeCompare(bound[:], r.Wire.PublicKey) == 1; !same || len(sub.GetWireguardPublicKey()) != keySize {
		d.refuse("key-not-bound", "the WireGuard key is not the one that is bound to the terminal")
	}
	if r.Session.GetImsi() == imsi.String() && r.Session.Active == command.PathKind_GTP {
		d.shown |= policy.CredentialSIM
	}
	if shown, right := certificate(r.TLS, sub.GetDeviceCertSha256()); shown && right {
		d.shown |= policy.CredentialCertificate
	} else if shown && len(sub.GetDeviceCertSha256()) > 0 {
		d.refuse("certificate-wrong", "the device certificate is not the one on record")
	}
	if r.Wire.Account != "" || r.Wire.Password != "" {
		if busy = s.provePassword(ctx, d, r.Wire); busy != nil {
			return busy
		}
	}
	if len(r.Wire.KeyProof) > 0 {
		s.proveKey(d, imsi, r)
	}
	return nil
}

// certificate tells whether a client certificate was presented, and whether it is the
// one on record. TLS has seen to it that the client has its key.
func certificate(conn *tls.ConnectionState, pinned []byte) (shown, right bool) {
	if conn == nil || len(conn.PeerCertificates) == 0 {
		return false, false
	}
	got := sha256.Sum256(conn.PeerCertificates[0].Raw)
	return true, subtle.ConstantTimeCompare(got[:], pinned) == 1
}

// hashPatience is how long a password waits for its turn to be hashed.
const hashPatience = 2 * time.Second

func (s *Server) provePassword(ctx context.Context, d *decision, r wire.ConnectionRequest) (busy *wire.Problem) {
	ctx, cancel := context.WithTimeout(ctx, hashPatience)
	defer cancel()
	select {
	case s.work <- struct{}{}:
		defer func() { <-s.work }()
	case <-ctx.Done():
		return limited(hashPatience)
	}
	known := d.subscriber.GetCredentials()
	salt, want, iterations := known.GetPapSalt(), known.GetPapHash(), known.GetPapIterations()
	there := len(salt) > 0 && len(want) == credential.HashSize
	if !there {
		salt, want, iterations = decoySalt, decoyHash[:], credential.Iterations
	}
	right := subtle.ConstantTimeCompare(s.hash([]byte(r.Password), salt, iterations), want)
	right &= subtle.ConstantTimeCompare([]byte(r.Account), []byte(known.GetUser()))
	switch {
	case !there:
	case right == 1:
		d.shown |= policy.CredentialPassword
	default:
		d.refuse("password-wrong", "account or password is wrong")
	}
	return nil
}

func (s *Server) proveKey(d *decision, imsi ident.IMSI, r Request) {
	owner, wrapped := "chap:"+imsi.String(), d.subscriber.GetCredentials().GetChapSecret()
	there := len(wrapped) > 0
	if !there {
		owner, wrapped = decoyOwner, s.decoy
	}
	key, err := s.cfg.Secrets.Unwrap(owner, wrapped)
	if err != nil {
		s.log.Error("the shared key of a terminal can't be opened on this node", "terminal", imsi, "err", err)
		d.refuse("key-unreadable", "the terminal's shared key can't be opened on this node")
		return
	}
	defer clear(key)
	var binding []byte
	if r.TLS != nil {
		binding, err = r.TLS.ExportKeyingMaterial(wire.ConnectionExporter, nil, keySize)
	}
	right := hmac.Equal(r.Wire.KeyProof, wire.ConnectionProof(key, binding, r.Wire)) && err == nil && len(binding) == keySize
	switch {
	case !there:
	case right:
		d.shown |= policy.CredentialPreSharedKey
	default:
		d.refuse("key-proof-wrong", "the proof of the shared key is wrong, or was made for another connection or request")
	}
}
