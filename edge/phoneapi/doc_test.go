package phoneapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/docs/api"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
)

func TestDocumentListsEveryRoute(t *testing.T) {
	documented, err := api.Routes(api.Phone)
	if err != nil {
		t.Fatal(err)
	}
	var served []string
	for _, r := range new(Server).table() {
		served = append(served, r.method+" "+r.path)
	}
	slices.Sort(served)
	if !slices.Equal(served, documented) {
		t.Errorf("served:\n%s\ndocumented:\n%s", strings.Join(served, "\n"), strings.Join(documented, "\n"))
	}
}

func TestDocumentListsEveryField(t *testing.T) {
	documented, err := api.Properties(api.Phone)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{
		wire.Problem{},
		wire.Reason{},
		wire.LoginRequest{},
		wire.LoginAnswer{},
		wire.OrderList{},
		wire.Order{},
		wire.Association{},
		wire.AssociationAnswer{},
		wire.AllowList{},
		wire.ConnectionRequest{},
		wire.ConnectionAnswer{},
		wire.GatewayKey{},
		wire.UseRequest{},
		wire.UseAnswer{},
		wire.UseCheck{},
		wire.UseStatus{},
		wire.StampStatus{},
		wire.ReceiptReport{},
		wire.SettlementReport{},
		wire.EvidenceAnswer{},
		wire.LockEvent{},
		wire.Status{},
		wire.BarrelOnline{},
	} {
		typ := reflect.TypeOf(v)
		var fields []string
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			fields = append(fields, name)
		}
		slices.Sort(fields)
		if !slices.Equal(fields, documented[typ.Name()]) {
			t.Errorf("%s has %v, documented are %v", typ.Name(), fields, documented[typ.Name()])
		}
		delete(documented, typ.Name())
	}
	for name := range documented {
		t.Errorf("schema %s is no message", name)
	}
}

func TestDocumentListsEveryCode(t *testing.T) {
	documented, err := api.Enum(api.Phone, "Problem", "code")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(documented)
	var codes []string
	for _, c := range wire.Codes() {
		codes = append(codes, string(c))
	}
	if !slices.Equal(codes, documented) {
		t.Errorf("codes:\n%v\ndocumented:\n%v", codes, documented)
	}
}

func TestCell(t *testing.T) {
	t0 := time.Unix(1000, 0)
	const every, burst = time.Second, 3 * time.Second
	var stored time.Time
	for i, c := range []struct {
		at   time.Duration
		wait time.Duration
	}{
		{0, 0},
		{0, 0},
		{0, 0},
		{0, time.Second},
		{500 * time.Millisecond, 500 * time.Millisecond},
		{time.Second, 0},
		{time.Second, time.Second},
		{time.Hour, 0},
		{time.Hour, 0},
		{time.Hour, 0},
		{time.Hour, time.Second},
	} {
		next, wait := cell(stored, t0.Add(c.at), every, burst)
		if wait != c.wait {
			t.Errorf("step %d, at %v: wait %v, want %v", i, c.at, wait, c.wait)
		}
		stored = next
	}
}

// What is remembered of terminals is bounded, and those at rest are forgotten.
func TestLimiterForgets(t *testing.T) {
	l := newLimiter(time.Second, 3)
	now := time.Unix(1000, 0)
	holder := func(i int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
	}
	for i := range maxLimited {
		l.take(holder(i), now)
	}
	l.take(holder(maxLimited), now.Add(time.Minute))
	if len(l.next) != 1 {
		t.Errorf("%d are remembered, want the one that is not at rest", len(l.next))
	}
}

// Whatever comes, the answer is an answer: no panic, and a status that is no
// refusal or a problem that says so.
func FuzzRequest(f *testing.F) {
	w := usetest.New(f, time.Now)
	seal := newSealServer()
	srv := New(Config{
		Cluster: w, Rules: usetest.Rules, Server: seal, Evidence: seal, Barrels: alive{new(rig)}, GrantKey: usetest.Key(""),
		Hotspot: hotspotFunc(func(string, wire.Association) (wire.AssociationAnswer, error) {
			return wire.AssociationAnswer{}, nil
		}),
		Certificate: func() (*tls.Certificate, error) { return nil, nil },
		Leading:     func() bool { return true }, Logger: slog.New(slog.DiscardHandler),
	})
	srv.limits, srv.logins = newLimiter(1, 1<<30), newLimiter(1, 1<<30)
	b, err := json.Marshal(usetest.Request("r1", time.Now()))
	if err != nil {
		f.Fatal(err)
	}
	f.Add("POST", wire.PathUses, b, "0", "4", wire.FormatReprDigest([32]byte{}))
	f.Add("PATCH", wire.EvidencePath(1, 1), []byte("page"), "0", "4", wire.FormatReprDigest([32]byte{}))
	f.Add("HEAD", wire.EvidencePath(1, 1), []byte(nil), "", "", "")
	f.Add("POST", wire.PathAssociations, []byte(`{"mac":"02:00:5e:10:00:01","event":"join"}`), "", "", "")
	f.Add("POST", "/v1/uses/18446744073709551615/receipts", []byte(`{"receipt":"0oRA"}`), "", "", "")
	f.Add("POST", "/v1//uses/../login", []byte(`{"user":"\u0000","password":"x"}`), "", "", "")
	f.Add("GET", wire.PathEvents, []byte(nil), "", "", "")
	f.Fuzz(func(t *testing.T, method, path string, body []byte, offset, length, digest string) {
		if !strings.HasPrefix(path, "/") || strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r > '~' || r == '#' || r == '?' || r == '%' }) ||
			method == "" || strings.ContainsFunc(method, func(r rune) bool { return r < 'A' || r > 'Z' }) {
			return // net/http refuses these before us
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // so that a stream ends
		r := httptest.NewRequestWithContext(ctx, method, path, bytes.NewReader(body))
		r.RemoteAddr = netip.AddrPortFrom(usetest.Address(usetest.Terminal), 40000).String()
		r.Header.Set("Authorization", bearer)
		r.Header.Set(wire.HeaderUploadOffset, offset)
		r.Header.Set(wire.HeaderUploadLength, length)
		r.Header.Set(wire.HeaderReprDigest, digest)
		rec := httptest.NewRecorder()
		srv.ServeHTTP(rec, r)
		res := rec.Result()
		if res.StatusCode >= 500 && res.StatusCode != 503 && res.StatusCode != 502 {
			t.Fatalf("%s %s %q: status %d", method, path, body, res.StatusCode)
		}
		if res.StatusCode < 400 {
			return
		}
		var p wire.Problem
		b, err := io.ReadAll(res.Body)
		if err != nil || json.Unmarshal(b, &p) != nil || p.Status != res.StatusCode || p.Code == "" {
			t.Fatalf("%s %s %q: status %d with %s", method, path, body, res.StatusCode, b)
		}
	})
}
