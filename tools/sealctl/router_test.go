package main

import (
	"encoding/base64"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/wire"
)

// radiusOn is the file in a script's directory that has the node answer RADIUS.
const radiusOn = "radius-on"

// router exports as edge/sealedge does: barrels alone, and RADIUS where there is the
// file radius-on.
func (n *node) router(dir string) func(imsi string) (*adminapi.Router, *wire.Problem) {
	return func(imsi string) (v *adminapi.Router, p *wire.Problem) {
		n.View(func(m *state.Machine) {
			sub := m.Subscriber(imsi)
			if sub == nil {
				p = wire.NewProblem(wire.CodeNotFound, "There is no terminal with IMSI "+imsi+".")
				return
			}
			v = &adminapi.Router{
				IMSI: imsi, Label: sub.Label, Gateway: "10.90.0.1", Endpoints: []string{"192.0.2.1:51820"},
				ServerKey: base64.StdEncoding.EncodeToString(make([]byte, 32)), MTU: 1400, PhonePort: 443, BarrelPort: 5684,
				Devices: []adminapi.RouterDevice{}, Version: m.Index(), Revision: m.PolicyRevision(),
			}
			if a, ok := netip.AddrFromSlice(m.Lease("seal.corp", imsi).GetAddress()); ok {
				v.Address = a.String()
			}
			if len(sub.WireguardPublicKey) > 0 {
				v.PublicKey = base64.StdEncoding.EncodeToString(sub.WireguardPublicKey)
			}
			for b := range m.BarrelsOf(imsi) {
				v.Devices = append(v.Devices, adminapi.RouterDevice{MAC: b.Mac, Role: "barrel", Barrel: b.Id})
			}
		})
		if _, err := os.Stat(filepath.Join(dir, radiusOn)); err == nil && v != nil {
			v.RADIUS = &adminapi.RouterRADIUS{Port: 1812, Secret: "0123456789abcdef0123456789abcdef01234567"}
		}
		return v, p
	}
}

// secret FILE...: nobody else can read them.
func secretFiles(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		info, err := os.Stat(ts.MkAbs(name))
		ts.Check(err)
		if info.Mode().Perm() != 0o600 {
			ts.Fatalf("%s has mode %04o", name, info.Mode().Perm())
		}
	}
}

// unsaid FILE...: what they hold was not said, on standard output or error.
func unsaid(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		for _, where := range []string{"stdout", "stderr"} {
			if text := strings.TrimSpace(ts.ReadFile(name)); text == "" || strings.Contains(ts.ReadFile(where), text) {
				ts.Fatalf("%s has what is in %s", where, name)
			}
		}
	}
}

// publickey: the public half of a WireGuard key, as the hint gives it, is on standard
// error; it is put into the script's environment as KEY.
func publicKey(ts *testscript.TestScript, _ bool, _ []string) {
	_, after, ok := strings.Cut(ts.ReadFile("stderr"), "--wireguard-public-key ")
	key, _, _ := strings.Cut(after, "'")
	if raw, err := base64.StdEncoding.DecodeString(key); !ok || err != nil || len(raw) != 32 {
		ts.Fatalf("no key on standard error: %q", key)
	}
	ts.Setenv("KEY", key)
}
