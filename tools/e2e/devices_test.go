package e2e

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/tools/sealsim/barrel"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
	"github.com/sealedge/sealedge/tools/sealsim/phone"
)

// carrier starts the n-th serving gateway of the mobile operator, which the
// gateway listens to, with a tap on its sockets. It asks for as long as a busy machine
// may take for an election or two.
func (s *site) carrier(n byte) (*carrier.Carrier, *tap) {
	s.Helper()
	tap := newTap(s.T)
	c, err := carrier.New(carrier.Config{
		Address: s.ip(20, n), Gateway: s.gateway, RestartCounter: n, Listen: tap.listen, Logger: s.simLog(),
		T3: 500 * time.Millisecond, N3: 150,
	})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = c.Close() })
	return c, tap
}

// simLog is where the simulators say what happens to them.
func (s *site) simLog() *slog.Logger {
	f, err := os.OpenFile(s.file("simulators.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = f.Close() })
	return slog.New(slog.NewTextHandler(f, nil))
}

// imsi is the n-th SIM's.
func imsi(n int) string { return fmt.Sprintf("46001%010d", n) }

// sim is the n-th SIM in its handset, on the allow-list or not.
func (s *site) sim(n int) carrier.Subscriber {
	return carrier.Subscriber{
		IMSI: must(ident.ParseIMSI(imsi(n))), MSISDN: must(ident.ParseMSISDN(fmt.Sprintf("8613%09d", n))),
		IMEI: must(ident.ParseIMEI(handset(n))), APN: s.apn, PLMN: must(ident.ParsePLMN("46001")),
	}
}

func handset(n int) string { return fmt.Sprintf("35693803%06d", n) }

// enlist puts the n-th SIM with its handset on the allow-list; change may add
// to the entry.
func (s *site) enlist(n int, change ...func(*adminapi.Terminal)) carrier.Subscriber {
	s.Helper()
	t := adminapi.Terminal{IMSI: imsi(n), IMEIs: []string{handset(n)}, APNs: []string{s.apn.String()}, Label: fmt.Sprint("phone ", n)}
	for _, c := range change {
		c(&t)
	}
	s.importDevices(map[string]any{"terminals": []any{t}})
	return s.sim(n)
}

func (s *site) importDevices(doc any) {
	s.Helper()
	f, err := os.CreateTemp(s.dir, "devices-*.yaml")
	if err != nil {
		s.Fatal(err)
	}
	defer f.Close()
	if err := yaml.NewEncoder(f).Encode(doc); err != nil {
		s.Fatal(err)
	}
	s.sealctl("device", "import", f.Name())
}

// attach opens a bearer for a SIM, and proves that the inner network is there.
func (s *site) attach(c *carrier.Carrier, sim carrier.Subscriber, change ...func(*phone.Config)) *phone.Phone {
	s.Helper()
	p := s.phone(c, sim, change...)
	if err := p.Attach(s.soon()); err != nil {
		s.Fatal(err)
	}
	s.ping(p)
	return p
}

// ping fails the test when the gateway's inner address doesn't answer.
func (s *site) ping(p *phone.Phone) {
	s.Helper()
	if _, err := p.Ping(s.soon()); err != nil {
		s.Fatalf("no answer from inside: %v", err)
	}
}

// phone switches a handset on, which has the fallback path if the site's
// allow-list knows its key (see fallback).
func (s *site) phone(c *carrier.Carrier, sim carrier.Subscriber, change ...func(*phone.Config)) *phone.Phone {
	s.Helper()
	cfg := phone.Config{
		SIM: sim, Operator: c, Gateway: s.inner, Logger: s.simLog(),
		App: phone.AppConfig{RootCAs: s.roots(), SealServer: s.sealServer().String()},
	}
	for _, ch := range change {
		ch(&cfg)
	}
	p, err := phone.New(cfg)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(p.Close)
	return p
}

// sealServer is where the seal server is to be found.
func (s *site) sealServer() netip.AddrPort { return netip.AddrPortFrom(s.ip(2, 1), 8443) }

// What a handset shows when it asks for the fallback path.
const fallbackAccount, fallbackPassword = "seal-phone", "correct horse battery"

// wireguard makes a key for a handset: one option enlists it, the other installs it and
// has the phone ask any node for the rest.
func (s *site) wireguard() (list func(*adminapi.Terminal), install func(*phone.Config)) {
	s.Helper()
	own, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		s.Fatal(err)
	}
	if len(s.previous) == 0 {
		s.gatewayKey() // without one there is nothing to ask for
	}
	list = func(t *adminapi.Terminal) {
		t.WireGuardPublicKey = base64.StdEncoding.EncodeToString(own.PublicKey().Bytes())
		if len(s.previous) == 0 {
			t.Credentials = &adminapi.Credentials{User: fallbackAccount, Password: fallbackPassword}
		}
	}
	return list, func(c *phone.Config) {
		c.Fallback = &phone.Fallback{PrivateKey: [32]byte(own.Bytes()), Credentials: phone.Credentials{Account: fallbackAccount, Password: fallbackPassword}}
		for _, cfg := range s.cfgs {
			c.Fallback.Requests = append(c.Fallback.Requests, string(cfg.Fallback.Listen))
		}
	}
}

// gatewayKey is the public half of the key that the gateway has for the fallback path.
func (s *site) gatewayKey() (key [32]byte) {
	s.Helper()
	var keys []adminapi.FallbackKey
	s.until("the cluster has a key for the fallback path", func() bool {
		n := s.holding()
		return n >= 0 && askAll(s, n, "/v1/fallback/keys", &keys) == nil && len(keys) > 0
	})
	raw, err := base64.StdEncoding.DecodeString(keys[0].PublicKey)
	if err != nil || len(raw) != len(key) {
		s.Fatalf("gateway key %q: %v", keys[0].PublicKey, err)
	}
	return [32]byte(raw)
}

// wireguardPort is where "sealedge init" puts the fallback path.
const wireguardPort = 51820

// barrel puts the n-th barrel on the allow-list, hands it to a terminal and
// switches it on. change may alter what it is configured with.
func (s *site) barrel(n int, to carrier.Subscriber, change ...func(*barrel.Config)) *barrel.Barrel {
	s.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		s.Fatal(err)
	}
	psk := make([]byte, 32)
	_, _ = rand.Read(psk) // never fails (crypto/rand)
	id, mac := barrelID(n), fmt.Sprintf("02:00:5e:10:00:%02x", n)
	b64 := base64.StdEncoding.EncodeToString
	s.importDevices(map[string]any{"barrels": []any{map[string]string{
		"id": id, "mac": mac, "seal_type": "contract", "psk_identity": id, "psk": b64(psk),
		"receipt_public_key": b64(public), "checked_out_to": to.IMSI.String(),
	}}})
	cfg := barrel.Config{
		Identity: barrel.Identity{ID: must(ident.ParseBarrelID(id)), SealType: "contract", Gateway: s.grantKey(), Key: private, Firmware: "e2e"},
		MAC:      must(ident.ParseMAC(mac)), Credentials: barrel.Credentials{PSKIdentity: id, PSK: psk},
		StateFile: s.file(id + ".state"), Gateway: netip.AddrPortFrom(s.inner, wire.BarrelPort),
		Logger: s.simLog(),
	}
	for _, c := range change {
		c(&cfg)
	}
	b := barrel.New(cfg)
	if err := b.PowerOn(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(b.PowerLoss)
	return b
}

// barrelID is the n-th barrel's serial number.
func barrelID(n int) string { return fmt.Sprintf("SB-%04d", n) }

// grantKey is the public half of the key that grants are signed with.
func (s *site) grantKey() ed25519.PublicKey {
	s.Helper()
	raw, err := os.ReadFile(s.layout.GrantKey)
	if err != nil {
		s.Fatal(err)
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		s.Fatal(s.layout.GrantKey + " holds no PEM block")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		s.Fatal(err)
	}
	return key.(ed25519.PublicKey)
}
