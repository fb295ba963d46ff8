package adminapi

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/sealedge/sealedge/cluster/command"
)

func TestSessionOf(t *testing.T) {
	v4, v6 := []byte{10, 90, 0, 7}, netip.MustParseAddr("fd00:90:0:7::").AsSlice()
	gtp := func(version uint32) *command.GTPPath {
		return &command.GTPPath{Version: version, RatType: 6, ServingPlmn: "46001", Imei: "35693803564380", PeerC: &command.FTEID{Address: []byte{198, 51, 100, 1}}}
	}
	for _, c := range []struct {
		name string
		s    *command.Session
		want string
	}{
		{
			"GTPv2, both families", &command.Session{Id: 1, Address: v4, Prefix6: v6, Active: command.PathKind_GTP, Gtp: gtp(2)},
			`"pdn_type":"IPv4v6","address":"10.90.0.7","prefix6":"fd00:90:0:7::/64","path":"gtp","paths":["gtp"],"protocol":"GTPv2","peer":"198.51.100.1","rat":"EUTRAN","serving_plmn":"46001","imei":"35693803564380"`,
		},
		{
			"GTPv1, IPv6", &command.Session{Id: 1, Prefix6: v6, Active: command.PathKind_GTP, Gtp: &command.GTPPath{Version: 1, Suspended: true}},
			`"pdn_type":"IPv6","address":"","prefix6":"fd00:90:0:7::/64","path":"gtp","paths":["gtp"],"protocol":"GTPv1","suspended":true`,
		},
		{
			"fallback, the carrier's path still there", &command.Session{Id: 1, Address: v4, Active: command.PathKind_WIREGUARD, Gtp: gtp(2), Wireguard: &command.WireGuardPath{}},
			`"pdn_type":"IPv4","address":"10.90.0.7","path":"wireguard","paths":["gtp","wireguard"],"protocol":"WireGuard"`,
		},
		{
			"fallback, with all that is known of it", &command.Session{
				Id: 1, Address: v4, Active: command.PathKind_WIREGUARD, PathSince: 1_800_000_000_000_000_000,
				Wireguard: &command.WireGuardPath{Endpoint: []byte{203, 0, 113, 9}, EndpointPort: 40000, Lease: 7},
			},
			`"path_since":"2027-01-15T08:00:00Z","endpoint":"203.0.113.9:40000","lease":7}`,
		},
	} {
		if got := marshal(t, SessionOf(c.s)); !strings.Contains(got, c.want) {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestPeerOf(t *testing.T) {
	sessions := func(versions ...uint32) []*command.Session {
		var out []*command.Session
		for i, v := range versions {
			out = append(out, &command.Session{Id: uint64(i), Gtp: &command.GTPPath{Version: v, Suspended: v == 1}})
		}
		return out
	}
	for _, c := range []struct {
		name string
		p    *command.GTPPeer
		s    []*command.Session
		want string
	}{
		{"both versions", &command.GTPPeer{Address: []byte{198, 51, 100, 1}, RestartCounter: 0, RestartKnown: true}, sessions(2, 1, 2), `{"address":"198.51.100.1","restart_counter":0,"sessions":3,"suspended":1,"protocols":["GTPv1","GTPv2"]}`},
		{"no counter told", &command.GTPPeer{Address: netip.MustParseAddr("2001:db8::1").AsSlice(), RestartCounter: 7}, sessions(2), `{"address":"2001:db8::1","sessions":1,"suspended":0,"protocols":["GTPv2"]}`},
	} {
		if got := marshal(t, PeerOf(c.p, slices.Values(c.s))); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}
