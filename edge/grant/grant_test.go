package grant

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/veraison/go-cose"
)

var update = flag.Bool("update", false, "write the golden files")

func key(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

var (
	gateway = key(1)
	barrel  = key(2)
)

func claims() Claims {
	return Claims{
		Barrel: "SB-0001", Order: "WO/2026-001", IMSI: "460010000000001", UseID: 7, Count: 2,
		Methods: []string{"fingerprint", "face"}, Level: 1, Counter: 41,
		NotBefore: time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC), NotAfter: time.Date(2026, 11, 22, 8, 10, 0, 0, time.UTC),
		SealType: "company", EvidenceSeconds: 120, User: "li.wei", DocumentDigest: bytes.Repeat([]byte{0xd0}, 32),
	}
}

func receipt() Receipt {
	return Receipt{"SB-0001", "WO/2026-001", 7, 41, 1, 903, time.Date(2026, 11, 22, 8, 1, 30, 0, time.UTC), []string{"fingerprint", "face"}}
}

func statement() Statement {
	return Statement{"SB-0001", "WO/2026-001", 7, 41, 2, 904, time.Date(2026, 11, 22, 8, 3, 0, 0, time.UTC)}
}

// kinds of message, each with how to sign the sample and how to verify.
var kinds = []struct {
	name   string
	key    ed25519.PrivateKey
	sign   func() ([]byte, error)
	verify func([]byte, ed25519.PublicKey) (any, error)
	want   any
}{
	{
		"grant", gateway, func() ([]byte, error) { return Sign(claims(), gateway) },
		func(b []byte, k ed25519.PublicKey) (any, error) { return Verify(b, k) }, claims(),
	},
	{
		"receipt", barrel, func() ([]byte, error) { return SignReceipt(receipt(), barrel) },
		func(b []byte, k ed25519.PublicKey) (any, error) { return VerifyReceipt(b, k) }, receipt(),
	},
	{
		"settlement", barrel, func() ([]byte, error) { return SignStatement(statement(), barrel) },
		func(b []byte, k ed25519.PublicKey) (any, error) { return VerifyStatement(b, k) }, statement(),
	},
	{
		"hotspot-list", gateway, func() ([]byte, error) { return SignAllowList(allowList(), gateway) },
		func(b []byte, k ed25519.PublicKey) (any, error) { return VerifyAllowList(b, k) }, allowList(),
	},
}

// The bytes are in logs and in barrels that can't be changed: they stay.
func TestGolden(t *testing.T) {
	for _, k := range kinds {
		raw, err := k.sign()
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", k.name+".hex")
		if *update {
			if err := os.WriteFile(file, []byte(hex.EncodeToString(raw)+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		golden, err := hex.DecodeString(string(bytes.TrimSpace(text)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(raw, golden) {
			t.Errorf("%s is now\n%x, was\n%x", k.name, raw, golden)
		}
		got, err := k.verify(golden, public(k.key))
		if err != nil || !reflect.DeepEqual(got, k.want) {
			t.Errorf("%s verifies to %+v, %v; want %+v", k.name, got, err, k.want)
		}
	}
}

func TestEveryCutAndEveryFlippedBitIsRefused(t *testing.T) {
	for _, k := range kinds {
		raw, err := k.sign()
		if err != nil {
			t.Fatal(err)
		}
		for n := range len(raw) {
			if got, err := k.verify(raw[:n], public(k.key)); !errors.Is(err, ErrMalformed) {
				t.Fatalf("%s cut at %d of %d: %+v, %v; want ErrMalformed", k.name, n, len(raw), got, err)
			}
		}
		for i := range len(raw) * 8 {
			bad := bytes.Clone(raw)
			bad[i/8] ^= 1 << (i % 8)
			if got, err := k.verify(bad, public(k.key)); err == nil {
				t.Fatalf("%s with bit %d of byte %d flipped is accepted: %+v", k.name, i%8, i/8, got)
			}
		}
		if _, err := k.verify(append(bytes.Clone(raw), 0), public(k.key)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s with a byte after it: %v, want ErrMalformed", k.name, err)
		}
	}
}

func TestAnotherKeyIsNamed(t *testing.T) {
	raw, err := Sign(claims(), gateway)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(raw, public(key(9))); !errors.Is(err, ErrKey) {
		t.Errorf("verify with another key: %v, want ErrKey", err)
	}
	if kid, err := SignerOf(raw); err != nil || !bytes.Equal(kid, KeyID(public(gateway))) {
		t.Errorf("SignerOf = %x, %v; want %x", kid, err, KeyID(public(gateway)))
	}
	if _, err := Verify(raw, nil); !errors.Is(err, ErrKey) {
		t.Errorf("verify with no key: %v, want ErrKey", err)
	}
}

// One key may sign all kinds, and still none passes for another, even
// where the content would do.
func TestDomainsAreSeparate(t *testing.T) {
	s := statement()
	r := Receipt{Barrel: s.Barrel, Order: s.Order, UseID: s.UseID, Counter: s.Counter, Number: s.Stamped, Lifetime: s.Lifetime, At: s.At}
	rb, err := SignReceipt(r, barrel)
	if err != nil {
		t.Fatal(err)
	}
	sb, err := SignStatement(s, barrel)
	if err != nil {
		t.Fatal(err)
	}
	rm, _, _ := parse(rb, MaxSize)
	sm, _, _ := parse(sb, MaxSize)
	if !bytes.Equal(rm.Payload, sm.Payload) {
		t.Fatal("the payloads should be equal, else this test shows nothing")
	}
	if _, err := VerifyStatement(rb, public(barrel)); !errors.Is(err, ErrSignature) {
		t.Errorf("a receipt as a statement: %v, want ErrSignature", err)
	}
	if _, err := VerifyReceipt(sb, public(barrel)); !errors.Is(err, ErrSignature) {
		t.Errorf("a statement as a receipt: %v, want ErrSignature", err)
	}
}

func TestNonsenseIsNeitherSignedNorAccepted(t *testing.T) {
	for name, spoil := range map[string]func(*Claims){
		"no barrel":             func(c *Claims) { c.Barrel = "" },
		"barrel in lower case":  func(c *Claims) { c.Barrel = "sb-0001" },
		"no order":              func(c *Claims) { c.Order = "" },
		"IMSI of letters":       func(c *Claims) { c.IMSI = "abcdef" },
		"no use":                func(c *Claims) { c.UseID = 0 },
		"counter 0":             func(c *Claims) { c.Counter = 0 },
		"no stampings":          func(c *Claims) { c.Count = 0 },
		"no methods":            func(c *Claims) { c.Methods = nil },
		"a method twice":        func(c *Claims) { c.Methods = []string{"face", "face"} },
		"nine methods":          func(c *Claims) { c.Methods = []string{"1", "2", "3", "4", "5", "6", "7", "8", "9"} },
		"expires before begins": func(c *Claims) { c.NotAfter = c.NotBefore.Add(-time.Second) },
		"before 1970":           func(c *Claims) { c.NotBefore = time.Unix(-1, 0) },
		"no seal type":          func(c *Claims) { c.SealType = "" },
		"half a digest":         func(c *Claims) { c.DocumentDigest = c.DocumentDigest[:16] },
	} {
		c := claims()
		spoil(&c)
		if _, err := Sign(c, gateway); !errors.Is(err, ErrContent) {
			t.Errorf("%s: Sign gives %v, want ErrContent", name, err)
		}
		raw, err := sign(kindGrant, c.wire(), gateway)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(raw, public(gateway)); !errors.Is(err, ErrContent) {
			t.Errorf("%s: Verify gives %v, want ErrContent", name, err)
		}
	}
}

// Well signed, but not what the profile makes: refused all the same.
func TestProfileIsStrict(t *testing.T) {
	signer, err := cose.NewSigner(cose.AlgorithmEdDSA, gateway)
	if err != nil {
		t.Fatal(err)
	}
	good, err := encoding.Marshal(claims().wire())
	if err != nil {
		t.Fatal(err)
	}
	unknown := map[int]any{}
	if err := cbor.Unmarshal(good, &unknown); err != nil {
		t.Fatal(err)
	}
	unknown[99] = "an additional condition"
	withUnknown, err := encoding.Marshal(unknown)
	if err != nil {
		t.Fatal(err)
	}
	twice := bytes.Clone(good)
	twice[0]++ // one pair more
	twice = append(twice, 0x08, 0x01)
	for name, c := range map[string]struct {
		edit func(*cose.Sign1Message)
		want error
	}{
		"unprotected header":    {func(m *cose.Sign1Message) { m.Headers.Unprotected[cose.HeaderLabelKeyID] = []byte("x") }, ErrMalformed},
		"content type header":   {func(m *cose.Sign1Message) { m.Headers.Protected[cose.HeaderLabelContentType] = "text/plain" }, ErrMalformed},
		"no algorithm":          {func(m *cose.Sign1Message) { delete(m.Headers.Protected, cose.HeaderLabelAlgorithm) }, ErrMalformed},
		"no kid":                {func(m *cose.Sign1Message) { delete(m.Headers.Protected, cose.HeaderLabelKeyID) }, ErrMalformed},
		"unknown claim":         {func(m *cose.Sign1Message) { m.Payload = withUnknown }, ErrContent},
		"a claim twice":         {func(m *cose.Sign1Message) { m.Payload = twice }, ErrContent},
		"map of unknown length": {func(m *cose.Sign1Message) { m.Payload = append(append([]byte{0xbf}, good[1:]...), 0xff) }, ErrContent},
		"longer integer":        {func(m *cose.Sign1Message) { m.Payload = append([]byte{good[0], 0x18, 0x01}, good[2:]...) }, ErrContent},
		"no payload":            {func(m *cose.Sign1Message) { m.Payload = []byte{} }, ErrContent},
	} {
		m := message(KeyID(public(gateway)), good)
		c.edit(m)
		if name == "no algorithm" {
			// go-cose puts the algorithm in when it signs, unless it came raw.
			m.Headers.RawProtected, _ = encoding.Marshal([]byte("\xa1\x04\x48" + string(KeyID(public(gateway)))))
		}
		if err := m.Sign(nil, []byte(kindGrant), signer); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		raw, err := m.MarshalCBOR()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got, err := Verify(raw, public(gateway)); !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v; want %v", name, got, err, c.want)
		}
	}
	if _, err := Verify(make([]byte, MaxSize+1), public(gateway)); !errors.Is(err, ErrMalformed) {
		t.Errorf("too long: %v, want ErrMalformed", err)
	}
}

// Whatever verifies is, signed again, the same bytes.
func FuzzVerify(f *testing.F) {
	for _, k := range kinds {
		raw, err := k.sign()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte{0xd2, 0x84, 0x40, 0xa0, 0x40, 0x40})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if c, err := Verify(raw, public(gateway)); err == nil {
			if again, err := Sign(c, gateway); err != nil || !bytes.Equal(again, raw) {
				t.Fatalf("%x verifies to %+v, which signs to %x, %v", raw, c, again, err)
			}
		}
		if r, err := VerifyReceipt(raw, public(barrel)); err == nil {
			if again, err := SignReceipt(r, barrel); err != nil || !bytes.Equal(again, raw) {
				t.Fatalf("%x verifies to %+v, which signs to %x, %v", raw, r, again, err)
			}
		}
		if l, err := VerifyAllowList(raw, public(gateway)); err == nil {
			if again, err := SignAllowList(l, gateway); err != nil || !bytes.Equal(again, raw) {
				t.Fatalf("%x verifies to %+v, which signs to %x, %v", raw, l, again, err)
			}
		}
	})
}

// Past the signature, payloads from anywhere: what is accepted makes sense and
// has one encoding.
func FuzzPayload(f *testing.F) {
	for _, p := range []any{claims().wire(), receipt().wire(), statement().wire()} {
		b, err := encoding.Marshal(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		raw, err := sign(kindGrant, cbor.RawMessage(payload), gateway)
		if err != nil {
			return
		}
		c, err := Verify(raw, public(gateway))
		if err != nil {
			return
		}
		if again, err := Sign(c, gateway); err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("payload %x is accepted as %+v, which signs to %x, %v", payload, c, again, err)
		}
	})
}
