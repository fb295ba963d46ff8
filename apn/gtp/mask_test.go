package gtp

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	ie1 "github.com/wmnsk/go-gtp/gtpv1/ie"
	"github.com/wmnsk/go-gtp/gtpv2/ie"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

var (
	maskedPAP  = append([]byte{0xc0, 0x23, 18, 1, 7, 0, 18, 5}, "phone\x07seCret!"...)
	maskedCHAP = append([]byte{
		0xc2, 0x23, 9, 1, 1, 0, 9, 4, 'c', 'h', 'a', 'l',
		0xc2, 0x23, 26, 2, 1, 0, 26, 16,
	}, "ResponseResponsephone"...)
)

// What is shown to people has no password in it, and is the same message
// otherwise.
func TestMask(t *testing.T) {
	options := append(append([]byte{0x80, 0, 0x0d, 0}, maskedPAP...), maskedCHAP...)
	s, v := gtptest.New(), gtptest.NewSGSN()
	var all [][]byte
	for _, typ := range []uint8{ie.ProtocolConfigurationOptions, ie.AdditionalProtocolConfigurationOptions, ie.ExtendedProtocolConfigurationOptions} {
		all = append(all, s.Request(TypeCreateSessionRequest, 0, append(s.CreateElements(), ie.New(typ, 0, options))...))
	}
	all = append(all,
		v.Request(TypeCreatePDPContextRequest, 0, append(v.CreateElements(), ie1.New(ie1.ProtocolConfigurationOptions, options))...),
		s.Request(TypeModifyBearerRequest, 7, ie.New(ie.ProtocolConfigurationOptions, 0, options)), // not a request that is checked
	)
	for i, b := range all {
		before := bytes.Clone(b)
		masked := Mask(b)
		if !bytes.Equal(b, before) {
			t.Fatalf("message %d: the original was changed", i)
		}
		if bytes.Contains(masked, []byte("seCret!")) || bytes.Contains(masked, []byte("Response")) {
			t.Errorf("message %d: %q", i, masked)
		}
		want := bytes.ReplaceAll(bytes.ReplaceAll(before, []byte("seCret!"), []byte("*******")), []byte("ResponseResponse"), bytes.Repeat([]byte("*"), 16))
		if !bytes.Equal(masked, want) {
			t.Errorf("message %d:\n got % x\nwant % x", i, masked, want)
		}
		// Cut off anywhere, whatever its length fields say.
		for n := range b {
			if bytes.Contains(Mask(b[:n]), []byte("seCr")) {
				t.Fatalf("message %d cut after %d octets shows the password", i, n)
			}
		}
		// With lengths that are wrong, as faulty messages have them.
		short := bytes.Clone(b)
		binary.BigEndian.PutUint16(short[2:], 4)
		if bytes.Contains(Mask(short), []byte("seCret!")) {
			t.Errorf("message %d with a short length shows the password", i)
		}
	}
	for _, b := range [][]byte{s.Create(), v.Create(), s.Echo(), {0x40}, nil} {
		if !bytes.Equal(Mask(b), b) {
			t.Errorf("% x was changed", b)
		}
	}
}

// A location is kept with the session, in every node: a peer can't make it long.
func TestLocationIsBounded(t *testing.T) {
	s := gtptest.New()
	long := ie.New(ie.UserLocationInformation, 0, bytes.Repeat([]byte{0xff}, 60_000))
	for name, b := range map[string][]byte{
		"create": s.Request(TypeCreateSessionRequest, 0, append([]*ie.IE{long}, s.CreateElements()...)...),
		"modify": s.Request(TypeModifyBearerRequest, 7, long),
		"change": s.Request(38, 7, long, ie.NewRATType(6)),
	} {
		m, err := Parse(b)
		var got []byte
		switch m := m.(type) {
		case *CreateSessionRequest:
			got = m.UserLocation
		case *ModifyBearerRequest:
			got = m.UserLocation
		case *ChangeNotificationRequest:
			got = m.UserLocation
		}
		if err != nil || len(got) != longestLocation {
			t.Errorf("%s: %d octets of location, %v", name, len(got), err)
		}
	}
}

// FuzzMask: whatever comes, what Parse takes for a password isn't shown.
func FuzzMask(f *testing.F) {
	options := append([]byte{0x80}, append(bytes.Clone(maskedPAP), maskedCHAP...)...)
	s, v := gtptest.New(), gtptest.NewSGSN()
	f.Add(s.Request(TypeCreateSessionRequest, 0, append(s.CreateElements(), ie.New(ie.ProtocolConfigurationOptions, 0, options))...))
	f.Add(v.Request(TypeCreatePDPContextRequest, 0, append(v.CreateElements(), ie1.New(ie1.ProtocolConfigurationOptions, options))...))
	f.Add([]byte{0x36, 16, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		masked := Mask(b)
		if len(masked) != len(b) {
			t.Fatal("another length")
		}
		m, _ := Parse(masked)
		p := pcoIn(m)
		if p != nil && p.PAP != nil && strings.Trim(p.PAP.Password, "*") != "" {
			t.Fatalf("password %q", p.PAP.Password)
		}
		if p != nil && p.CHAP != nil && len(bytes.Trim(p.CHAP.Response, "*")) != 0 {
			t.Fatalf("response % x", p.CHAP.Response)
		}
	})
}

func pcoIn(m Message) *PCO {
	switch m := m.(type) {
	case *CreateSessionRequest:
		return m.PCO
	case *CreatePDPContextRequest:
		return m.PCO
	}
	return nil
}
