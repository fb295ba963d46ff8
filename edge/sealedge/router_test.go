package main

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/config"
	"github.com/sealedge/sealedge/edge/hotspot"
	"github.com/sealedge/sealedge/edge/keywrap"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
)

func newTestRouters(t *testing.T) (*planes, *routers) {
	t.Helper()
	p := newPlanes(t, false)
	keyFile := filepath.Join(t.TempDir(), "wireguard.key")
	if err := os.WriteFile(keyFile, []byte(base64.StdEncoding.EncodeToString(slices.Repeat([]byte{7}, 32))), 0o600); err != nil {
		t.Fatal(err)
	}
	apn, err := ident.ParseAPN("seal.corp")
	if err != nil {
		t.Fatal(err)
	}
	rules := &policy.Rules{Revision: 1, APNs: map[ident.APN]policy.APN{apn: {Name: apn, GatewayAddress: gatewayInner}}}
	cfg := &config.Config{
		Gateway: config.Gateway{
			Name: "gw1", Address: netip.MustParseAddr("192.0.2.1"), Addresses: []config.Outer{{Name: "gw2", Address: netip.MustParseAddr("192.0.2.2")}},
			WireGuard: config.WireGuard{Port: 51820, PrivateKeyFile: config.Path(keyFile)},
		},
		Inner:  config.Inner{MTU: 1400, PhoneAPI: config.InnerAPI{Port: 443}, BarrelAPI: config.InnerAPI{Port: 5684}},
		RADIUS: config.RADIUS{Port: 1812, Requests: 20},
	}
	guard := &hotspot.Guard{Records: p.fakeNode, Rules: func() *policy.Rules { return rules }}
	g := &gateway{cfg: cfg, log: slog.New(slog.DiscardHandler), secrets: secrets{radius: slices.Repeat([]byte{1}, 32)}}
	g.openRouters(guard)
	g.routers.node = p.fakeNode
	return p, g.routers
}

// What is exported is what the gateway knows a router by.
func TestRouterExport(t *testing.T) {
	p, r := newTestRouters(t)
	p.attach(t, "seal.corp", 5, 1) // its address stays its own
	p.do(t, &command.PutBarrel{Barrel: &command.Barrel{
		Id: "SB-0001", Mac: "02:00:5e:10:00:01", PskIdentity: "SB-0001", Psk: []byte("psk"), SealType: "contract", State: command.DeviceState_ACTIVE,
	}}, nil)
	p.do(t, &command.CheckOut{Barrel: "SB-0001", Imsi: imsi}, nil)
	v, problem := r.export(imsi)
	if problem != nil {
		t.Fatal(problem)
	}
	if v.Gateway != "10.90.0.1" || !slices.Equal(v.Endpoints, []string{"192.0.2.1:51820", "192.0.2.2:51820"}) || v.MTU != 1400 ||
		!slices.Equal(v.Devices, []adminapi.RouterDevice{{MAC: "02:00:5e:10:00:01", Role: "barrel", Barrel: "SB-0001"}}) {
		t.Errorf("exported %+v", v)
	}
	if got, err := base64.StdEncoding.DecodeString(v.PublicKey); err != nil || [32]byte(got) != key {
		t.Errorf("its key is %q, %v", v.PublicKey, err)
	}
	if file := publicHalf(t, slices.Repeat([]byte{7}, 32)); v.ServerKey != file || v.PresharedKey != "" {
		t.Errorf("the gateway's key is %q, want the file's, %q; pre-shared %q", v.ServerKey, file, v.PresharedKey)
	}
	router, ok := r.at(netip.MustParseAddr(v.Address))
	if !ok || router.IMSI != imsi || v.RADIUS == nil || string(router.Secret) != v.RADIUS.Secret || len(router.Secret) != 40 {
		t.Errorf("at its address is %+v, %v; exported is %+v", router, ok, v.RADIUS)
	}
	if _, ok := r.at(netip.MustParseAddr("10.90.77.77")); ok {
		t.Error("somebody is at an address that is nobody's")
	}
	// Another WireGuard key is another secret; a revoked router is none.
	p.do(t, &command.PutSubscriber{AnyVersion: true, Subscriber: &command.Subscriber{
		Imsi: imsi, Apns: []string{"seal.corp"}, State: command.DeviceState_ACTIVE, WireguardPublicKey: slices.Repeat([]byte{8}, 32),
	}}, nil)
	p.attach(t, "seal.corp", 5, 1)
	if now, ok := r.at(netip.MustParseAddr(v.Address)); !ok || string(now.Secret) == v.RADIUS.Secret {
		t.Errorf("with another key it has the secret %q, %v", now.Secret, ok)
	}
	p.do(t, &command.RevokeSubscriber{Imsi: imsi, Reason: "stolen"}, nil)
	if _, ok := r.at(netip.MustParseAddr(v.Address)); ok {
		t.Error("a revoked router may ask")
	}
	if _, problem := r.export(imsi); problem == nil || problem.Status != 409 {
		t.Errorf("a revoked router is exported: %v", problem)
	}
}

func TestRouterNotExported(t *testing.T) {
	p, r := newTestRouters(t)
	const keyless = "460011234567891" // for which no address is reserved
	p.do(t, &command.PutSubscriber{AnyVersion: true, Subscriber: &command.Subscriber{
		Imsi: keyless, Apns: []string{"seal.corp"}, State: command.DeviceState_ACTIVE,
	}}, nil)
	for name, c := range map[string]struct {
		imsi   string
		spoil  func()
		status int
	}{
		"unknown":          {"460019999999999", func() {}, 404},
		"no address":       {keyless, func() {}, 409},
		"no policy":        {imsi, func() { r.guard.Rules = func() *policy.Rules { return nil } }, 503},
		"no fallback path": {imsi, func() { r.cfg.Gateway.WireGuard.PrivateKeyFile = "" }, 409},
	} {
		_, fresh := newTestRouters(t)
		fresh.node, fresh.guard.Records = p.fakeNode, p.fakeNode
		r = fresh
		c.spoil()
		_, problem := r.export(c.imsi)
		if problem == nil || problem.Status != c.status || problem.Hint == "" || problem.Title == "" {
			t.Errorf("%s: %+v, want status %d", name, problem, c.status)
		}
	}
}

// A key that the cluster has goes before the file's, and so does the newer of two; a
// lease that is good has its pre-shared key exported.
func TestRouterExportOfCluster(t *testing.T) {
	p, r := newTestRouters(t)
	p.attach(t, "seal.corp", 5, 1)
	wrap, err := keywrap.New(make([]byte, keywrap.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	r.wrapper = wrap
	var replaces []byte
	for _, public := range [][]byte{slices.Repeat([]byte{1}, 32), slices.Repeat([]byte{2}, 32)} {
		p.do(t, &command.PutServerKey{PublicKey: public, PrivateKey: []byte("wrapped"), Replaces: replaces, OverlapSeconds: 60}, nil)
		replaces = public
	}
	psk := slices.Repeat([]byte{3}, 32)
	wrapped, err := wrap.Wrap("wireguard-psk:"+imsi, psk, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var version uint64
	p.View(func(m *state.Machine) { version = m.Subscriber(imsi).GetVersion() })
	p.doNow(t, &command.LeaseFallback{Imsi: imsi, PublicKey: key[:], PresharedKey: wrapped, LifetimeSeconds: 3600, PolicyRevision: 1, SubscriberVersion: version}, nil)
	v, problem := r.export(imsi)
	if problem != nil {
		t.Fatal(problem)
	}
	if v.ServerKey != base64.StdEncoding.EncodeToString(replaces) || v.PresharedKey != base64.StdEncoding.EncodeToString(psk) {
		t.Errorf("%q, %q", v.ServerKey, v.PresharedKey)
	}
	p.do(t, &command.EndFallback{Imsi: imsi, Reason: "x"}, nil)
	if v, problem = r.export(imsi); problem != nil || v.PresharedKey != "" {
		t.Errorf("a lease that was ended is exported: %v", problem)
	}
}

func publicHalf(t *testing.T, private []byte) string {
	t.Helper()
	k, err := ecdh.X25519().NewPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(k.PublicKey().Bytes())
}
