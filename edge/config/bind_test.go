package config

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// What goes together with sockets that aren't at the gateway address.
func TestBind(t *testing.T) {
	service := map[string]string{
		"gateway.address_driver": "service", "gateway.bind": "10.244.1.7",
		"gateway.service.endpoint_slice": "edge-gateway", "gateway.service.machine": "worker-1",
	}
	with := func(changes ...string) map[string]string {
		flags := map[string]string{}
		for k, v := range service {
			flags[k] = v
		}
		for i := 0; i < len(changes); i += 2 {
			flags[changes[i]] = changes[i+1]
		}
		return flags
	}
	for _, c := range []struct {
		name  string
		flags map[string]string
		want  string
	}{
		{"a Service", service, ""},
		{"a Service on a machine that isn't told", with("gateway.service.machine", ""), ""},
		{"another program that rewrites", map[string]string{"gateway.address_driver": "external", "gateway.bind": "192.0.2.1"}, ""},
		{"on loopback", map[string]string{"gateway.bind": "127.0.10.2"}, ""},
		{"a Service at no address", with("gateway.bind", ""), "gateway.bind: is missing, which gateway.address_driver service needs"},
		{"a Service by no slice", with("gateway.service.endpoint_slice", ""), "gateway.service.endpoint_slice: is missing, which gateway.address_driver service needs"},
		{"a machine for nothing", map[string]string{"gateway.service.machine": "worker-1"}, "is loopback, but gateway.service says which Service brings packets"},
		{"netlink elsewhere", map[string]string{"gateway.address": "192.0.2.1", "gateway.address_driver": "netlink", "gateway.interface": "lo", "gateway.bind": "192.0.2.2"}, "gateway.bind: is 192.0.2.2, but gateway.address_driver netlink brings"},
		{"several addresses at one place", with("gateway.addresses", "gw2=127.0.10.2"), "gateway.addresses: can't be with gateway.bind"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, err := loadText(t, string(reference), c.flags)
			got := problemsOf(t, err)
			if c.want == "" {
				if len(got) > 0 || cfg.Gateway.BoundTo(cfg.Gateway.All()[0]) != netip.MustParseAddr(c.flags["gateway.bind"]) {
					t.Errorf("%q, %+v", got, cfg)
				}
				return
			}
			if len(got) != 1 || !strings.Contains(got[0], c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// A node may have addresses of both families, as a pod's variable lists them, and none
// of them twice or inside of the tunnels.
func TestListenAt(t *testing.T) {
	t.Setenv("SEALEDGE_NODE_LISTEN_AT", "10.244.1.7,fd00:244::7,127.0.0.1")
	cfg, err := loadText(t, string(reference), nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := []netip.Addr{netip.MustParseAddr("10.244.1.7"), netip.MustParseAddr("fd00:244::7"), netip.MustParseAddr("127.0.0.1")}; !slices.Equal(cfg.Node.ListenAt, want) {
		t.Errorf("%v", cfg.Node.ListenAt)
	}
	for value, want := range map[string]string{
		"10.244.1.7,10.244.1.7": "node.listen_at: 10.244.1.7 is there twice",
		"10.90.0.1":             "inner.addresses: 10.90.0.1 is among node.listen_at",
		"0.0.0.0":               "0.0.0.0 is not the address of a host",
		"10.244.1.7:7000":       "is no IP address",
	} {
		_, err := loadText(t, string(reference), map[string]string{"node.listen_at": value})
		if got := problemsOf(t, err); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("%s: %q, want %q", value, got, want)
		}
	}
}

// Without gateway.bind each address has its own sockets, and what terminals are told is
// never where they are.
func TestBoundToTheAddress(t *testing.T) {
	cfg, err := loadText(t, edited(t, "  addresses: []", "  addresses: [gw2=127.0.10.2]"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range cfg.Gateway.All() {
		if at := cfg.Gateway.BoundTo(o); at != o.Address {
			t.Errorf("%s=%s is bound to %s", o.Name, o.Address, at)
		}
	}
	cfg, err = loadText(t, string(reference), map[string]string{"gateway.bind": "127.0.10.9", "gateway.wireguard.enabled": "true"})
	if err != nil {
		t.Fatal(err)
	}
	if all := cfg.FallbackEndpoints(); len(all) != 1 || all[0] != "127.0.10.1:51820" {
		t.Errorf("terminals are told %q", all)
	}
}
