package wireguard

import (
	"bytes"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"golang.zx2c4.com/wireguard/device"
)

const gatewaySeed = 9

// rig is an endpoint on a network in memory, with what it gave out.
type rig struct {
	*Endpoint
	ether *ether

	mu      sync.Mutex
	uplinks [][]byte
	came    [][32]byte
	from    netip.AddrPort // of the last report
}

// uplink keeps packets that came up.
func (r *rig) uplink(pkts [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, pkt := range pkts {
		r.uplinks = append(r.uplinks, bytes.Clone(pkt))
	}
}

func setKeys(t testing.TB, e *Endpoint, seeds ...byte) {
	t.Helper()
	var keys [][32]byte
	for _, seed := range seeds {
		private, _ := key(t, seed)
		keys = append(keys, private)
	}
	if err := e.SetKeys(keys...); err != nil {
		t.Fatal(err)
	}
	keepAll(t, e)
}

func (r *rig) uplinked() [][]byte {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	u := r.uplinks
	r.uplinks = nil
	return u
}

func (r *rig) reported() [][32]byte {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.came
	r.came = nil
	return c
}

// bubble runs a scenario with a listening endpoint on a clock of its own.
func bubble(t *testing.T, cfg Config, scenario func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{ether: newEther()}
		cfg.Listen = r.ether.listen
		cfg.Uplink = r.uplink
		cfg.OnAuthenticated = func(pub [32]byte, from netip.AddrPort) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.from = from
			r.came = append(r.came, pub)
		}
		var err error
		if r.Endpoint, err = New(cfg); err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		setKeys(t, r.Endpoint, gatewaySeed)
		if err := r.Listen(t.Context(), gatewayAt); err != nil {
			t.Fatal(err)
		}
		scenario(t, r)
	})
}

// node makes another node of the same cluster, which isn't listening.
func (r *rig) node(t *testing.T, keys ...byte) *rig {
	t.Helper()
	other := &rig{ether: r.ether}
	var err error
	if other.Endpoint, err = New(Config{Listen: r.ether.listen, Uplink: other.uplink}); err != nil {
		t.Fatal(err)
	}
	setKeys(t, other.Endpoint, keys...)
	return other
}

func (r *rig) listen(t *testing.T) {
	t.Helper()
	if err := r.Listen(t.Context(), gatewayAt); err != nil {
		t.Fatal(err)
	}
}

// placeOf is the outer address of a phone.
func placeOf(seed byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, seed}), 40000)
}

// phone attaches a phone at an outer address of its own.
func (r *rig) phone(t *testing.T, seed byte, keepalive int) *phone {
	t.Helper()
	return r.phoneOf(t, seed, gatewaySeed, keepalive)
}

// phoneOf attaches a phone that knows the gateway by a certain key.
func (r *rig) phoneOf(t *testing.T, seed, gatewaySeed byte, keepalive int) *phone {
	t.Helper()
	c, err := r.ether.listen(t.Context(), placeOf(seed))
	if err != nil {
		t.Fatal(err)
	}
	p := newPhone(t, seed, gatewaySeed, c, gatewayAt, keepalive)
	p.end = c.(*end)
	keep(t, p.dev, gatewaySeed)
	t.Cleanup(p.close)
	return p
}

// kept holds every peer that ever was in a bubble. The device drains a peer's
// queues in a finalizer, which runs outside the bubble, where the bubble's
// channels may not be touched; so none of them may become garbage.
var kept []*device.Peer

func keep(t testing.TB, dev *device.Device, seed byte) {
	_, pub := key(t, seed)
	kept = append(kept, dev.LookupPeer(pub))
}

func keepAll(t testing.TB, e *Endpoint) {
	for _, k := range *e.keys.Load() {
		for seed := range byte(4) {
			keep(t, k.dev, seed)
		}
	}
}

func peerOf(t *testing.T, seed byte, addr netip.Addr, active bool) Peer {
	t.Helper()
	_, pub := key(t, seed)
	return Peer{PublicKey: pub, Address: addr, Active: active}
}

func setPeers(t *testing.T, r *rig, peers ...Peer) {
	t.Helper()
	err := r.SetPeers(peers)
	keepAll(t, r.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
}

// take returns the packets that came down to a phone.
func (p *phone) take() [][]byte {
	synctest.Wait()
	var got [][]byte
	for {
		select {
		case b := <-p.got:
			got = append(got, b)
		default:
			return got
		}
	}
}

func same(got [][]byte, want ...[]byte) bool {
	return slices.EqualFunc(got, want, bytes.Equal)
}
