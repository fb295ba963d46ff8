package barrel

import (
	"crypto/ed25519"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealedge/sealedge/edge/grant"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/tools/sealsim/coap"
	"github.com/sealedge/sealedge/tools/sealsim/wifi"
)

var (
	gatewayAt  = netip.MustParseAddrPort("10.90.0.1:5684")
	gatewayAt6 = netip.MustParseAddrPort("[fd00:90::1]:5684")
)

// scene is a barrel on a hotspot whose tunnel ends at a gateway.
type scene struct {
	t       *testing.T
	barrel  *Barrel
	ap      *wifi.AccessPoint
	gateway *gateway
	phone   *coap.Endpoint
	state   string
	six     atomic.Pointer[netip.Addr] // the terminal's IPv6 address
}

func newScene(t *testing.T, change func(*Config)) *scene {
	t.Helper()
	s := &scene{t: t, gateway: newGateway(t), state: filepath.Join(t.TempDir(), "memory", "state.json")}
	if err := os.Mkdir(filepath.Dir(s.state), 0o700); err != nil {
		t.Fatal(err)
	}
	six := netip.MustParseAddr("fd00:90:0:7::700")
	s.six.Store(&six)
	err := s.gateway.stack.SetAddress6(netip.PrefixFrom(gatewayAt6.Addr(), 128))
	if err != nil {
		t.Fatal(err)
	}
	s.ap, err = wifi.New(wifi.Config{
		Prefix: netip.MustParsePrefix("192.168.43.1/24"), Uplink: s.gateway.stack.Deliver,
		Outside:  func() netip.Addr { return netip.MustParseAddr("10.90.0.7") },
		Outside6: func() netip.Addr { return *s.six.Load() },
	})
	if err != nil {
		t.Fatal(err)
	}
	s.gateway.stack.SetLink(func(b []byte) { s.ap.Inbound(b) })
	socket, err := s.ap.Host().ListenUDP(0)
	if err != nil {
		t.Fatal(err)
	}
	s.phone = coap.NewEndpoint(socket, coap.Config{AckTimeout: 200 * time.Millisecond})
	mac, err := ident.ParseMAC("02:00:5e:10:00:01")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Identity: identity(), MAC: mac, StateFile: s.state, Gateway: gatewayAt,
		Credentials: Credentials{PSKIdentity: "barrel-1", PSK: []byte("a key of many bytes")},
		Heartbeat:   100 * time.Millisecond, Rejoin: 10 * time.Millisecond,
	}
	if change != nil {
		change(&cfg)
	}
	s.barrel = New(cfg)
	t.Cleanup(func() {
		s.barrel.PowerLoss()
		_ = s.phone.Close()
		s.ap.Close()
	})
	return s
}

// ready switches the barrel on and waits for its lease.
func (s *scene) ready() *scene {
	s.t.Helper()
	if err := s.barrel.PowerOn(); err != nil {
		s.t.Fatal(err)
	}
	if err := s.barrel.Join(s.t.Context(), s.ap); err != nil {
		s.t.Fatal(err)
	}
	s.leased()
	return s
}

func (s *scene) await(wanted func(wire.BarrelStatus) bool) wire.BarrelStatus {
	s.t.Helper()
	st, err := s.barrel.Await(s.t.Context(), wanted)
	if err != nil {
		s.t.Fatalf("%v; the barrel is %+v", err, st)
	}
	return st
}

func (s *scene) leased() {
	s.t.Helper()
	s.await(func(st wire.BarrelStatus) bool { return st.LeaseMs > 0 })
}

func (s *scene) locked() {
	s.t.Helper()
	s.await(func(st wire.BarrelStatus) bool { return st.Locked && st.Use == 0 })
}

// local asks the barrel over the hotspot.
func (s *scene) local(r coap.Request) coap.Response {
	s.t.Helper()
	at, ok := s.ap.AddressOf(s.barrel.cfg.MAC)
	if !ok {
		s.t.Fatal("the barrel isn't on the hotspot")
	}
	answer, err := s.phone.Do(s.t.Context(), net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, wire.LocalPort)), r)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer
}

// today are claims that are valid by the real clock.
func today(use, counter uint64) grant.Claims {
	c := claims(use, counter)
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	return c
}

func (s *scene) unlock(c grant.Claims) coap.Response {
	s.t.Helper()
	return s.local(coap.Request{
		Method: coap.POST, Path: wire.PathLocalUnlock, Format: wire.ContentCBOR,
		Payload: wire.MarshalCBOR(wire.UnlockRequest{Grant: signed(c), User: "lin", Title: "Contract 7"}),
	})
}

// open brings a use to where the seal is unlocked.
func (s *scene) open(c grant.Claims) {
	s.t.Helper()
	if answer := s.unlock(c); answer.Code != coap.Created {
		s.t.Fatalf("unlock: %v %s", answer.Code, problemOf(answer))
	}
	if err := errors.Join(s.barrel.Finger("lin"), s.barrel.Face("lin")); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) press() {
	s.t.Helper()
	if _, err := s.barrel.Press(); err != nil {
		s.t.Fatal(err)
	}
}

// statement is the last settlement statement that the gateway took.
func (s *scene) statement() grant.Statement {
	s.t.Helper()
	s.gateway.until("settle")
	s.gateway.mu.Lock()
	defer s.gateway.mu.Unlock()
	st, err := grant.VerifyStatement(s.gateway.signed[len(s.gateway.signed)-1], barrelKey.Public().(ed25519.PublicKey))
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}
