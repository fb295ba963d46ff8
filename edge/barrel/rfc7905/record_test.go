package rfc7905

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/pion/dtls/v2/pkg/crypto/prf"
	"github.com/pion/dtls/v2/pkg/protocol"
	"github.com/pion/dtls/v2/pkg/protocol/recordlayer"
	"golang.org/x/crypto/chacha20poly1305"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// RFC 8439 2.8.2: the construction that RFC 7905 names.
func TestAEADVector(t *testing.T) {
	key := unhex(t, `80818283 84858687 88898a8b 8c8d8e8f 90919293 94959697 98999a9b 9c9d9e9f`)
	nonce := unhex(t, `07000000 40414243 44454647`)
	ad := unhex(t, `50515253 c0c1c2c3 c4c5c6c7`)
	plain := []byte("Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.")
	want := unhex(t, `
		d31a8d34648e60db7b86afbc53ef7ec2 a4aded51296e08fea9e2b5a736ee62d6
		3dbea45e8ca9671282fafb69da92728b 1a71de0a9e060b2905d6a5b67ecd3b36
		92ddbd7f2d778b8c9803aee328091b58 fab324e4fad675945585808b4831d7bc
		3ff4def08e4b7a9de576d26586cec64b 6116
		1ae10b594f09e26a7e902ecbd0600691`)
	aead, err := newSuite(psk).newAEAD(key)
	if err != nil {
		t.Fatal(err)
	}
	if got := aead.Seal(nil, nonce, plain, ad); !bytes.Equal(got, want) {
		t.Errorf("sealed\n%x, want\n%x", got, want)
	}
}

// The PRF with SHA-256, which all three suites take: the vector of "TLS 1.2 PRF
// test vectors" (P_SHA256) that implementations check themselves by.
func TestPRFVector(t *testing.T) {
	secret := unhex(t, `9bbe436ba940f017b17652849a71db35`)
	seed := append([]byte("test label"), unhex(t, `a0ba9f936cda311827a6f796ffd5198c`)...)
	want := unhex(t, `
		e3f229ba727be17b8d122620557cd453 c2aab21d07c3d495329b52d4e61edb5a
		6b301791e90d35c9c9a46b4e14baf9af 0fa022f7077def17abfd3797c0564bab
		4fbc91666e9def9b97fce34f796789ba a48082d122ee42c5a72e5a5110fff701
		87347b66`)
	got, err := prf.PHash(secret, seed, len(want), newSuite(psk).HashFunc())
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("PRF gave\n%x, %v, want\n%x", got, err, want)
	}
}

// RFC 7905 2, worked by hand: four zero bytes, then epoch and sequence number,
// exclusive-or'd with the IV.
func TestNonce(t *testing.T) {
	for _, tc := range []struct {
		iv     string
		epoch  uint16
		number uint64
		want   string
	}{
		{"000000000000000000000000", 0, 0, "000000000000000000000000"},
		{"000000000000000000000000", 1, 0, "000000000001000000000000"},
		{"000000000000000000000000", 1, 0x010203040506, "000000000001010203040506"},
		{"ffffffffffffffffffffffff", 1, 1, "fffffffffffefffffffffffe"},
		{"0102030405060708090a0b0c", 0xffff, 0xffffffffffff, "01020304faf9f8f7f6f5f4f3"},
	} {
		var iv [12]byte
		copy(iv[:], unhex(t, tc.iv))
		got := recordNonce(iv, uint64(tc.epoch)<<48|tc.number)
		if hex.EncodeToString(got[:]) != tc.want {
			t.Errorf("IV %s, epoch %d, number %#x: nonce %x, want %s", tc.iv, tc.epoch, tc.number, got, tc.want)
		}
	}
}

// RFC 5246 6.2.3.3: seq_num + type + version + length, the length being that of
// the plaintext.
func TestAdditionalData(t *testing.T) {
	record := rawRecord(protocol.ContentTypeApplicationData, 1, 0x010203040506, []byte("hello"))
	want := unhex(t, `0001 010203040506 17 fefd 0005`)
	if got := additionalData(record, 5); !bytes.Equal(got[:], want) {
		t.Errorf("additional data %x, want %x", got, want)
	}
}

// A whole record against an independent computation from the RFCs: key block,
// nonce and additional data are laid out by hand here.
func TestRecordLayout(t *testing.T) {
	master, clientRandom, serverRandom := secrets()
	client, server := pair(t, psk)
	block, err := prf.PHash(master, append(append([]byte("key expansion"), serverRandom...), clientRandom...), 88, sha256.New)
	if err != nil {
		t.Fatal(err)
	}
	for name, side := range map[string]struct {
		suite   *suite
		key, iv []byte
	}{
		"client": {client, block[0:32], block[64:76]},
		"server": {server, block[32:64], block[76:88]},
	} {
		plain := []byte("one page, stamped")
		got, err := side.suite.Encrypt(nil, rawRecord(protocol.ContentTypeApplicationData, 1, 7, plain))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		nonce := bytes.Clone(side.iv)
		nonce[5] ^= 1  // epoch 1
		nonce[11] ^= 7 // sequence number 7
		ad := unhex(t, `0001 000000000007 17 fefd 0011`)
		aead, err := chacha20poly1305.New(side.key)
		if err != nil {
			t.Fatal(err)
		}
		want := append(unhex(t, `17 fefd 0001 000000000007 0021`), aead.Seal(nil, nonce, plain, ad)...)
		if !bytes.Equal(got, want) {
			t.Errorf("%s: record\n%x, want\n%x", name, got, want)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	client, server := pair(t, ecdhePSK)
	number := uint64(0)
	for _, size := range []int{0, 1, 15, 16, 17, 1200, maxPlaintext} {
		for _, way := range []struct{ from, to *suite }{{client, server}, {server, client}} {
			number++
			plain := bytes.Repeat([]byte{byte(size)}, size)
			raw := rawRecord(protocol.ContentTypeApplicationData, 1, number, plain)
			sealed, err := way.from.Encrypt(nil, raw)
			if err != nil {
				t.Fatal(err)
			}
			if len(sealed) != header+size+chacha20poly1305.Overhead {
				t.Errorf("%d bytes became a record of %d: an explicit nonce must not be sent", size, len(sealed))
			}
			opened, err := way.to.Decrypt(sealed)
			if err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
			if !bytes.Equal(opened[header:], plain) {
				t.Errorf("%d bytes came out as %d", size, len(opened)-header)
			}
		}
	}
}

// Whichever bit of a record is turned, it isn't accepted, nor is a record cut
// short at any byte, nor one from the other direction.
func TestTampered(t *testing.T) {
	client, server := pair(t, ecdheECDSA)
	sealed, err := client.Encrypt(nil, rawRecord(protocol.ContentTypeApplicationData, 1, 1, []byte("unlock")))
	if err != nil {
		t.Fatal(err)
	}
	for bit := range len(sealed) * 8 {
		bad := bytes.Clone(sealed)
		bad[bit/8] ^= 1 << (bit % 8)
		if out, err := server.Decrypt(bad); err == nil {
			t.Errorf("bit %d turned: accepted as %x", bit, out)
		}
	}
	for n := range len(sealed) {
		if _, err := server.Decrypt(bytes.Clone(sealed[:n])); !errors.Is(err, ErrRecordSize) {
			t.Errorf("cut to %d bytes: %v, want ErrRecordSize", n, err)
		}
		cut := bytes.Clone(sealed[:n])
		if n >= header { // with a length that fits
			binary.BigEndian.PutUint16(cut[header-2:], uint16(n-header))
			if _, err := server.Decrypt(cut); err == nil {
				t.Errorf("cut to %d bytes with its length mended: accepted", n)
			}
		}
	}
	if _, err := client.Decrypt(bytes.Clone(sealed)); !errors.Is(err, ErrDecrypt) {
		t.Errorf("reflected to its sender: %v, want ErrDecrypt", err)
	}
	if _, err := server.Decrypt(bytes.Clone(sealed)); err != nil {
		t.Errorf("untouched: %v", err)
	}
}

// The library hands a record to Decrypt whatever its type. A ChangeCipherSpec
// passed through unseen would let anybody move the epoch and the replay window.
func TestChangeCipherSpecIsNotExcepted(t *testing.T) {
	client, server := pair(t, psk)
	forged := rawRecord(protocol.ContentTypeChangeCipherSpec, 1, recordlayer.MaxSequenceNumber, []byte{1})
	if out, err := server.Decrypt(forged); err == nil {
		t.Errorf("forged ChangeCipherSpec accepted as %x", out)
	}
	sealed, err := client.Encrypt(nil, rawRecord(protocol.ContentTypeChangeCipherSpec, 1, 3, []byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := server.Decrypt(sealed); !errors.Is(err, ErrDecrypt) {
		t.Errorf("ChangeCipherSpec under epoch 1: %x, %v, want ErrDecrypt", out, err)
	}
}

func TestNonceReuseIsRefused(t *testing.T) {
	client, _ := pair(t, psk)
	encrypt := func(epoch uint16, number uint64) error {
		_, err := client.Encrypt(nil, rawRecord(protocol.ContentTypeApplicationData, epoch, number, []byte("x")))
		return err
	}
	for _, tc := range []struct {
		epoch  uint16
		number uint64
		want   error
	}{
		{1, 0, nil},
		{1, 0, ErrNonceReuse},
		{1, 5, nil},
		{1, 4, ErrNonceReuse},
		{1, 5, ErrNonceReuse},
		{1, recordlayer.MaxSequenceNumber, nil},
		{1, 0, ErrNonceReuse},
		{0xffff, recordlayer.MaxSequenceNumber, nil},
		{0xffff, recordlayer.MaxSequenceNumber, ErrNonceReuse},
		{0, 0, ErrNonceReuse},
	} {
		if err := encrypt(tc.epoch, tc.number); !errors.Is(err, tc.want) {
			t.Errorf("epoch %d, number %#x: %v, want %v", tc.epoch, tc.number, err, tc.want)
		}
	}
	if err := client.Init(make([]byte, 48), make([]byte, 32), make([]byte, 32), true); !errors.Is(err, ErrKeysSet) {
		t.Errorf("keys set a second time: %v, want ErrKeysSet", err)
	}
}

func TestWithoutKeys(t *testing.T) {
	s := newSuite(psk)
	raw := rawRecord(protocol.ContentTypeApplicationData, 1, 1, []byte("x"))
	if _, err := s.Encrypt(nil, raw); !errors.Is(err, ErrNoKeys) {
		t.Errorf("Encrypt: %v, want ErrNoKeys", err)
	}
	if _, err := s.Decrypt(raw); !errors.Is(err, ErrNoKeys) {
		t.Errorf("Decrypt: %v, want ErrNoKeys", err)
	}
	if s.IsInitialized() {
		t.Error("initialized without keys")
	}
}

func TestRecordTooLong(t *testing.T) {
	client, _ := pair(t, psk)
	raw := rawRecord(protocol.ContentTypeApplicationData, 1, 1, make([]byte, maxPlaintext+1))
	if _, err := client.Encrypt(nil, raw); !errors.Is(err, ErrRecordSize) {
		t.Errorf("%v, want ErrRecordSize", err)
	}
	if _, err := client.Encrypt(nil, raw[:header-1]); !errors.Is(err, ErrRecordSize) {
		t.Errorf("%v, want ErrRecordSize", err)
	}
}

func FuzzDecrypt(f *testing.F) {
	client, server := pair(f, psk)
	sealed, err := client.Encrypt(nil, rawRecord(protocol.ContentTypeApplicationData, 1, 1, []byte("x")))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add(sealed[:header])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		out, err := server.Decrypt(bytes.Clone(b))
		if err == nil && !bytes.Equal(b, sealed) {
			t.Fatalf("forged record %x accepted as %x", b, out)
		}
	})
}

func BenchmarkEncrypt(b *testing.B) {
	client, _ := pair(b, psk)
	raw := rawRecord(protocol.ContentTypeApplicationData, 1, 0, make([]byte, 200))
	b.SetBytes(200)
	b.ReportAllocs()
	for n := uint64(1); b.Loop(); n++ {
		binary.BigEndian.PutUint64(raw[3:], 1<<48|n)
		if _, err := client.Encrypt(nil, raw); err != nil {
			b.Fatal(err)
		}
	}
}

func secrets() (master, clientRandom, serverRandom []byte) {
	return bytes.Repeat([]byte{1}, 48), bytes.Repeat([]byte{2}, 32), bytes.Repeat([]byte{3}, 32)
}

func pair(t testing.TB, k kind) (client, server *suite) {
	t.Helper()
	master, clientRandom, serverRandom := secrets()
	client, server = newSuite(k), newSuite(k)
	if err := client.Init(master, clientRandom, serverRandom, true); err != nil {
		t.Fatal(err)
	}
	if err := server.Init(master, clientRandom, serverRandom, false); err != nil {
		t.Fatal(err)
	}
	return client, server
}

func rawRecord(kind protocol.ContentType, epoch uint16, number uint64, plain []byte) []byte {
	h := recordlayer.Header{
		ContentType: kind, ContentLen: uint16(len(plain)), Version: protocol.Version1_2,
		Epoch: epoch, SequenceNumber: number,
	}
	b, err := h.Marshal()
	if err != nil {
		panic(err)
	}
	return append(b, plain...)
}
