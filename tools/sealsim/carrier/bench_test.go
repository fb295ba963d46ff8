package carrier

import (
	"net"
	"net/netip"
	"testing"
)

// BenchmarkUplink sends G-PDUs over loopback to a socket that throws them away.
func BenchmarkUplink(b *testing.B) {
	sink, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.77.1:2152")))
	if err != nil {
		b.Skip(err)
	}
	defer func() { _ = sink.Close() }()
	c, err := New(Config{Address: netip.MustParseAddr("127.0.77.2"), Gateway: netip.MustParseAddr("127.0.77.1")})
	if err != nil {
		b.Skip(err)
	}
	defer func() { _ = c.Close() }()
	bearer := newBearer(subscriber(1))
	c.register(bearer)
	bearer.follow(path{carrier: c, user: remote{addr: netip.MustParseAddr("127.0.77.1"), teid: 1}})
	packet := make([]byte, 512)
	b.Run("one by one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := bearer.Send(packet); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("in batches", func(b *testing.B) {
		batch, packets := bearer.NewBatch(), make([][]byte, batchSize)
		for i := range packets {
			packets[i] = packet
		}
		b.ReportAllocs()
		for b.Loop() {
			if n, err := batch.SendAll(packets); err != nil || n != batchSize {
				b.Fatal(n, err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batchSize), "ns/packet")
	})
}
