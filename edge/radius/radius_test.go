package radius

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"
	"layeh.com/radius/rfc2869"

	"github.com/sealedge/sealedge/policy/ident"
)

var (
	start  = time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)
	secret = []byte("a secret of this router alone")
	inner  = netip.MustParseAddrPort("10.90.0.11:40000")
)

const (
	routerIMSI = "460010000000001"
	ourBarrel  = "02005e100001"
)

// rig is a server that lets one device in.
type rig struct {
	t      testing.TB
	s      *Server
	holds  bool
	judged int
}

func newRig(t testing.TB) *rig {
	r := &rig{t: t, holds: true}
	r.s = New(Config{
		Router: func(from netip.Addr) (Router, bool) {
			return Router{routerIMSI, secret}, from == inner.Addr()
		},
		Judge: func(imsi string, mac ident.MAC) error {
			r.judged++
			if imsi != routerIMSI || mac.String() != "02:00:5e:10:00:01" {
				return errors.New("not on the list")
			}
			return nil
		},
		Holds: func() bool { return r.holds }, Requests: 20, Logger: slog.New(slog.DiscardHandler),
	})
	return r
}

// counted tells what the server has counted, without zeros.
func (r *rig) counted() map[string]uint64 {
	c := r.s.Counters()
	maps.DeleteFunc(c, func(_ string, n uint64) bool { return n == 0 })
	return c
}

// ask makes a request as hostapd 2.10 does with macaddr_acl=2: its attributes in its
// order, the Message-Authenticator last.
func ask(mac string, change ...func(*radius.Packet)) *radius.Packet {
	p := radius.New(radius.CodeAccessRequest, secret)
	p.Add(rfc2865.UserName_Type, radius.Attribute(mac))
	hidden, err := radius.NewUserPassword([]byte(mac), secret, p.Authenticator[:])
	if err != nil {
		panic(err)
	}
	p.Add(rfc2865.UserPassword_Type, hidden)
	p.Add(rfc2865.NASIdentifier_Type, radius.Attribute("sealedge-"+routerIMSI))
	p.Add(rfc2865.CalledStationID_Type, radius.Attribute("02-00-5E-00-00-01:seal"))
	p.Add(rfc2865.CallingStationID_Type, radius.Attribute(dashed(mac)))
	p.Add(rfc2865.NASPortType_Type, radius.NewInteger(19))
	p.Add(rfc2869.ConnectInfo_Type, radius.Attribute("CONNECT 11Mbps 802.11b"))
	for _, c := range change {
		c(p)
	}
	return p
}

func dashed(mac string) string {
	var pairs []string
	for pair := range slices.Chunk([]byte(strings.ToUpper(mac)), 2) {
		pairs = append(pairs, string(pair))
	}
	return strings.Join(pairs, "-")
}

// signed is the datagram of a packet, with a Message-Authenticator by the secret.
func signed(t testing.TB, p *radius.Packet, secret []byte) []byte {
	t.Helper()
	p.Add(rfc2869.MessageAuthenticator_Type, make(radius.Attribute, 16))
	raw, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	h := hmac.New(md5.New, secret)
	h.Write(raw)
	copy(raw[len(raw)-16:], h.Sum(nil))
	return raw
}

// verified checks an answer as a careful client does, and returns it.
func verified(t testing.TB, answer, request []byte) *radius.Packet {
	t.Helper()
	if !radius.IsAuthenticResponse(answer, request, secret) || answer[1] != request[1] {
		t.Fatalf("the answer %x is not authentic", answer)
	}
	if answer[20] != byte(rfc2869.MessageAuthenticator_Type) || answer[21] != 18 {
		t.Fatalf("the answer begins with attribute %d, want the Message-Authenticator", answer[20])
	}
	unsigned := bytes.Clone(answer)
	copy(unsigned[4:20], request[4:20])
	clear(unsigned[22:38])
	h := hmac.New(md5.New, secret)
	h.Write(unsigned)
	if !hmac.Equal(h.Sum(nil), answer[22:38]) {
		t.Fatal("the answer's Message-Authenticator is wrong")
	}
	p, err := radius.Parse(answer, secret)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestJudgement(t *testing.T) {
	set := func(typ radius.Type, v string) func(*radius.Packet) {
		return func(p *radius.Packet) { p.Set(typ, radius.Attribute(v)) }
	}
	add := func(typ radius.Type, v string) func(*radius.Packet) {
		return func(p *radius.Packet) { p.Add(typ, radius.Attribute(v)) }
	}
	without := func(typ radius.Type) func(*radius.Packet) { return func(p *radius.Packet) { p.Del(typ) } }
	password := func(v string) func(*radius.Packet) {
		return func(p *radius.Packet) {
			hidden, err := radius.NewUserPassword([]byte(v), secret, p.Authenticator[:])
			if err != nil {
				panic(err)
			}
			p.Set(rfc2865.UserPassword_Type, hidden)
		}
	}
	for _, c := range []struct {
		name   string
		mac    string
		change []func(*radius.Packet)
		want   radius.Code
		count  string
	}{
		{"a barrel", ourBarrel, nil, radius.CodeAccessAccept, "accept"},
		{"without Calling-Station-Id", ourBarrel, []func(*radius.Packet){without(rfc2865.CallingStationID_Type)}, radius.CodeAccessAccept, "accept"},
		{"a stranger", "02005e999999", nil, radius.CodeAccessReject, "reject"},
		{"a group's MAC", "01005e000001", nil, radius.CodeAccessReject, "reject-no-device"},
		{"no MAC", "li.wei", nil, radius.CodeAccessReject, "reject-no-device"},
		{"twelve letters", "li.wei.wang.", nil, radius.CodeAccessReject, "reject-no-device"},
		{"another password", ourBarrel, []func(*radius.Packet){password("02005e100002")}, radius.CodeAccessReject, "reject-no-device"},
		{"a longer password", ourBarrel, []func(*radius.Packet){password(ourBarrel + "0")}, radius.CodeAccessReject, "reject-no-device"},
		{"no password", ourBarrel, []func(*radius.Packet){without(rfc2865.UserPassword_Type)}, radius.CodeAccessReject, "reject-no-device"},
		{"half a password", ourBarrel, []func(*radius.Packet){set(rfc2865.UserPassword_Type, "12345678")}, radius.CodeAccessReject, "reject-no-device"},
		{"no name", ourBarrel, []func(*radius.Packet){without(rfc2865.UserName_Type)}, radius.CodeAccessReject, "reject-no-device"},
		{"two names", ourBarrel, []func(*radius.Packet){add(rfc2865.UserName_Type, ourBarrel)}, radius.CodeAccessReject, "reject-no-device"},
		{"another station", ourBarrel, []func(*radius.Packet){set(rfc2865.CallingStationID_Type, "02-00-5E-10-00-02")}, radius.CodeAccessReject, "reject-no-device"},
		{"two stations", ourBarrel, []func(*radius.Packet){add(rfc2865.CallingStationID_Type, "02-00-5E-10-00-01")}, radius.CodeAccessReject, "reject-no-device"},
		{"EAP", "li.wei", []func(*radius.Packet){without(rfc2865.UserPassword_Type), add(rfc2869.EAPMessage_Type, "\x02\x01\x00\x05\x01")}, radius.CodeAccessReject, "reject-no-device"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			raw := signed(t, ask(c.mac, c.change...), secret)
			answer := r.s.handle(raw, inner, start)
			if answer == nil {
				t.Fatalf("no answer; counted %v", r.counted())
			}
			p := verified(t, answer, raw)
			if p.Code != c.want || r.counted()[c.count] != 1 {
				t.Errorf("answered %v, counted %v; want %v and %s", p.Code, r.counted(), c.want, c.count)
			}
			timeout := rfc2865.SessionTimeout_Get(p)
			if want := rfc2865.SessionTimeout(0); c.want == radius.CodeAccessAccept {
				want = 300
				if timeout != want {
					t.Errorf("Session-Timeout %d, want %d", timeout, want)
				}
			} else if timeout != want || len(p.Attributes) != 1 {
				t.Errorf("a refusal has %d attributes, and Session-Timeout %d", len(p.Attributes), timeout)
			}
		})
	}
}

// Whoever doesn't have the secret, or isn't a router, hears nothing.
func TestSilence(t *testing.T) {
	good := func() []byte { return signed(t, ask(ourBarrel), secret) }
	unsigned, err := ask(ourBarrel).Encode()
	if err != nil {
		t.Fatal(err)
	}
	twice := ask(ourBarrel)
	twice.Add(rfc2869.MessageAuthenticator_Type, make(radius.Attribute, 16))
	short := ask(ourBarrel)
	short.Add(rfc2869.MessageAuthenticator_Type, make(radius.Attribute, 15))
	shortRaw, err := short.Encode()
	if err != nil {
		t.Fatal(err)
	}
	accounting := radius.New(radius.CodeAccountingRequest, secret)
	for _, c := range []struct {
		name  string
		raw   []byte
		from  netip.AddrPort
		count string
	}{
		{"another secret", signed(t, ask(ourBarrel), []byte("guessed")), inner, "drop-message-authenticator"},
		{"no Message-Authenticator", unsigned, inner, "drop-no-message-authenticator"},
		{"two of them", signed(t, twice, secret), inner, "drop-no-message-authenticator"},
		{"one of 15 bytes", shortRaw, inner, "drop-no-message-authenticator"},
		{"accounting", signed(t, accounting, secret), inner, "drop-code"},
		{"nobody's address", good(), netip.MustParseAddrPort("10.90.0.99:40000"), "drop-no-session"},
		{"nothing", nil, inner, "drop-format"},
		{"a header", good()[:20], inner, "drop-format"},
	} {
		r := newRig(t)
		if answer := r.s.handle(c.raw, c.from, start); answer != nil || r.counted()[c.count] != 1 || r.judged != 0 {
			t.Errorf("%s: answered %x, counted %v, judged %d; want silence and %s", c.name, answer, r.counted(), r.judged, c.count)
		}
	}
	r := newRig(t)
	r.holds = false
	if answer := r.s.handle(good(), inner, start); answer != nil || r.counted()["drop-not-holder"] != 1 {
		t.Errorf("a node that doesn't hold the address answered %x", answer)
	}
}

// A cut datagram and one with a bit flipped are not answered, wherever it is.
func TestEveryCutAndEveryFlippedBit(t *testing.T) {
	raw := signed(t, ask(ourBarrel), secret)
	for n := range len(raw) {
		if newRig(t).s.handle(raw[:n], inner, start) != nil {
			t.Fatalf("cut at %d of %d it is answered", n, len(raw))
		}
	}
	for i := range len(raw) * 8 {
		bad := bytes.Clone(raw)
		bad[i/8] ^= 1 << (i % 8)
		if newRig(t).s.handle(bad, inner, start) != nil {
			t.Fatalf("with bit %d of byte %d flipped it is answered", i%8, i/8)
		}
	}
	if newRig(t).s.handle(append(bytes.Clone(raw), 0, 0, 0), inner, start) == nil {
		t.Error("with padding it is not answered (RFC 2865 3)")
	}
}

// A repeated request gets the same answer, without being judged again; from another
// port, or long after, it is a request of its own.
func TestRepeated(t *testing.T) {
	r := newRig(t)
	raw := signed(t, ask(ourBarrel), secret)
	first := r.s.handle(raw, inner, start)
	if again := r.s.handle(raw, inner, start.Add(9*time.Second)); !bytes.Equal(again, first) || r.judged != 1 {
		t.Errorf("repeated: %x after %x, judged %d times", again, first, r.judged)
	}
	r.s.handle(raw, netip.AddrPortFrom(inner.Addr(), 40001), start)
	r.s.handle(raw, inner, start.Add(recentFor))
	if c := r.counted(); r.judged != 3 || c["duplicate"] != 1 || c["accept"] != 3 {
		t.Errorf("judged %d times, counted %v", r.judged, c)
	}
}

func TestRepeatedIsBounded(t *testing.T) {
	r := newRecent()
	for i := range 3 * maxRecent {
		r.add(keyOf(inner, []byte{byte(i), byte(i >> 8)}), nil, start)
	}
	if len(r.answers) != maxRecent || len(r.order) != maxRecent {
		t.Errorf("%d answers are kept, in an order of %d", len(r.answers), len(r.order))
	}
	r.add(keyOf(inner, nil), nil, start.Add(recentFor))
	if len(r.answers) != 1 || len(r.order) != 1 {
		t.Errorf("%d answers are kept after they are over", len(r.answers))
	}
}

func TestRate(t *testing.T) {
	r := newRig(t)
	answered := 0
	for range 300 {
		if r.s.handle(signed(t, ask(ourBarrel), secret), inner, start) != nil {
			answered++
		}
	}
	if answered != 200 || r.counted()["drop-rate"] != 100 {
		t.Errorf("%d of 300 at once are answered, counted %v; want 200", answered, r.counted())
	}
	if r.s.handle(signed(t, ask(ourBarrel), secret), inner, start.Add(time.Second)) == nil {
		t.Error("a second later none is answered")
	}
}

// Proxies find their way back by what they put in (RFC 2865 5.33).
func TestProxyState(t *testing.T) {
	r := newRig(t)
	raw := signed(t, ask("02005e999999", func(p *radius.Packet) {
		p.Add(rfc2865.ProxyState_Type, radius.Attribute("first"))
		p.Add(rfc2865.ProxyState_Type, radius.Attribute("second"))
	}), secret)
	p := verified(t, r.s.handle(raw, inner, start), raw)
	if got, _ := rfc2865.ProxyState_GetStrings(p); !slices.Equal(got, []string{"first", "second"}) {
		t.Errorf("Proxy-State %q", got)
	}
}

// Status-Server asks whether anybody is there (RFC 5997), about no device.
func TestStatus(t *testing.T) {
	r := newRig(t)
	raw := signed(t, radius.New(radius.CodeStatusServer, secret), secret)
	if p := verified(t, r.s.handle(raw, inner, start), raw); p.Code != radius.CodeAccessAccept || r.judged != 0 || r.counted()["status"] != 1 {
		t.Errorf("answered %v, judged %d, counted %v", p.Code, r.judged, r.counted())
	}
}

// Whatever comes, only the holder of the secret is answered, and the answer is
// authentic.
func FuzzRequest(f *testing.F) {
	f.Add(signed(f, ask(ourBarrel), secret))
	f.Add(signed(f, ask("02005e999999", func(p *radius.Packet) { p.Add(rfc2865.ProxyState_Type, radius.Attribute("x")) }), secret))
	f.Add(signed(f, radius.New(radius.CodeStatusServer, secret), secret))
	f.Add([]byte{1, 0, 0, 20})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newRig(t)
		if answer := r.s.handle(b, inner, start); answer != nil {
			verified(t, answer, b)
		}
		// Past the Message-Authenticator.
		p, err := radius.Parse(b, secret)
		if err != nil || p.Code != radius.CodeAccessRequest && p.Code != radius.CodeStatusServer {
			return
		}
		p.Del(rfc2869.MessageAuthenticator_Type)
		if n, _ := radius.AttributesEncodedLen(p.Attributes); n > 4000 {
			return
		}
		raw := signed(t, p, secret)
		answer := r.s.handle(raw, inner, start.Add(time.Hour))
		if answer == nil {
			t.Fatalf("%x is not answered: %v", raw, r.counted())
		}
		verified(t, answer, raw)
	})
}
