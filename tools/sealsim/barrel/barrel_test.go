package barrel

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"image/png"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/tools/sealsim/coap"
	"github.com/sealedge/sealedge/tools/sealsim/wifi"
)

func TestAUseOnTheWire(t *testing.T) {
	s := newScene(t, nil).ready()
	s.open(today(1, 1))
	s.press()
	s.gateway.until("receipt")
	s.press()
	if st := s.statement(); st.Stamped != 2 || st.UseID != 1 {
		t.Errorf("statement %+v", st)
	}
	if _, err := s.barrel.Press(); !errors.Is(err, ErrLocked) {
		t.Errorf("third press: %v", err)
	}
	if n := s.barrel.Impressions(); n != 2 {
		t.Errorf("%d impressions", n)
	}
	said := strings.Join(s.barrel.Said(), "|")
	for _, want := range []string{"Contract 7: 2 stampings.", "finger", "camera", "Unlocked", "Stamped 1 of 2.", "Locked."} {
		if !strings.Contains(said, want) {
			t.Errorf("never said %q in %q", want, said)
		}
	}
	var kept wire.LocalReceipts
	answer := s.local(coap.Request{Method: coap.GET, Path: wire.PathLocalReceipts, Query: []string{"use=1"}})
	if err := wire.UnmarshalCBOR(answer.Payload, &kept); err != nil || len(kept.Receipts) != 2 || kept.Statement == nil {
		t.Errorf("receipts for the terminal: %+v, %v", kept, err)
	}
	s.drained()
}

// Behind a terminal with IPv6, the barrel speaks to the gateway from an address
// in the terminal's /64, and from another when the terminal gets another /64.
func TestUseOverIPv6(t *testing.T) {
	s := newScene(t, func(c *Config) { c.Gateway = gatewayAt6 }).ready()
	from := func(prefix string) bool {
		s.gateway.mu.Lock()
		defer s.gateway.mu.Unlock()
		for peer := range s.gateway.peers {
			if netip.MustParsePrefix(prefix).Contains(netip.MustParseAddrPort(peer).Addr()) {
				return true
			}
		}
		return false
	}
	if !from("fd00:90:0:7::/64") {
		t.Error("the barrel isn't where its terminal is")
	}
	s.open(today(1, 1))
	s.press()
	s.gateway.until("receipt")
	other := netip.MustParseAddr("fd00:90:0:8::700")
	s.six.Store(&other)
	for !from("fd00:90:0:8::/64") {
		s.gateway.until("hb")
	}
	s.press()
	if st := s.statement(); st.Stamped != 2 || st.UseID != 1 {
		t.Errorf("statement %+v", st)
	}
	s.drained()
}

// drained waits until what the gateway took has left the memory.
func (s *scene) drained() {
	s.t.Helper()
	for {
		st, err := s.barrel.store.load()
		if err != nil {
			s.t.Fatal(err)
		}
		if len(st.Outbox) == 0 {
			return
		}
		s.gateway.until("hb")
	}
}

func TestFailoverInTheMiddleOfAUse(t *testing.T) {
	s := newScene(t, nil).ready()
	s.open(today(1, 1))
	s.press()
	s.gateway.until("receipt")
	s.gateway.forget()
	s.gateway.set(func() { s.gateway.noQuorum = true })
	s.gateway.until("hb") // by a new handshake
	s.press()
	s.gateway.set(func() { s.gateway.noQuorum = false })
	if st := s.statement(); st.Stamped != 2 {
		t.Errorf("statement %+v", st)
	}
}

func TestLockByTheGateway(t *testing.T) {
	s := newScene(t, nil).ready()
	s.open(today(1, 1))
	s.press()
	answer, err := s.gateway.ask(coap.Request{
		Method: coap.PUT, Path: wire.PathBarrelLock, Format: wire.ContentCBOR,
		Payload: wire.MarshalCBOR(wire.LockOrder{ID: 3, Use: 1, Reason: "wrong page"}),
	})
	if err != nil || answer.Code != coap.Changed {
		t.Fatalf("%v, %v", answer.Code, err)
	}
	if st, _ := s.barrel.Status(); !st.Locked || st.Use != 0 {
		t.Errorf("acknowledged, but %+v", st)
	}
	if st := s.statement(); st.Stamped != 1 {
		t.Errorf("statement %+v", st)
	}
	var status wire.BarrelStatus
	answer, err = s.gateway.ask(coap.Request{Method: coap.GET, Path: wire.PathBarrelStatus})
	if err == nil {
		err = wire.UnmarshalCBOR(answer.Payload, &status)
	}
	if err != nil || status.Barrel != "SB-0001" || !status.Locked || status.Lifetime != 1 {
		t.Errorf("status %+v, %v", status, err)
	}
	for _, c := range []struct {
		r    coap.Request
		want coap.Code
	}{
		{coap.Request{Method: coap.POST, Path: wire.PathBarrelLock}, coap.MethodNotAllowed},
		{coap.Request{Method: coap.GET, Path: "/other"}, coap.NotFound},
		{coap.Request{Method: coap.PUT, Path: wire.PathBarrelLock, Payload: []byte{0xff}}, coap.BadRequest},
	} {
		if answer, err := s.gateway.ask(c.r); err != nil || answer.Code != c.want {
			t.Errorf("%s %s: %v, %v", c.r.Method, c.r.Path, answer.Code, err)
		}
	}
}

func TestLockWithAHeartbeat(t *testing.T) {
	s := newScene(t, nil).ready()
	s.open(today(1, 1))
	s.gateway.set(func() { s.gateway.locks = []wire.LockOrder{{ID: 4, Use: 1}} })
	s.gateway.until("locked")
	s.locked()
}

func TestLostLease(t *testing.T) {
	s := newScene(t, nil).ready()
	s.open(today(1, 1))
	s.press()
	s.gateway.set(func() { s.gateway.last = 300 * time.Millisecond })
	s.locked()
	s.gateway.set(func() { s.gateway.silent = false })
	if st := s.statement(); st.Stamped != 1 {
		t.Errorf("statement %+v", st)
	}
}

func TestLostLinkAndTheWayBack(t *testing.T) {
	s := newScene(t, nil).ready()
	s.open(today(1, 1))
	s.ap.Kick(s.barrel.cfg.MAC)
	s.locked()
	if st := s.statement(); st.Stamped != 0 { // over the next link
		t.Errorf("statement %+v", st)
	}
	s.leased()
	s.barrel.Leave()
	if _, ok := s.ap.AddressOf(s.barrel.cfg.MAC); ok {
		t.Error("still on the network")
	}
	if st, _ := s.barrel.Status(); st.LeaseMs != 0 {
		t.Error("still has a lease")
	}
}

func TestPowerLossAndReboot(t *testing.T) {
	s := newScene(t, nil).ready()
	s.open(today(1, 7))
	s.press()
	s.barrel.PowerLoss()
	if st, _ := s.barrel.Status(); !st.Locked || st.State != "" {
		t.Errorf("without power: %+v", st)
	}
	if _, err := s.barrel.Press(); !errors.Is(err, ErrOff) {
		t.Errorf("press: %v", err)
	}
	if err := s.barrel.Join(t.Context(), s.ap); !errors.Is(err, ErrOff) {
		t.Errorf("join: %v", err)
	}
	if _, ok := s.ap.AddressOf(s.barrel.cfg.MAC); ok {
		t.Error("the radio works without power")
	}
	if err := s.barrel.PowerOn(); err != nil {
		t.Fatal(err)
	}
	if st := s.statement(); st.Stamped != 1 || st.Counter != 7 {
		t.Errorf("statement %+v", st)
	}
	s.leased()
	if answer := s.unlock(today(1, 7)); answer.Code != coap.Forbidden || problemOf(answer) != string(CodeReplayed) {
		t.Errorf("the grant again: %v %s", answer.Code, problemOf(answer))
	}
	if err := s.barrel.Reboot(); err != nil {
		t.Fatal(err)
	}
	if st, _ := s.barrel.Status(); st.Counter != 7 || st.Lifetime != 1 {
		t.Errorf("after the second boot: %+v", st)
	}
}

func TestMemoryThatFailsStampsNothing(t *testing.T) {
	s := newScene(t, nil).ready()
	s.open(today(1, 1))
	s.drained()
	if err := os.Rename(filepath.Dir(s.state), filepath.Dir(s.state)+".gone"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.barrel.Press(); !errors.Is(err, ErrMemory) {
		t.Fatalf("press: %v", err)
	}
	if n := s.barrel.Impressions(); n != 0 {
		t.Errorf("%d impressions that no memory knows of", n)
	}
	s.await(func(st wire.BarrelStatus) bool { return st.Locked && st.State == "" })
	if err := s.barrel.PowerOn(); !errors.Is(err, ErrMemory) {
		t.Errorf("power on: %v", err)
	}
}

func TestDamagedMemory(t *testing.T) {
	s := newScene(t, nil)
	if err := os.WriteFile(s.state, []byte(`{"counter":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.barrel.PowerOn(); !errors.Is(err, ErrMemory) {
		t.Errorf("got %v", err)
	}
}

func TestMemoryLeavesNothingBehind(t *testing.T) {
	s := newScene(t, nil).ready()
	s.barrel.PowerLoss()
	files, err := os.ReadDir(filepath.Dir(s.state))
	if err != nil || len(files) != 1 || files[0].Name() != "state.json" {
		t.Errorf("files %v, %v", files, err)
	}
}

func TestCertificateIdentity(t *testing.T) {
	own, pool := certificate(t, "gateway")
	device, devices := certificate(t, "barrel")
	s := newScene(t, func(c *Config) {
		c.Credentials = Credentials{Certificate: &device, RootCAs: pool, ServerName: "gateway"}
	})
	s.gateway.certified(own, devices)
	s.ready()
}

func certificate(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{name}, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestTerminalRequests(t *testing.T) {
	s := newScene(t, nil).ready()
	lock := wire.MarshalCBOR(wire.LocalLock{Reason: "done"})
	for _, c := range []struct {
		name string
		r    coap.Request
		want coap.Code
	}{
		{"status", coap.Request{Method: coap.GET, Path: wire.PathLocalStatus}, coap.Content},
		{"lock without a use", coap.Request{Method: coap.POST, Path: wire.PathLocalLock, Payload: lock}, coap.Changed},
		{"lock that is no CBOR", coap.Request{Method: coap.POST, Path: wire.PathLocalLock, Payload: []byte{0xff}}, coap.BadRequest},
		{"unlock that is no CBOR", coap.Request{Method: coap.POST, Path: wire.PathLocalUnlock, Payload: []byte{0xff}}, coap.BadRequest},
		{"receipts of no use", coap.Request{Method: coap.GET, Path: wire.PathLocalReceipts}, coap.BadRequest},
		{"receipts of a use unheard of", coap.Request{Method: coap.GET, Path: wire.PathLocalReceipts, Query: []string{"use=99"}}, coap.Content},
		{"wrong method", coap.Request{Method: coap.DELETE, Path: wire.PathLocalStatus}, coap.MethodNotAllowed},
		{"wrong path", coap.Request{Method: coap.GET, Path: "/hb"}, coap.NotFound},
	} {
		if answer := s.local(c.r); answer.Code != c.want {
			t.Errorf("%s: %v, want %v", c.name, answer.Code, c.want)
		}
	}
	s.open(today(1, 1))
	if answer := s.local(coap.Request{Method: coap.POST, Path: wire.PathLocalLock, Payload: lock}); answer.Code != coap.Changed {
		t.Errorf("lock: %v", answer.Code)
	}
	s.locked()
}

func TestTamperIsReported(t *testing.T) {
	s := newScene(t, nil).ready()
	s.open(today(1, 1))
	if err := s.barrel.Tamper(); err != nil {
		t.Fatal(err)
	}
	s.gateway.until("event:" + wire.EventTamper)
	if st := s.await(func(st wire.BarrelStatus) bool { return st.Locked }); st.State != wire.BarrelTampered {
		t.Errorf("state %s", st.State)
	}
	if err := errors.Join(s.barrel.Service(), s.barrel.SetBattery(5)); err != nil {
		t.Fatal(err)
	}
	s.gateway.until("event:" + wire.EventLowBattery)
}

func TestPhotograph(t *testing.T) {
	s := newScene(t, nil)
	if _, err := s.barrel.Photograph("page", 1); !errors.Is(err, ErrOff) {
		t.Errorf("without power: %v", err)
	}
	if err := s.barrel.PowerOn(); err != nil {
		t.Fatal(err)
	}
	var pictures [][]byte
	for _, c := range []struct {
		page  string
		marks int
	}{{"page", 0}, {"page", 1}, {"page", 2}, {"another page", 2}} {
		b, err := s.barrel.Photograph(c.page, c.marks)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := png.Decode(bytes.NewReader(b)); err != nil {
			t.Error(err)
		}
		for _, earlier := range pictures {
			if bytes.Equal(b, earlier) {
				t.Errorf("%q with %d impressions looks like another picture", c.page, c.marks)
			}
		}
		pictures = append(pictures, b)
	}
}

// FuzzRequests throws payloads at every resource of both APIs.
func FuzzRequests(f *testing.F) {
	life := newLife(New(Config{Identity: identity(), StateFile: filepath.Join(f.TempDir(), "state.json")}), NewMachine(identity(), State{}))
	if err := life.start(); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(life.stop)
	ap, err := wifi.New(wifi.Config{Prefix: netip.MustParsePrefix("192.168.43.1/24")})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(ap.Close)
	mac, err := ident.ParseMAC("02:00:5e:10:00:01")
	if err != nil {
		f.Fatal(err)
	}
	link, err := ap.Join(f.Context(), wifi.Station{MAC: mac})
	if err != nil {
		f.Fatal(err)
	}
	c := &connection{life: life, link: link}
	paths := []string{wire.PathLocalUnlock, wire.PathLocalLock, wire.PathLocalReceipts, wire.PathBarrelLock}
	f.Add(uint8(0), wire.MarshalCBOR(wire.UnlockRequest{Grant: []byte{1}, User: "lin"}))
	f.Add(uint8(1), wire.MarshalCBOR(wire.LocalLock{Reason: "x"}))
	f.Add(uint8(2), []byte("use=1"))
	f.Add(uint8(3), wire.MarshalCBOR(wire.LockOrder{ID: 1, Use: 2}))
	f.Fuzz(func(t *testing.T, which uint8, payload []byte) {
		r := coap.Request{Method: coap.POST, Path: paths[which%4], Payload: payload, Query: []string{string(payload)}, Peer: net.UDPAddrFromAddrPort(netip.AddrPortFrom(link.Router(), 1))}
		switch which % 4 {
		case 2:
			r.Method = coap.GET
		case 3:
			r.Method = coap.PUT
			c.serveGateway(t.Context(), r)
			return
		}
		c.serveTerminal(t.Context(), r)
	})
}
