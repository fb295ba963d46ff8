package main

import (
	"context"
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/admin"
	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/config"
	"github.com/sealedge/sealedge/edge/hotspot"
	"github.com/sealedge/sealedge/edge/keywrap"
	"github.com/sealedge/sealedge/edge/radius"
	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy/view"
)

// routers are the travel routers: terminals whose hotspot is an access point, which
// asks over RADIUS.
type routers struct {
	cfg    *config.Config
	node   viewer
	guard  *hotspot.Guard
	watch  *hotspot.Watch
	radius *radius.Server // nil: they can't ask
	secret []byte         // that their secrets are derived from
	// wrapper opens the pre-shared keys of their leases.
	wrapper *keywrap.Wrapper
}

func (g *gateway) openRouters(guard *hotspot.Guard) {
	r := &routers{cfg: g.cfg, node: g.node, guard: guard, secret: g.secrets.radius, wrapper: g.secrets.wrapper}
	r.watch = hotspot.NewWatch(guard, g.node, g.component("hotspot"))
	if g.cfg.RADIUS.Enabled() {
		r.radius = radius.New(radius.Config{
			Router: r.at, Judge: r.watch.Judge, Holds: g.holdsAny, Requests: g.cfg.RADIUS.Requests, Logger: g.component("radius"),
		})
	}
	g.routers = r
}

// listen opens the port that routers ask at; nil: there is none.
func (r *routers) listen(open func(port uint16) (net.PacketConn, error)) (func(context.Context) error, error) {
	if r.radius == nil {
		return nil, nil
	}
	port, err := open(r.cfg.RADIUS.Port)
	if err != nil {
		return nil, fmt.Errorf("radius.port: %w", err)
	}
	return func(ctx context.Context) error { return r.radius.Serve(ctx, port) }, nil
}

// count adds what was counted.
func (r *routers) count(all map[string]uint64) {
	all["hotspot.alarms"] = r.watch.Alarms()
	if r.radius == nil {
		return
	}
	for reason, n := range r.radius.Counters() {
		all["radius."+reason] = n
	}
}

// at is the router that has an inner address.
func (r *routers) at(from netip.Addr) (router radius.Router, ok bool) {
	r.node.View(func(m *state.Machine) {
		sub := m.Subscriber(m.SessionByAddress(from).GetImsi())
		if ok = sub.GetState() == command.DeviceState_ACTIVE; ok {
			router = radius.Router{IMSI: sub.Imsi, Secret: []byte(r.secretOf(sub))}
		}
	})
	return router, ok
}

// secretOf is the secret that a router shares with the gateway: the same on every
// node, and another one as soon as the router has another WireGuard key.
func (r *routers) secretOf(sub *command.Subscriber) string {
	h := hmac.New(sha256.New, r.secret)
	fmt.Fprintf(h, "%s\x00", sub.Imsi)
	h.Write(sub.WireguardPublicKey)
	return hex.EncodeToString(h.Sum(nil)[:20])
}

// export is all that a router has to know.
func (r *routers) export(imsi string) (*adminapi.Router, *wire.Problem) {
	key, err := r.gatewayKey()
	if err != nil {
		return nil, notExported("The gateway has no fallback path.", err.Error(), "Set gateway.wireguard.enabled on every node; the cluster makes the key.")
	}
	rules := r.guard.Rules()
	if rules == nil {
		return nil, wire.NewProblem(wire.CodeNoPolicy, "")
	}
	var sub *command.Subscriber
	var address netip.Addr
	r.node.View(func(m *state.Machine) {
		if sub = m.Subscriber(imsi); sub != nil {
			address, _ = netip.AddrFromSlice(m.Lease(fallbackAPN(sub), imsi).GetAddress())
		}
	})
	switch {
	case sub == nil:
		p := wire.NewProblem(wire.CodeNotFound, "There is no terminal with IMSI "+imsi+".")
		p.Hint = "A travel router is a terminal: add it with 'sealctl device add'."
		return nil, p
	case sub.State != command.DeviceState_ACTIVE:
		return nil, notExported("The terminal is not active.", "", "See its state with 'sealctl device show'.")
	case !address.IsValid():
		return nil, notExported("The terminal has no address of its own.", "", "Give it one with 'sealctl device update --static-address'; the fallback path needs it before the first packet.")
	}
	list, err := r.guard.List(imsi, time.Now())
	if err != nil {
		return nil, sealuse.FromError(err)
	}
	v := &adminapi.Router{
		IMSI: imsi, Label: sub.Label, Address: address.String(), ServerKey: key, MTU: r.cfg.Inner.MTU,
		PhonePort: r.cfg.Inner.PhoneAPI.Port, BarrelPort: r.cfg.Inner.BarrelAPI.Port,
		Devices: []adminapi.RouterDevice{}, Version: list.Version, Revision: list.Revision,
	}
	for name, apn := range rules.APNs {
		if name.String() == fallbackAPN(sub) && apn.GatewayAddress.IsValid() {
			v.Gateway = apn.GatewayAddress.String()
		}
	}
	if v.Gateway == "" {
		return nil, notExported("The terminal's access point has no IPv4.", "access point "+fallbackAPN(sub), "Of IPv6 there is nothing on the fallback path: give the access point a gateway in the policy.")
	}
	v.Endpoints = r.cfg.FallbackEndpoints()
	if v.PresharedKey, err = r.presharedKey(imsi); err != nil {
		return nil, wire.NewProblem(wire.CodeInternal, err.Error())
	}
	if len(sub.WireguardPublicKey) > 0 {
		v.PublicKey = base64.StdEncoding.EncodeToString(sub.WireguardPublicKey)
	}
	if r.radius != nil {
		v.RADIUS = &adminapi.RouterRADIUS{Port: r.cfg.RADIUS.Port, Secret: r.secretOf(sub)}
	}
	for _, d := range list.Devices {
		v.Devices = append(v.Devices, adminapi.RouterDevice{MAC: net.HardwareAddr(d.MAC[:]).String(), Role: d.Role, Barrel: d.Barrel})
	}
	return v, nil
}

// gatewayKey is the public half of the fallback path's key: the cluster's, or, while
// that has none, the one of the configuration.
func (r *routers) gatewayKey() (string, error) {
	if !r.cfg.Gateway.WireGuard.Enabled() {
		return "", errors.New("gateway.wireguard.enabled is false")
	}
	var keys []*command.ServerKey
	r.node.View(func(m *state.Machine) { keys = m.ServerKeys() })
	if len(keys) > 0 {
		return base64.StdEncoding.EncodeToString(keys[0].PublicKey), nil
	}
	if r.cfg.Gateway.WireGuard.PrivateKeyFile == "" {
		return "", errors.New("the cluster has not made its key yet")
	}
	private, err := r.cfg.Gateway.WireGuard.PrivateKey()
	if err != nil {
		return "", err
	}
	defer clear(private[:])
	key, err := ecdh.X25519().NewPrivateKey(private[:])
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(key.PublicKey().Bytes()), nil
}

// presharedKey is that of a router's lease; empty: it has none, and comes by its key
// alone.
func (r *routers) presharedKey(imsi string) (string, error) {
	var l *command.FallbackLease
	r.node.View(func(m *state.Machine) { l = view.Lease(m.FallbackLease(imsi), sealuse.Later(time.Now(), m.Clock())) })
	if l == nil {
		return "", nil
	}
	psk, err := r.wrapper.Unwrap("wireguard-psk:"+imsi, l.PresharedKey)
	if err != nil {
		return "", err
	}
	defer clear(psk)
	return base64.StdEncoding.EncodeToString(psk), nil
}

func notExported(title, detail, hint string) *wire.Problem {
	p := wire.NewProblem(wire.CodeConflict, detail)
	p.Title, p.Status, p.Hint = title, http.StatusConflict, hint
	return p
}

// keepalive keeps the way of a client open that a router on it translates addresses
// of, in seconds.
const keepalive = 25

// fallbackOf is what operators have to know of the fallback path; nil: there is none.
func fallbackOf(c *config.Config) *admin.Fallback {
	if !c.Gateway.WireGuard.Enabled() {
		return nil
	}
	return &admin.Fallback{Endpoints: c.FallbackEndpoints(), MTU: c.Inner.MTU, Keepalive: keepalive}
}
