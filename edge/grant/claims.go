package grant

import "time"

// The payloads as they are encoded. Keys are never used again for something
// else; see docs/api/grant.cddl.

type grantWire struct {
	Barrel          string   `cbor:"1,keyasint"`
	Order           string   `cbor:"2,keyasint"`
	UseID           uint64   `cbor:"3,keyasint"`
	Counter         uint64   `cbor:"4,keyasint"`
	IMSI            string   `cbor:"5,keyasint"`
	Count           uint32   `cbor:"6,keyasint"`
	Methods         []string `cbor:"7,keyasint"`
	Level           uint32   `cbor:"8,keyasint"`
	NotBefore       int64    `cbor:"9,keyasint"`
	NotAfter        int64    `cbor:"10,keyasint"`
	SealType        string   `cbor:"11,keyasint"`
	EvidenceSeconds uint32   `cbor:"12,keyasint"`
	User            string   `cbor:"13,keyasint,omitempty"`
	DocumentDigest  []byte   `cbor:"14,keyasint,omitempty"`
}

type receiptWire struct {
	Barrel   string   `cbor:"1,keyasint"`
	Order    string   `cbor:"2,keyasint"`
	UseID    uint64   `cbor:"3,keyasint"`
	Counter  uint64   `cbor:"4,keyasint"`
	Number   uint32   `cbor:"5,keyasint"`
	Lifetime uint64   `cbor:"6,keyasint"`
	At       int64    `cbor:"7,keyasint"`
	Methods  []string `cbor:"8,keyasint,omitempty"`
}

type statementWire struct {
	Barrel   string `cbor:"1,keyasint"`
	Order    string `cbor:"2,keyasint"`
	UseID    uint64 `cbor:"3,keyasint"`
	Counter  uint64 `cbor:"4,keyasint"`
	Stamped  uint32 `cbor:"5,keyasint"`
	Lifetime uint64 `cbor:"6,keyasint"`
	At       int64  `cbor:"7,keyasint"`
}

func seconds(s int64) time.Time { return time.Unix(s, 0).UTC() }

func (c Claims) wire() *grantWire {
	return &grantWire{
		Barrel: c.Barrel, Order: c.Order, UseID: c.UseID, Counter: c.Counter, IMSI: c.IMSI, Count: c.Count,
		Methods: c.Methods, Level: c.Level, NotBefore: c.NotBefore.Unix(), NotAfter: c.NotAfter.Unix(),
		SealType: c.SealType, EvidenceSeconds: c.EvidenceSeconds, User: c.User, DocumentDigest: c.DocumentDigest,
	}
}

func (w *grantWire) claims() Claims {
	return Claims{
		Barrel: w.Barrel, Order: w.Order, UseID: w.UseID, Counter: w.Counter, IMSI: w.IMSI, Count: w.Count,
		Methods: w.Methods, Level: w.Level, NotBefore: seconds(w.NotBefore), NotAfter: seconds(w.NotAfter),
		SealType: w.SealType, EvidenceSeconds: w.EvidenceSeconds, User: w.User, DocumentDigest: w.DocumentDigest,
	}
}

func (r Receipt) wire() *receiptWire {
	return &receiptWire{r.Barrel, r.Order, r.UseID, r.Counter, r.Number, r.Lifetime, r.At.Unix(), r.Methods}
}

func (w *receiptWire) receipt() Receipt {
	return Receipt{w.Barrel, w.Order, w.UseID, w.Counter, w.Number, w.Lifetime, seconds(w.At), w.Methods}
}

func (s Statement) wire() *statementWire {
	return &statementWire{s.Barrel, s.Order, s.UseID, s.Counter, s.Stamped, s.Lifetime, s.At.Unix()}
}

func (w *statementWire) statement() Statement {
	return Statement{w.Barrel, w.Order, w.UseID, w.Counter, w.Stamped, w.Lifetime, seconds(w.At)}
}
