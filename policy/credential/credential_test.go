package credential

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// The vectors were computed by another implementation (Python's hashlib).
func TestHash(t *testing.T) {
	for _, c := range []struct {
		iterations uint32
		want       string
	}{
		{1, "120fb6cffcf8b32c43e7225256c4f837a86548c92ccc35480805987cb70be17b"},
		{4096, "c5e478d59288c841aa530db6845c4c8d962893a001ce4e11a4963873aa98134a"},
	} {
		if got := hex.EncodeToString(Hash([]byte("password"), []byte("salt"), c.iterations)); got != c.want {
			t.Errorf("%d iterations: got %s, want %s", c.iterations, got, c.want)
		}
	}
	if Hash([]byte("p"), nil, 1) != nil || Hash([]byte("p"), []byte("s"), 0) != nil || Hash([]byte("p"), []byte("s"), MaxIterations+1) != nil {
		t.Error("a hash without salt, of no iterations or of too many was made")
	}
}

func TestVerifyPAP(t *testing.T) {
	salt := bytes.Repeat([]byte{0xA5}, SaltSize)
	hash := Hash([]byte("open sesame"), salt, 50)
	other := bytes.Clone(salt)
	other[15] ^= 1
	for _, c := range []struct {
		name                 string
		password, salt, hash []byte
		iterations           uint32
		want                 bool
	}{
		{"the password", []byte("open sesame"), salt, hash, 50, true},
		{"another password", []byte("open sesamE"), salt, hash, 50, false},
		{"a longer password", []byte("open sesame "), salt, hash, 50, false},
		{"no password", nil, salt, hash, 50, false},
		{"another salt", []byte("open sesame"), other, hash, 50, false},
		{"other iterations", []byte("open sesame"), salt, hash, 51, false},
		{"no hash", []byte("open sesame"), salt, nil, 50, false},
		{"a part of the hash", []byte("open sesame"), salt, hash[:31], 50, false},
		{"an empty record", nil, nil, nil, 0, false},
		{"a record that would cost too much", []byte("open sesame"), salt, hash, MaxIterations + 1, false},
	} {
		if got := VerifyPAP(c.password, c.salt, c.hash, c.iterations); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestVerifyCHAP(t *testing.T) {
	var challenge [16]byte
	for i := range challenge {
		challenge[i] = byte(i)
	}
	secret := []byte("open sesame")
	// MD5(07 || secret || challenge), by another implementation.
	response, err := hex.DecodeString("b9c961060c54d39c2561e9e85d323b02")
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.Clone(response)
	changed[0] ^= 1
	for _, c := range []struct {
		name                        string
		id                          byte
		secret, challenge, response []byte
		want                        bool
	}{
		{"the response", 7, secret, challenge[:], response, true},
		{"another identifier", 8, secret, challenge[:], response, false},
		{"another secret", 7, []byte("open sesamE"), challenge[:], response, false},
		{"another challenge", 7, secret, challenge[1:], response, false},
		{"another response", 7, secret, challenge[:], changed, false},
		{"a part of the response", 7, secret, challenge[:], response[:15], false},
		{"no response", 7, secret, challenge[:], nil, false},
		// MD5(07): what "no secret, no challenge" would be answered with.
		{"nothing to answer", 7, nil, nil, []byte{0x89, 0xe7, 0x4e, 0x64, 0x0b, 0x8c, 0x46, 0x25, 0x7a, 0x29, 0xde, 0x06, 0x16, 0x79, 0x4f, 0x5d}, false},
	} {
		if got := VerifyCHAP(c.id, c.secret, c.challenge, c.response); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// Nothing that a terminal sends makes checking panic, or matches by being empty.
func FuzzVerify(f *testing.F) {
	f.Add(byte(1), []byte("secret"), []byte("0123456789abcdef"), []byte("fedcba9876543210"))
	f.Add(byte(0), []byte{}, []byte{}, []byte{})
	salt := bytes.Repeat([]byte{1}, SaltSize)
	hash := Hash([]byte("another one"), salt, 1)
	f.Fuzz(func(t *testing.T, id byte, secret, challenge, response []byte) {
		if VerifyCHAP(id, secret, challenge, response) && (len(secret) == 0 || len(challenge) == 0 || len(response) != 16) {
			t.Error("a response that can't be one was taken")
		}
		if VerifyPAP(secret, salt, hash, 1) && string(secret) != "another one" {
			t.Error("another password was taken")
		}
	})
}
