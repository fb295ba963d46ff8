package carrier

import (
	"bytes"
	"net/netip"
	"testing"

	v1 "github.com/wmnsk/go-gtp/gtpv1/message"
)

func TestParseUser(t *testing.T) {
	for _, c := range []struct {
		name    string
		b       []byte
		kind    uint8
		payload string
		bad     bool
	}{
		{"plain", []byte("\x30\xff\x00\x02\x00\x00\x00\x07hi"), 255, "hi", false},
		{"trailing bytes are no payload", []byte("\x30\xff\x00\x02\x00\x00\x00\x07hi!!"), 255, "hi", false},
		{"with sequence number", []byte("\x32\xff\x00\x06\x00\x00\x00\x07\x12\x34\x00\x00hi"), 255, "hi", false},
		{"PDU session container", []byte("\x34\xff\x00\x0a\x00\x00\x00\x07\x00\x00\x00\x85\x01\x00\x09\x00hi"), 255, "hi", false},
		{"extension type ignored without its flag", []byte("\x32\xff\x00\x06\x00\x00\x00\x07\x12\x34\x00\x85hi"), 255, "hi", false},
		{"extension of length 0", []byte("\x34\xff\x00\x0a\x00\x00\x00\x07\x00\x00\x00\x85\x00\x00\x09\x00hi"), 0, "", true},
		{"extension beyond the end", []byte("\x34\xff\x00\x0a\x00\x00\x00\x07\x00\x00\x00\x85\x09\x00\x09\x00hi"), 0, "", true},
		{"length beyond the end", []byte("\x30\xff\x00\x03\x00\x00\x00\x07hi"), 0, "", true},
		{"version 2", []byte("\x48\xff\x00\x02\x00\x00\x00\x07hi"), 0, "", true},
		{"GTP prime", []byte("\x20\xff\x00\x02\x00\x00\x00\x07hi"), 0, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := parseUser(c.b)
			if (err != nil) != c.bad {
				t.Fatalf("error %v", err)
			}
			if err == nil && (m.kind != c.kind || m.teid != 7 || string(m.payload) != c.payload) {
				t.Errorf("got %+v", m)
			}
			for i := range c.b {
				_, _ = parseUser(c.b[:i])
			}
		})
	}
}

func FuzzParseUser(f *testing.F) {
	f.Add([]byte("\x30\xff\x00\x02\x00\x00\x00\x07hi"))
	f.Add([]byte("\x34\xff\x00\x0a\x00\x00\x00\x07\x00\x00\x00\x85\x01\x00\x09\x00hi"))
	f.Add(must(v1.NewEchoRequest(1).Marshal()))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseUser(b)
		if err == nil && !bytes.Contains(b, m.payload) {
			t.Error("the payload isn't part of the datagram")
		}
	})
}

// FuzzReceive throws datagrams at the whole of both planes.
func FuzzReceive(f *testing.F) {
	n := newFakeNetwork()
	c, err := New(Config{Address: sgw, Gateway: pgw, Listen: n.listen})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = c.Close() })
	b := newBearer(subscriber(1))
	own := c.register(b)
	from := netip.AddrPortFrom(pgw, ControlPort)
	f.Add(true, []byte("\x40\x01\x00\x09\x00\x00\x01\x00\x03\x00\x01\x00\x07"))
	f.Add(true, []byte{0x48, 99, 0, 13, byte(own.control >> 24), byte(own.control >> 16), byte(own.control >> 8), byte(own.control), 0, 0, 1, 0, 73, 0, 1, 0, 5})
	f.Add(false, []byte("\x32\x1a\x00\x10\x00\x00\x00\x00\x00\x01\x00\x00\x10\x00\x00\x00\x01\x85\x00\x04\x7f\x00\x0a\x01"))
	f.Fuzz(func(_ *testing.T, control bool, wire []byte) {
		if !control {
			c.receive(wire, from)
			return
		}
		_ = c.receiveControl(wire, from)
	})
}
