package cluster

import (
	"bytes"
	"net/netip"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// fallbackIMSI is a terminal that comes by the fallback path only, from here and there.
const fallbackIMSI = "460010000000009"

var fallbackKey = bytes.Repeat([]byte{9}, 32)

// prepareFallback puts that terminal, and the gateway's key, in their places.
func (w *workload) prepareFallback(must func(payload, into proto.Message)) {
	must(&command.PutSubscriber{Subscriber: &command.Subscriber{
		Imsi: fallbackIMSI, Apns: []string{"other"}, State: command.DeviceState_ACTIVE, WireguardPublicKey: fallbackKey,
	}}, new(command.Subscriber))
	must(&command.PutServerKey{PublicKey: serverKey(0), PrivateKey: []byte("wrapped")}, new(command.ServerKey))
}

func serverKey(n byte) []byte { return bytes.Repeat([]byte{n}, 32) }

// fallBack takes a lease, comes by it, roams, and gives it back or has it replaced.
func (c *client) fallBack() {
	lease := new(command.FallbackLease)
	if r, _ := c.ask(command.New("connection:"+fallbackIMSI, c.request(), "phone", &command.LeaseFallback{
		Imsi: fallbackIMSI, PublicKey: fallbackKey, PresharedKey: []byte(c.request()), Shown: 1, LifetimeSeconds: 600, PolicyRevision: 1, SubscriberVersion: 1,
	})); r == nil || r.Into(lease) != nil {
		return
	}
	attach := &command.AttachWireGuard{
		Imsi: fallbackIMSI, Apn: "other", PublicKey: fallbackKey, PolicyRevision: 1, SubscriberVersion: 1, Lease: lease.Number,
		Endpoint: []byte{192, 0, 2, byte(c.rng.IntN(256))}, EndpointPort: 4000,
	}
	opened := new(command.Opened)
	if r, _ := c.ask(command.New("paths", c.request(), "wireguard", attach)); r == nil || r.Into(opened) != nil {
		return // another lease has taken its place, by a duplicate of an older request
	}
	release := c.sim.check.reaches(fallbackIMSI, opened.Session)
	for range c.rng.IntN(3) {
		pause(c.sim.ctx, c.upTo(100*time.Millisecond))
		c.ask(command.New("paths", c.request(), "wireguard", &command.RoamWireGuard{
			Session: opened.Session.Id, PublicKey: fallbackKey, Endpoint: []byte{192, 0, 2, byte(c.rng.IntN(256))}, EndpointPort: 4001,
		}))
	}
	release()
	if c.rng.IntN(2) == 0 {
		c.ask(command.New("sweeper", c.request(), "sweeper", &command.EndFallback{Imsi: fallbackIMSI, Number: lease.Number, Reason: "expired"}))
	}
}

// rotate changes the gateway's key, or ends the overlap of the one before.
func (c *client) rotate() {
	var keys []*command.ServerKey
	if !c.view(func(m *state.Machine) { keys = m.ServerKeys() }) || len(keys) == 0 {
		return
	}
	if len(keys) == 2 {
		c.ask(command.New("sweeper", c.request(), "sweeper", &command.RetireServerKey{PublicKey: keys[1].PublicKey}))
		return
	}
	c.ask(command.New("keys", c.request(), "admin", &command.PutServerKey{
		PublicKey: serverKey(byte(c.rng.IntN(256))), PrivateKey: []byte("wrapped"), Replaces: keys[0].PublicKey, OverlapSeconds: uint32(c.rng.IntN(2) * 3600),
	}))
}

// reaches notes that a terminal is at an address over the fallback path, until released.
func (c *checks) reaches(who string, s *command.Session) (release func()) {
	addr, _ := netip.AddrFromSlice(s.GetAddress())
	c.mu.Lock()
	defer c.mu.Unlock()
	if other, held := c.inner[addr]; held || !addr.IsValid() {
		c.sim.failf("address %v is held by %s and given to %s", addr, other, who)
	}
	c.inner[addr] = who
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.inner, addr)
	}
}
