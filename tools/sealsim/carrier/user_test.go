package carrier

import (
	"net/netip"
	"testing"

	v1 "github.com/wmnsk/go-gtp/gtpv1/message"
)

// downlink sends a G-PDU to the carrier.
func (g *gateway) downlink(teid uint32, packet []byte) {
	b := must(v1.NewTPDU(teid, packet).Marshal())
	_, _ = g.user.WriteToUDPAddrPort(b, netip.AddrPortFrom(sgw, UserPort))
}

// userMessage reads one message of the carrier's user plane.
func (g *gateway) userMessage() v1.Message {
	buf := make([]byte, 65535)
	n, _, err := g.user.ReadFromUDPAddrPort(buf)
	if err != nil {
		g.t.Fatal(err)
	}
	return must(v1.Parse(buf[:n]))
}

func TestPacketsBothWays(t *testing.T) {
	within(t, func(t *testing.T, _ *fakeNetwork, g *gateway, c *Carrier) {
		b := attach(t, c)
		if err := b.Send([]byte("up")); err != nil {
			t.Fatal(err)
		}
		if m, ok := g.userMessage().(*v1.TPDU); !ok || m.TEID() != 1 || string(m.Payload) != "up" {
			t.Errorf("uplink: %+v", m)
		}
		if n, err := b.NewBatch().SendAll([][]byte{[]byte("one"), []byte("two")}); n != 2 || err != nil {
			t.Fatalf("batch: %d, %v", n, err)
		}
		for _, want := range []string{"one", "two"} {
			if m, ok := g.userMessage().(*v1.TPDU); !ok || string(m.Payload) != want {
				t.Errorf("batch: %+v, want %q", m, want)
			}
		}
		g.downlink(g.peer[1].user, []byte("down"))
		if got, err := b.Recv(t.Context()); err != nil || string(got) != "down" {
			t.Errorf("downlink: %q, %v", got, err)
		}
		handled := make(chan string, 1)
		b.Handle(func(p []byte) { handled <- string(p) })
		g.downlink(g.peer[1].user, []byte("handled"))
		if got := <-handled; got != "handled" {
			t.Errorf("handler got %q", got)
		}
		if s := c.Stats(); s.UplinkPackets != 3 || s.UplinkBytes != 8 || s.Downlink != 2 || s.DownlinkBytes != 11 {
			t.Errorf("stats: %+v", s)
		}
	})
}
