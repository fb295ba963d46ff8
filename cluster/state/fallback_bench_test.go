package state

import (
	"encoding/binary"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
)

// BenchmarkFallback is what the fallback path asks of the machine, among as many
// terminals as a gateway's WireGuard device has peers at most.
func BenchmarkFallback(b *testing.B) {
	const peers = 1 << 16
	key := func(i int) []byte { return binary.BigEndian.AppendUint64(make([]byte, 24, 32), uint64(i)) }
	l := newLog(b)
	l.loose = true
	l.put(&command.PutPolicy{Pools: []*command.Pool{{Apn: "seal.corp", PrefixAddress: []byte{10, 64, 0, 0}, PrefixBits: 14}}})
	lease := func(i int) *command.LeaseFallback {
		return &command.LeaseFallback{
			Imsi: terminal(i), PublicKey: key(i), PresharedKey: make([]byte, 72), Shown: 8, LifetimeSeconds: 43_200, PolicyRevision: 1, SubscriberVersion: 1,
		}
	}
	for i := range peers {
		l.do("", &command.PutSubscriber{Subscriber: &command.Subscriber{Imsi: terminal(i), Apns: []string{"seal.corp"}, State: command.DeviceState_ACTIVE, WireguardPublicKey: key(i)}})
		l.do(terminal(i), lease(i))
		l.do("", &command.AttachWireGuard{
			Imsi: terminal(i), Apn: "seal.corp", PublicKey: key(i), PolicyRevision: 1, SubscriberVersion: 1, Lease: l.m.FallbackLease(terminal(i)).GetNumber(),
		})
		l.raw, l.chain = nil, nil
	}
	if n := l.m.Counts().Sessions; n != peers {
		b.Fatalf("%d sessions", n)
	}
	i := 0
	for _, c := range []struct {
		name  string
		again func() (string, proto.Message)
	}{
		{"lease", func() (string, proto.Message) { return terminal(i) + "/again", lease(i) }},
		{"roam", func() (string, proto.Message) {
			return "", &command.RoamWireGuard{Session: uint64(i + 1), PublicKey: key(i), Endpoint: binary.BigEndian.AppendUint32(nil, uint32(i)), EndpointPort: 4000}
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			m := l.m.Clone()
			for b.Loop() {
				i = (i + 7919) % peers
				request, payload := c.again()
				raw := command.Marshal(command.New("test", request, "", payload))
				if r, _, err := m.Apply(m.index+1, 1, raw); err != nil || r.Code != command.Code_OK {
					b.Fatal(r, err)
				}
			}
		})
	}
}
