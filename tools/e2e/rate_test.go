package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/sealedge/sealedge/apn/gtpu"
	"github.com/sealedge/sealedge/edge/inner"
	"github.com/sealedge/sealedge/tools/sealsim/ipstack"
)

// tunnelled is a phone in a tunnel with a maximum bit rate, which no radio slows
// down: it sends as fast as loopback takes it.
func tunnelled(t testing.TB, block [2]byte, kbps uint32) (phone *ipstack.Stack, plane *gtpu.Plane, at *inner.Network) {
	t.Helper()
	ours, theirs := netip.AddrFrom4([4]byte{block[0], block[1], 9, 1}), netip.AddrFrom4([4]byte{block[0], block[1], 9, 2})
	network, err := inner.New(inner.Config{Addresses: []netip.Addr{netip.MustParseAddr("10.90.0.1")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = network.Close() })
	listen := func(a netip.Addr) *net.UDPConn {
		c, err := gtpu.Listen(t.Context(), net.ListenConfig{}, netip.AddrPortFrom(a, gtpu.Port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	address := netip.MustParsePrefix("10.90.0.2/32")
	plane = gtpu.New(gtpu.Config{Uplink: network.Deliver})
	plane.Carry(gtpu.Plan{Put: []gtpu.Tunnel{{
		Session: 1, Local: 1, Peer: 2, PeerAddr: theirs, Inner: address.Addr(), Active: true, UpKbps: kbps, DownKbps: kbps,
	}}})
	network.SetRoute(address, plane)
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	conn := listen(ours)
	go func() { served <- plane.Serve(ctx, conn) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})

	if phone, err = ipstack.New(address, 1400); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(phone.Close)
	carrier, to := listen(theirs), netip.AddrPortFrom(ours, gtpu.Port)
	phone.SetLink(func(pkt []byte) {
		b := binary.BigEndian.AppendUint16([]byte{0x30, 255}, uint16(len(pkt)))
		b = append(binary.BigEndian.AppendUint32(b, 1), pkt...)
		_, _ = carrier.WriteToUDPAddrPort(b, to) // as on any network, a packet may be lost
	})
	go func() {
		b := make([]byte, 2048)
		for {
			n, err := carrier.Read(b)
			if err != nil {
				return
			}
			phone.Deliver(b[8:n])
		}
	}()
	return phone, plane, network
}

// upload sends octets to the gateway, which says when it has them all.
func upload(t testing.TB, phone *ipstack.Stack, network *inner.Network, octets int) {
	t.Helper()
	l, err := network.ListenTCP(443)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if _, err := io.CopyN(io.Discard, c, int64(octets)); err == nil {
			_, _ = c.Write([]byte{1})
		}
	}()
	c, err := phone.DialTCP(t.Context(), netip.MustParseAddrPort("10.90.0.1:443"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(make([]byte, octets)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatalf("the upload stands still: %v", err)
	}
}

// A phone that sends whole windows at once loses none of them to its maximum bit
// rate: evidence goes up at that rate.
func TestUploadOverTheBitRate(t *testing.T) {
	phone, plane, network := tunnelled(t, claim(t), 10_000)
	upload(t, phone, network, 2<<20)
	if n := plane.Counters()["ambr-up"]; n != 0 {
		t.Errorf("%d packets were dropped", n)
	}
}

// BenchmarkUploadOverTheBitRate tells what of the maximum bit rate a connection
// gets.
func BenchmarkUploadOverTheBitRate(b *testing.B) {
	for i, kbps := range []uint32{1_000, 5_000, 20_000, 50_000} {
		b.Run(fmt.Sprint(kbps, "kbps"), func(b *testing.B) {
			phone, _, network := tunnelled(b, [2]byte{127, byte(250 + i)}, kbps)
			octets := int(kbps) * 1000 / 8 * 2
			for b.Loop() {
				upload(b, phone, network, octets)
			}
			b.ReportMetric(float64(octets)*8*float64(b.N)/b.Elapsed().Seconds()/float64(kbps)/10, "%rate")
		})
	}
}
