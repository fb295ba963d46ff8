package gtp

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/wmnsk/go-gtp/gtpv2/ie"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

func TestPCOAnswer(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/create-session-request", "pco-ipcp", "pco-dns-server-addresses-mtu", "pco-p-cscf-addresses-and-other-containers")
	dns := []netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("10.90.0.1"), netip.MustParseAddr("10.90.0.3")}
	full := []byte{0x80, 0x80, 0x21, 16, 1, 3, 0, 16, 129, 6, 0, 0, 0, 0, 131, 6, 0, 0, 0, 0, 0x00, 0x0d, 0, 0x00, 0x10, 0}
	for _, c := range []struct {
		name string
		in   []byte
		dns  []netip.Addr
		mtu  uint16
		want []byte // nil: no element
	}{
		{"all", full, dns, 1400, []byte{
			0x80, 0x80, 0x21, 16, 2, 3, 0, 16, 129, 6, 10, 90, 0, 1, 131, 6, 10, 90, 0, 3,
			0x00, 0x0d, 4, 10, 90, 0, 1, 0x00, 0x0d, 4, 10, 90, 0, 3, 0x00, 0x10, 2, 0x05, 0x78,
		}},
		{"one server", full, dns[:2], 0, []byte{0x80, 0x80, 0x21, 10, 2, 3, 0, 10, 129, 6, 10, 90, 0, 1, 0x00, 0x0d, 4, 10, 90, 0, 1}},
		{"no server", full, nil, 1400, []byte{0x80, 0x80, 0x21, 16, 4, 3, 0, 16, 129, 6, 0, 0, 0, 0, 131, 6, 0, 0, 0, 0, 0x00, 0x10, 2, 0x05, 0x78}},
		{"unknown option rejected", []byte{0x80, 0x80, 0x21, 10, 1, 1, 0, 10, 3, 6, 0, 0, 0, 0}, dns, 0, []byte{0x80, 0x80, 0x21, 10, 4, 1, 0, 10, 3, 6, 0, 0, 0, 0}},
		{"nothing asked", []byte{0x80}, dns, 1400, nil},
		{"empty", nil, dns, 1400, nil},
		{"another protocol", []byte{0x81, 0x00, 0x0d, 0}, dns, 1400, nil},
		{"IPCP of length 3", []byte{0x80, 0x80, 0x21, 4, 1, 3, 0, 3}, dns, 1400, nil},
		{"IPCP option of length 1", []byte{0x80, 0x80, 0x21, 6, 1, 3, 0, 6, 129, 1}, dns, 1400, nil},
		{"IPCP that isn't a request", []byte{0x80, 0x80, 0x21, 4, 2, 3, 0, 4}, dns, 1400, nil},
		{"DNS over IPv6", []byte{0x80, 0, 3, 0}, dns, 0, slices.Concat([]byte{0x80, 0, 3, 16}, dns[0].AsSlice())},
		{"the same asked twice", []byte{0x80, 0, 0x0d, 0, 0, 0x0d, 0, 0, 0x10, 0, 0, 0x10, 0}, dns[:2], 1400, []byte{0x80, 0, 0x0d, 4, 10, 90, 0, 1, 0, 0x10, 2, 0x05, 0x78}},
		{"IPCP broken, then whole", []byte{0x80, 0x80, 0x21, 4, 1, 3, 0, 3, 0x80, 0x21, 4, 1, 4, 0, 4}, dns, 0, []byte{0x80, 0x80, 0x21, 4, 2, 4, 0, 4}},
		{"P-CSCF, MSISDN and the operator's own", []byte{0x80, 0, 1, 0, 0, 0x0c, 0, 0, 0x0e, 0, 0xff, 0, 2, 1, 2}, dns, 1400, nil},
		{"behind a length of two octets", []byte{0x80, 0, 0x41, 0, 3, 0, 0x0d, 0, 0, 0x10, 0}, dns, 1400, []byte{0x80, 0, 0x10, 2, 0x05, 0x78}},
		{"length of two octets cut short", []byte{0x80, 0, 0x10, 0, 0, 0x51, 1}, dns, 1400, []byte{0x80, 0, 0x10, 2, 0x05, 0x78}},
		{"length of two octets beyond the end", []byte{0x80, 0, 0x10, 0, 0, 0x56, 1, 0, 0, 0x0d, 0}, dns, 1400, []byte{0x80, 0, 0x10, 2, 0x05, 0x78}},
		{"container longer than the rest", []byte{0x80, 0x00, 0x10, 0, 0x00, 0x0d, 9, 1}, dns, 1400, []byte{0x80, 0x00, 0x10, 2, 0x05, 0x78}},
	} {
		for _, typ := range []uint8{ie.ProtocolConfigurationOptions, ie.AdditionalProtocolConfigurationOptions, ie.ExtendedProtocolConfigurationOptions} {
			e := parsePCO(typ, c.in).Answer(PCOValues{DNS: c.dns, MTU: c.mtu}).element()
			switch {
			case c.want == nil && e != nil:
				t.Errorf("%s: % x, want nothing", c.name, e.Payload)
			case c.want != nil && (e == nil || e.Type != typ || !bytes.Equal(e.Payload, c.want)):
				t.Errorf("%s: %v, want % x", c.name, e, c.want)
			}
		}
	}
	var none *PCO
	if none.Answer(PCOValues{DNS: dns, MTU: 1400}).element() != nil {
		t.Error("options are sent that nobody asked for")
	}
}

// asking makes options out of containers: identifier, then contents.
func asking(list ...[]byte) []byte {
	v := []byte{0x80}
	for _, c := range list {
		v = append(append(v, c[0], c[1], byte(len(c)-2)), c[2:]...)
	}
	return v
}

func TestPAP(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/create-session-request", "pco-pap")
	right := append([]byte{0xc0, 0x23, 1, 7, 0, 16, 4}, "seal\x06secret"...)
	with := func(at int, value byte) []byte {
		b := slices.Clone(right)
		b[at] = value
		return b
	}
	for _, c := range []struct {
		name string
		in   []byte
		want *PAP
	}{
		{"request", asking(right), &PAP{7, "seal", "secret"}},
		{"padding behind the packet", asking(append(slices.Clone(right), 0, 0)), &PAP{7, "seal", "secret"}},
		{"empty user and password", asking([]byte{0xc0, 0x23, 1, 9, 0, 6, 0, 0}), &PAP{9, "", ""}},
		{"the first of two", asking(right, []byte{0xc0, 0x23, 1, 9, 0, 6, 0, 0}), &PAP{7, "seal", "secret"}},
		{"the first is broken", asking([]byte{0xc0, 0x23, 1, 9, 0, 5, 0, 0}, right), &PAP{7, "seal", "secret"}},
		{"an acknowledgement", asking(with(2, 2)), nil},
		{"length 3", asking(with(5, 3)), nil},
		{"length beyond the end", asking(with(5, 17)), nil},
		{"user beyond the end", asking(with(6, 99)), nil},
		{"password beyond the end", asking(with(11, 7)), nil},
		{"no data", asking([]byte{0xc0, 0x23, 1, 7, 0, 4}), nil},
		{"empty", asking([]byte{0xc0, 0x23}), nil},
		{"another protocol", asking(with(1, 0x21)), nil},
	} {
		p := parsePCO(ie.ProtocolConfigurationOptions, c.in)
		switch {
		case (p.PAP == nil) != (c.want == nil), p.PAP != nil && *p.PAP != *c.want:
			t.Errorf("%s: %+v, want %+v", c.name, p.PAP, c.want)
		case p.PAP == nil:
			if o := p.Answer(PCOValues{Authenticated: true}).octets(); o != nil {
				t.Errorf("%s is answered: % x", c.name, o)
			}
		default:
			yes, no := p.Answer(PCOValues{Authenticated: true}).octets(), p.Answer(PCOValues{}).octets()
			if !bytes.Equal(yes, []byte{0x80, 0xc0, 0x23, 5, 2, c.want.ID, 0, 5, 0}) || !bytes.Equal(no, []byte{0x80, 0xc0, 0x23, 5, 3, c.want.ID, 0, 5, 0}) {
				t.Errorf("%s: acknowledged with % x, refused with % x", c.name, yes, no)
			}
		}
	}
	for n := range right { // cut short, with a length that fits
		if p := parsePCO(ie.ProtocolConfigurationOptions, asking(append(right[:n:n], make([]byte, max(0, 2-n))...))); p.PAP != nil {
			t.Errorf("cut to %d: %+v", n, p.PAP)
		}
	}
}

func TestCHAP(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/create-session-request", "pco-chap")
	challenge := append([]byte{0xc2, 0x23, 1, 7, 0, 13, 4, 1, 2, 3, 4}, "nas0"...)
	response := append([]byte{0xc2, 0x23, 2, 7, 0, 25, 16}, append(bytes.Repeat([]byte{0xab}, 16), "seal"...)...)
	with := func(b []byte, at int, value byte) []byte {
		b = slices.Clone(b)
		b[at] = value
		return b
	}
	want := &CHAP{ID: 7, User: "seal", Challenge: []byte{1, 2, 3, 4}, Response: bytes.Repeat([]byte{0xab}, 16)}
	for _, c := range []struct {
		name string
		in   []byte
		want *CHAP
	}{
		{"challenge and response", asking(challenge, response), want},
		{"the other way round", asking(response, challenge), want},
		{"others in between", asking(challenge, []byte{0, 0x0d}, response), want},
		{"the first of each", asking(challenge, with(challenge, 7, 9), response, with(response, 7, 9)), want},
		{"broken ones first", asking(with(challenge, 6, 0), with(response, 6, 99), challenge, response), want},
		{"no name", asking(challenge, with(response[:len(response)-4], 5, 21)), &CHAP{7, "", want.Challenge, want.Response}},
		{"challenge only", asking(challenge), nil},
		{"response only", asking(response), nil},
		{"identifiers differ", asking(challenge, with(response, 3, 8)), nil},
		{"success instead", asking(challenge, with(response, 2, 3)), nil},
		{"length beyond the end", asking(challenge, with(response, 5, 26)), nil},
		{"length 0", asking(challenge, with(response, 5, 0)), nil},
		{"value beyond the end", asking(challenge, with(response, 6, 21)), nil},
		{"empty value", asking(challenge, with(response, 6, 0)), nil},
	} {
		v := slices.Clone(c.in)
		p := parsePCO(ie.ProtocolConfigurationOptions, v)
		clear(v)
		if (p.CHAP == nil) != (c.want == nil) || p.CHAP != nil && (p.CHAP.ID != c.want.ID || p.CHAP.User != c.want.User ||
			!bytes.Equal(p.CHAP.Challenge, c.want.Challenge) || !bytes.Equal(p.CHAP.Response, c.want.Response)) {
			t.Errorf("%s: %+v, want %+v", c.name, p.CHAP, c.want)
		}
		yes, no := p.Answer(PCOValues{Authenticated: true}).octets(), p.Answer(PCOValues{}).octets()
		if c.want == nil && (yes != nil || no != nil) {
			t.Errorf("%s is answered: % x, % x", c.name, yes, no)
		}
		if c.want != nil && (!bytes.Equal(yes, []byte{0x80, 0xc2, 0x23, 4, 3, 7, 0, 4}) || !bytes.Equal(no, []byte{0x80, 0xc2, 0x23, 4, 4, 7, 0, 4})) {
			t.Errorf("%s: success % x, failure % x", c.name, yes, no)
		}
	}
}

// A terminal can't be told more than its own element holds: what doesn't fit is
// left out whole.
func TestPCOAnswerFits(t *testing.T) {
	var dns []netip.Addr
	for i := range byte(40) {
		dns = append(dns, netip.AddrFrom4([4]byte{10, 90, 0, i}), netip.AddrFrom16([16]byte{0x20, 1, 15: i}))
	}
	for typ, limit := range map[uint8]int{ie.ProtocolConfigurationOptions: 251, ie.AdditionalProtocolConfigurationOptions: 251, ie.ExtendedProtocolConfigurationOptions: 2000} {
		v := parsePCO(typ, asking([]byte{0, 0x0d}, []byte{0, 3}, []byte{0, 0x10})).Answer(PCOValues{DNS: dns, MTU: 1400}).octets()
		if len(v) > limit {
			t.Errorf("element %d: %d octets", typ, len(v))
		}
		read := 1
		for _, content := range containers(v[1:]).all {
			read += 3 + len(content)
		}
		if read != len(v) {
			t.Errorf("element %d ends within a container", typ)
		}
	}
}

// The password goes into the message and nowhere else, whatever its length.
func TestLongestPassword(t *testing.T) {
	password := strings.Repeat("x", 200)
	b := append([]byte{0xc0, 0x23, 1, 7, 0, 206, 0, 200}, password...)
	if p := parsePCO(ie.ProtocolConfigurationOptions, asking(b)).PAP; p == nil || p.Password != password {
		t.Errorf("%+v", p)
	}
}

// A refused Create carries the answer to the authentication, a granted one too.
func TestRefusalWithPCO(t *testing.T) {
	s := gtptest.New()
	pap := ie.New(ie.ProtocolConfigurationOptions, 0, asking(append([]byte{0xc0, 0x23, 1, 7, 0, 16, 4}, "seal\x06secret"...)))
	ies := s.CreateElements()
	for i := range ies {
		if ies[i].Type == pap.Type {
			ies[i] = pap
		}
	}
	m := mustParse[*CreateSessionRequest](t, s.Request(TypeCreateSessionRequest, 0, ies...))
	a := gtptest.Read(Refusal{TEID: SenderTEID(m), Reason: &Error{Cause: CauseAuthenticationFailed}, PCO: m.PCO.Answer(PCOValues{})}.Marshal(m))
	if a.Type != 33 || a.TEID != s.ControlTEID || a.Cause() != 92 || !bytes.Equal(a.Find(ie.ProtocolConfigurationOptions, 0).Payload, []byte{0x80, 0xc0, 0x23, 5, 3, 7, 0, 5, 0}) {
		t.Errorf("%+v", a)
	}
}

// Options are found in each of the elements that can have them, and answered in
// the same.
func TestOptionElements(t *testing.T) {
	s := gtptest.New()
	for typ, row := range map[uint8]string{
		ie.ProtocolConfigurationOptions:           "protocol-configuration-options-pco",
		ie.AdditionalProtocolConfigurationOptions: "additional-protocol-configuration-options-apco",
		ie.ExtendedProtocolConfigurationOptions:   "extended-protocol-configuration-options-epco",
	} {
		ies := s.CreateElements()
		for i := range ies {
			if ies[i].Type == ie.ProtocolConfigurationOptions {
				ies[i] = ie.New(typ, 0, []byte{0x80, 0, 0x10, 0})
			}
		}
		m := mustParse[*CreateSessionRequest](t, s.Request(TypeCreateSessionRequest, 0, ies...))
		r := accepted(t)
		r.PCO = m.PCO.Answer(PCOValues{MTU: 1400})
		e := gtptest.Read(r.Marshal()).Find(typ, 0)
		if !m.PCO.MTU || e == nil || !bytes.Equal(e.Payload, []byte{0x80, 0, 0x10, 2, 0x05, 0x78}) {
			t.Errorf("element %d: %+v is answered with %v", typ, m.PCO, e)
		}
		gtptest.Shows(t, "29.274/create-session-request/"+row, "29.274/create-session-response/"+row)
	}
}
