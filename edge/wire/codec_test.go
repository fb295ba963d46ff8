package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
)

// messages are samples of every CBOR message with their golden bytes.
var messages = []struct {
	value  any
	golden string
}{
	{&Heartbeat{BarrelIdle, true, 87, 41, 0, 903, 0, 3, ""}, "a8016469646c6502f503185704182905000619038707000803"},
	{&HeartbeatAnswer{10000, 1795334400000, []LockOrder{{5, 7, "mismatch", "", 0}}}, "a301192710021b000001a20244e8000381a30105020703686d69736d61746368"},
	{&LockOrder{5, 7, "mismatch", "", 0}, "a30105020703686d69736d61746368"},
	{&LockOrder{5, 7, "mismatch", "WO-1", 41}, "a50105020703686d69736d617463680464574f2d31051829"},
	{&LockAck{[]uint64{5, 6}}, "a101820506"},
	{&ReceiptAnswer{7, 1, false}, "a30107020103f4"},
	{&BarrelEvent{EventTamper, "", 1795334400000, 4, 0}, "a3016674616d706572031b000001a20244e8000404"},
	{&BarrelStatus{"SB-0001", BarrelUnlocked, false, 80, 41, 7, 2, 1, 904, "Unlocked.", []string{MethodFace}, 9000}, "ac016753422d303030310268756e6c6f636b656403f4041850051829060707020801091903880a69556e6c6f636b65642e0b8164666163650c192328"},
	{&UnlockRequest{[]byte{1, 2}, "li.wei", ""}, "a20142010202666c692e776569"},
	{&UnlockAnswer{7, 2, []string{MethodFingerprint, MethodFace}}, "a30107020203826b66696e6765727072696e746466616365"},
	{&LocalReceipts{7, [][]byte{{1}}, []byte{2}}, "a3010702814101034102"},
	{&LocalLock{"done"}, "a10164646f6e65"},
	{&ConciseProblem{CodeBarrelBusy, ""}, "a1206b62617272656c2d62757379"},
}

func TestCBORMessages(t *testing.T) {
	for _, m := range messages {
		b := MarshalCBOR(m.value)
		if hex.EncodeToString(b) != m.golden {
			t.Errorf("%T encodes to %x, want %s", m.value, b, m.golden)
		}
		back := reflect.New(reflect.TypeOf(m.value).Elem()).Interface()
		if err := UnmarshalCBOR(b, back); err != nil || !reflect.DeepEqual(back, m.value) {
			t.Errorf("%x decodes to %+v, %v; want %+v", b, back, err, m.value)
		}
		for n := range len(b) {
			if err := UnmarshalCBOR(b[:n], back); !errors.Is(err, ErrMalformed) {
				t.Errorf("%T cut at %d: %v, want ErrMalformed", m.value, n, err)
			}
		}
	}
}

func TestCBORIsStrict(t *testing.T) {
	for name, in := range map[string]string{
		"a key twice":           "a201010102",
		"map of unknown length": "bf0107ff",
		"a byte after it":       "a1010700",
		"a tag":                 "a101c007",
		"wrong type":            "a1016161",
		"negative use":          "a10120",
	} {
		b, err := hex.DecodeString(in)
		if err != nil {
			t.Fatal(err)
		}
		var got ReceiptAnswer
		if err := UnmarshalCBOR(b, &got); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %+v, %v; want ErrMalformed", name, got, err)
		}
	}
	var got LocalLock
	if err := UnmarshalCBOR(MarshalCBOR(LocalLock{strings.Repeat("x", MaxCBOR)}), &got); !errors.Is(err, ErrMalformed) {
		t.Errorf("too long: %v, want ErrMalformed", err)
	}
	if err := UnmarshalCBOR([]byte{0xa2, 0x01, 0x61, 'x', 0x18, 0x63, 0x07}, &got); err != nil || got.Reason != "x" {
		t.Errorf("a key of a later version: %+v, %v; want it skipped", got, err)
	}
}

func FuzzUnmarshalCBOR(f *testing.F) {
	for i, m := range messages {
		f.Add(i, MarshalCBOR(m.value))
	}
	f.Fuzz(func(t *testing.T, which int, b []byte) {
		typ := reflect.TypeOf(messages[uint(which)%uint(len(messages))].value).Elem()
		once, twice := reflect.New(typ).Interface(), reflect.New(typ).Interface()
		if UnmarshalCBOR(b, once) != nil {
			return
		}
		again := MarshalCBOR(once)
		if err := UnmarshalCBOR(again, twice); err != nil || !bytes.Equal(MarshalCBOR(twice), again) {
			t.Fatalf("%x decodes to %+v, encodes to %x, decodes to %+v, %v", b, once, again, twice, err)
		}
	})
}

func TestDecodeJSON(t *testing.T) {
	for _, c := range []struct {
		in             string
		request, other bool // accepted as a request, as an answer
	}{
		{`{"user":"li.wei","password":"x"}`, true, true},
		{` {"user":"li.wei"} ` + "\n", true, true},
		{`{"user":"li.wei","admin":true}`, false, true},
		{`{"user":"li.wei"}{}`, false, false},
		{`{"user":7}`, false, false},
		{`{"user":"` + strings.Repeat("x", MaxJSON) + `"}`, false, true},
		{`{"user":"` + strings.Repeat("x", MaxAnswer) + `"}`, false, false},
		{``, false, false},
	} {
		var got LoginRequest
		if err := DecodeRequest(strings.NewReader(c.in), &got); (err == nil) != c.request || err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("request %.60q: %v, want accepted %v", c.in, err, c.request)
		}
		if err := DecodeAnswer(strings.NewReader(c.in), &got); (err == nil) != c.other || err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("answer %.60q: %v, want accepted %v", c.in, err, c.other)
		}
	}
}

func TestReprDigest(t *testing.T) {
	var sum [32]byte
	for i := range sum {
		sum[i] = byte(i)
	}
	good := FormatReprDigest(sum)
	if want := "sha-256=:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=:"; good != want {
		t.Errorf("written as %s, want %s", good, want)
	}
	for _, in := range []string{good, "sha-512=:YQ==:, " + good, good + ",\tunixsum=:YQ==:", "sha-256=:" + strings.Repeat("A", 43) + "=:," + good} {
		if got, err := ParseReprDigest(in); err != nil || got != sum {
			t.Errorf("%s reads as %x, %v; want %x", in, got, err, sum)
		}
	}
	for n := range len(good) {
		if got, err := ParseReprDigest(good[:n]); !errors.Is(err, ErrMalformed) {
			t.Errorf("cut at %d: %x, %v; want ErrMalformed", n, got, err)
		}
	}
	for _, in := range []string{"sha-256=:YQ==:", "sha-512=:YQ==:", "sha-256=YQ==", "sha-256=:!!!:", good + ",", strings.Repeat(good+",", 20) + good} {
		if got, err := ParseReprDigest(in); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q reads as %x, %v; want ErrMalformed", in, got, err)
		}
	}
}

func FuzzReprDigest(f *testing.F) {
	f.Add(FormatReprDigest([32]byte{1}))
	f.Add("sha-512=:YQ==:, sha-256=:YQ==:")
	f.Fuzz(func(t *testing.T, in string) {
		sum, err := ParseReprDigest(in)
		if err != nil {
			return
		}
		if again, err := ParseReprDigest(FormatReprDigest(sum)); err != nil || again != sum {
			t.Fatalf("%q reads as %x, which reads as %x, %v", in, sum, again, err)
		}
	})
}

func TestPathsMatchTheirPatterns(t *testing.T) {
	ref := EvidenceRef{Order: "WO/2026 1%", Use: 7, Stamp: 2}
	for path, pattern := range map[string]string{
		UsePath(7):              PathUse,
		ReceiptsPath(7):         PathReceipts,
		SettlementPath(7):       PathSettlement,
		EvidencePath(7, 2):      PathEvidence,
		LockAckPath(5):          PathLockAck,
		ServerEvidencePath(ref): PathServerEvidence,
	} {
		var got *http.Request
		mux := http.NewServeMux()
		mux.HandleFunc(pattern, func(_ http.ResponseWriter, r *http.Request) { got = r })
		mux.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil))
		if got == nil {
			t.Errorf("%s doesn't match %s", path, pattern)
		} else if pattern == PathServerEvidence && (got.PathValue("order") != ref.Order || got.PathValue("stamp") != "2") {
			t.Errorf("%s names order %q, stamp %q", path, got.PathValue("order"), got.PathValue("stamp"))
		}
	}
}
