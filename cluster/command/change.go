package command

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// ChangeDigest is the SHA-256 of what a change does, as those who approve it sign
// it. Of a policy it is over lines of text, so that whoever has the document can
// work it out anew; the pools follow from the document. Of devices it is over the
// bytes of the command.
func ChangeDigest(policy *PutPolicy, devices *PutDevices) [32]byte {
	h := sha256.New()
	io.WriteString(h, "sealedge change v1\n") // a hash takes everything
	if policy != nil {
		document := sha256.Sum256(policy.Document)
		fmt.Fprintf(h, "policy\nbase %d\ndocument %x\n", policy.BaseRevision, document)
	} else {
		io.WriteString(h, "devices\n")
		h.Write(Marshal(devices))
	}
	return [32]byte(h.Sum(nil))
}

// ApprovalStatement is the text that an approver signs: which change, what it
// does, what it is based on, who agrees and until when that holds. It is made of
// the record alone, so that a verifier can make it anew.
func ApprovalStatement(c *Change, approver string) []byte {
	var b strings.Builder
	for _, line := range []string{
		"sealedge change approval v1",
		"change: " + strconv.FormatUint(c.GetId(), 10),
		"digest: " + hex.EncodeToString(c.GetDigest()),
		"policy revision: " + strconv.FormatUint(c.GetPolicyRevision(), 10),
		"proposed by: " + strconv.Quote(c.GetProposedBy()),
		"approved by: " + strconv.Quote(approver),
		"expires: " + time.Unix(0, c.GetExpires()).UTC().Format(time.RFC3339Nano),
	} {
		b.WriteString(line)
		b.WriteByte('\n')
	}
	return []byte(b.String())
}

// ErrApproval: a signature is not what it should be.
var ErrApproval = errors.New("the approval's signature does not verify")

// SignApproval signs a statement with the key of a certificate.
func SignApproval(random io.Reader, key crypto.Signer, statement []byte) ([]byte, error) {
	digest := sha256.Sum256(statement)
	switch key.Public().(type) {
	case ed25519.PublicKey:
		return key.Sign(random, statement, crypto.Hash(0))
	case *ecdsa.PublicKey:
		return key.Sign(random, digest[:], crypto.SHA256)
	case *rsa.PublicKey:
		return key.Sign(random, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
	}
	return nil, fmt.Errorf("a key of type %T signs no approvals; have a certificate issued for an Ed25519, ECDSA or RSA key", key.Public())
}

// CheckApproval verifies a signature of SignApproval. Whose the certificate is, and
// who issued it, is for the caller to check.
func CheckApproval(cert *x509.Certificate, statement, signature []byte) error {
	digest := sha256.Sum256(statement)
	ok := false
	switch key := cert.PublicKey.(type) {
	case ed25519.PublicKey:
		ok = ed25519.Verify(key, statement, signature)
	case *ecdsa.PublicKey:
		ok = ecdsa.VerifyASN1(key, digest[:], signature)
	case *rsa.PublicKey:
		ok = rsa.VerifyPSS(key, crypto.SHA256, digest[:], signature, nil) == nil
	}
	if !ok {
		return ErrApproval
	}
	return nil
}
