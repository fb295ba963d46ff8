// Package grant is what the gateway and the barrels sign: the grant that
// unlocks a barrel, the receipt that a barrel gives for each stamping, the
// statement by which it settles a use, and the list of the devices that may be on
// a terminal's hotspot.
//
// Each is a COSE_Sign1 (RFC 9052 4.2) with EdDSA over Ed25519 (RFC 9053 2.2),
// its payload CBOR in the core deterministic encoding (RFC 8949 4.2.1) with
// integer keys; docs/api/grant.cddl is the grammar. The kinds have
// different external_aad, so that a signature on one is never one on another,
// even by the same key.
//
// There is one byte string for one content and key: Ed25519 has no nonce, and
// whatever is not in the deterministic form, has an unknown key or an extra
// header is refused. A grant that is signed again is the same grant, and a
// receipt can be compared byte by byte.
package grant

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sealedge/sealedge/policy/ident"
)

// MaxSize is the most bytes that a signed message may have, other than an AllowList.
const MaxSize = 2048

// Errors of verifying. Each error of this package wraps one of them.
var (
	ErrMalformed = errors.New("not a well-formed signed message") // no COSE_Sign1 of the profile
	ErrKey       = errors.New("signed with another key")          // the kid is not of the key asked for
	ErrSignature = errors.New("the signature is wrong")
	ErrContent   = errors.New("the signed content makes no sense") // a claim is missing or out of its range
)

// Claims are what a grant permits: one barrel, one use, so many stampings,
// after these verifications, until then.
type Claims struct {
	Barrel          string
	Order           string
	IMSI            string // the terminal that asked
	UseID           uint64
	Count           uint32   // stampings
	Methods         []string // that the barrel must verify; none twice
	Level           uint32
	Counter         uint64    // the barrel accepts only what is higher than any before
	NotBefore       time.Time // whole seconds
	NotAfter        time.Time // whole seconds
	SealType        string
	EvidenceSeconds uint32 // time for the image of a stamping; 0: none is asked for
	User            string // whose finger and face
	DocumentDigest  []byte // SHA-256 of the target document, or empty
}

// Receipt is the barrel's word that one stamping was done.
type Receipt struct {
	Barrel   string
	Order    string
	UseID    uint64
	Counter  uint64    // of the grant
	Number   uint32    // 1 for the first of the use
	Lifetime uint64    // stampings of the barrel ever, this one included
	At       time.Time // whole seconds, the barrel's clock
	Methods  []string  // that were verified before
}

// Statement is the barrel's word that a use is over: it is locked, and no more
// than Stamped stampings were or will be done under that grant.
type Statement struct {
	Barrel   string
	Order    string
	UseID    uint64
	Counter  uint64 // of the grant
	Stamped  uint32
	Lifetime uint64    // stampings of the barrel ever
	At       time.Time // whole seconds, the barrel's clock
}

// Sign makes a grant. It fails with ErrContent on claims that no barrel would
// accept.
func Sign(c Claims, key ed25519.PrivateKey) ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	return sign(kindGrant, c.wire(), key)
}

// Verify checks a grant and returns what it permits. Whether the time is right
// and the counter new is for the barrel to check.
func Verify(raw []byte, key ed25519.PublicKey) (Claims, error) {
	var w grantWire
	if err := verify(kindGrant, raw, key, &w); err != nil {
		return Claims{}, err
	}
	c := w.claims()
	return c, c.check()
}

// SignReceipt makes a receipt.
func SignReceipt(r Receipt, key ed25519.PrivateKey) ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	return sign(kindReceipt, r.wire(), key)
}

// VerifyReceipt checks a barrel's receipt.
func VerifyReceipt(raw []byte, key ed25519.PublicKey) (Receipt, error) {
	var w receiptWire
	if err := verify(kindReceipt, raw, key, &w); err != nil {
		return Receipt{}, err
	}
	r := w.receipt()
	return r, r.check()
}

// SignStatement makes a settlement statement.
func SignStatement(s Statement, key ed25519.PrivateKey) ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	return sign(kindStatement, s.wire(), key)
}

// VerifyStatement checks a barrel's settlement statement.
func VerifyStatement(raw []byte, key ed25519.PublicKey) (Statement, error) {
	var w statementWire
	if err := verify(kindStatement, raw, key, &w); err != nil {
		return Statement{}, err
	}
	s := w.statement()
	return s, s.check()
}

func (c Claims) check() error {
	if err := checkUse(c.Barrel, c.Order, c.UseID, c.Counter); err != nil {
		return err
	}
	if i, err := ident.ParseIMSI(c.IMSI); err != nil || i.String() != c.IMSI {
		return fmt.Errorf("%w: terminal %q", ErrContent, c.IMSI)
	}
	switch {
	case c.Count == 0:
		return fmt.Errorf("%w: no stampings", ErrContent)
	case len(c.Methods) == 0:
		return fmt.Errorf("%w: no verification methods", ErrContent)
	case c.NotBefore.Unix() < 0 || c.NotAfter.Before(c.NotBefore):
		return fmt.Errorf("%w: valid from %v to %v", ErrContent, c.NotBefore, c.NotAfter)
	case len(c.SealType) == 0 || len(c.SealType) > 64 || len(c.User) > 128:
		return fmt.Errorf("%w: seal type %q, user %q", ErrContent, c.SealType, c.User)
	case len(c.DocumentDigest) != 0 && len(c.DocumentDigest) != 32:
		return fmt.Errorf("%w: document digest of %d bytes", ErrContent, len(c.DocumentDigest))
	}
	return checkMethods(c.Methods)
}

func (r Receipt) check() error {
	if err := checkUse(r.Barrel, r.Order, r.UseID, r.Counter); err != nil {
		return err
	}
	if r.Number == 0 || r.Lifetime < uint64(r.Number) || r.At.Unix() < 0 {
		return fmt.Errorf("%w: stamping %d of %d ever, at %v", ErrContent, r.Number, r.Lifetime, r.At)
	}
	return checkMethods(r.Methods)
}

func (s Statement) check() error {
	if err := checkUse(s.Barrel, s.Order, s.UseID, s.Counter); err != nil {
		return err
	}
	if s.Lifetime < uint64(s.Stamped) || s.At.Unix() < 0 {
		return fmt.Errorf("%w: %d stampings of %d ever, at %v", ErrContent, s.Stamped, s.Lifetime, s.At)
	}
	return nil
}

func checkUse(barrel, order string, use, counter uint64) error {
	if b, err := ident.ParseBarrelID(barrel); err != nil || b.String() != barrel {
		return fmt.Errorf("%w: barrel %q", ErrContent, barrel)
	}
	if _, err := ident.ParseOrderNo(order); err != nil {
		return fmt.Errorf("%w: order %q", ErrContent, order)
	}
	if use == 0 || counter == 0 {
		return fmt.Errorf("%w: use %d, counter %d", ErrContent, use, counter)
	}
	return nil
}

func checkMethods(methods []string) error {
	if len(methods) > 8 {
		return fmt.Errorf("%w: %d methods", ErrContent, len(methods))
	}
	for i, m := range methods {
		if m == "" || len(m) > 32 || slices.Contains(methods[:i], m) {
			return fmt.Errorf("%w: methods %q", ErrContent, methods)
		}
	}
	return nil
}
