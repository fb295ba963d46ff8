package gtpu_test

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/sealedge/sealedge/apn/gtpu"
	"github.com/sealedge/sealedge/cluster/command"
)

func session(id uint64, edit func(*command.Session)) *command.Session {
	s := &command.Session{
		Id:      id,
		Address: []byte{10, 90, 0, byte(id)},
		Gtp: &command.GTPPath{
			LocalTeidU: 0x1000 + uint32(id),
			PeerU:      &command.FTEID{Teid: 0x2000 + uint32(id), Address: []byte{127, 0, 20, 1}},
		},
		Active: command.PathKind_GTP,
	}
	if edit != nil {
		edit(s)
	}
	return s
}

func tunnel(id uint64, edit func(*gtpu.Tunnel)) gtpu.Tunnel {
	t := gtpu.Tunnel{
		Session: id, Local: 0x1000 + uint32(id), Peer: 0x2000 + uint32(id),
		PeerAddr: netip.MustParseAddr("127.0.20.1"),
		Inner:    netip.AddrFrom4([4]byte{10, 90, 0, byte(id)}),
		Active:   true,
	}
	if edit != nil {
		edit(&t)
	}
	return t
}

func TestWant(t *testing.T) {
	sessions := []*command.Session{
		session(3, nil),
		session(1, func(s *command.Session) { s.Active = command.PathKind_WIREGUARD }),
		session(2, func(s *command.Session) {
			s.Address = []byte("\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x0a\x5a\x00\x02")
		}),
		// What has no usable tunnel is left out.
		session(4, func(s *command.Session) { s.Gtp = nil }),
		session(5, func(s *command.Session) { s.Gtp.PeerU = nil }),
		session(6, func(s *command.Session) { s.Gtp.LocalTeidU = 0 }),
		session(7, func(s *command.Session) { s.Gtp.PeerU.Teid = 0 }),
		session(8, func(s *command.Session) { s.Address = nil }),
		session(9, func(s *command.Session) { s.Gtp.PeerU.Address = make([]byte, 16) }),
		session(10, func(s *command.Session) { s.Address = make([]byte, 16) }),
		session(11, func(s *command.Session) { s.Address, s.Prefix6 = nil, []byte{10, 90, 0, 1} }),
		session(12, func(s *command.Session) { s.Address, s.Gtp.PdnType = nil, 2 }),
		// What the session has isn't always what the carrier was answered.
		session(13, func(s *command.Session) { s.Address, s.Prefix6 = nil, prefix6(13).AsSlice() }),
		session(14, func(s *command.Session) { s.Gtp.PdnType = 2 }),
		session(15, func(s *command.Session) { s.Prefix6 = prefix6(15).AsSlice() }),
		session(16, func(s *command.Session) { s.Prefix6, s.Gtp.PdnType = prefix6(16).AsSlice(), 1 }),
		session(17, func(s *command.Session) { s.Prefix6, s.Gtp.PdnType = prefix6(17).AsSlice(), 2 }),
		session(20, func(s *command.Session) {
			s.Prefix6, s.Gtp.PdnType, s.Active = prefix6(20).AsSlice(), 2, command.PathKind_WIREGUARD // has no other way
		}),
		session(18, func(s *command.Session) { s.Prefix6, s.Gtp.PdnType = prefix6(18).AsSlice(), 3 }),
		session(19, func(s *command.Session) {
			s.Gtp.AmbrUpKbps, s.Gtp.AmbrDownKbps, s.Gtp.Suspended = 50_000, 300_000, true
		}),
	}
	want := []gtpu.Tunnel{
		tunnel(1, func(t *gtpu.Tunnel) { t.Active = false }),
		tunnel(2, nil),
		tunnel(3, nil),
		tunnel(15, nil),
		tunnel(16, nil),
		tunnel(17, only6),
		tunnel(18, dual),
		tunnel(19, func(t *gtpu.Tunnel) { t.UpKbps, t.DownKbps, t.Suspended = 50_000, 300_000, true }),
		tunnel(20, only6),
	}
	if got := gtpu.Want(slices.Values(sessions)); !slices.Equal(got, want) {
		t.Errorf("Want:\n got %+v\nwant %+v", got, want)
	}
}

func TestDiff(t *testing.T) {
	teid := func(t *gtpu.Tunnel) { t.Local = 0x9999 }
	inner := func(t *gtpu.Tunnel) { t.Inner = netip.MustParseAddr("10.90.9.9") }
	peer := func(t *gtpu.Tunnel) { t.PeerAddr = netip.MustParseAddr("127.0.20.2") }
	idle := func(t *gtpu.Tunnel) { t.Active = false }
	other6 := func(t *gtpu.Tunnel) { dual(t); t.Prefix6 = prefix6(99) }
	rate := func(t *gtpu.Tunnel) { t.UpKbps = 1 }
	suspended := func(t *gtpu.Tunnel) { t.Suspended = true }
	type ts = []gtpu.Tunnel
	for _, c := range []struct {
		name     string
		old, new ts
		want     gtpu.Plan
	}{
		{"nothing", nil, nil, gtpu.Plan{}},
		{"same", ts{tunnel(1, nil)}, ts{tunnel(1, nil)}, gtpu.Plan{}},
		{"first", nil, ts{tunnel(1, nil)}, gtpu.Plan{Put: ts{tunnel(1, nil)}}},
		{"last", ts{tunnel(1, nil)}, nil, gtpu.Plan{Delete: ts{tunnel(1, nil)}}},
		{"other session", ts{tunnel(1, nil)}, ts{tunnel(2, nil)}, gtpu.Plan{Delete: ts{tunnel(1, nil)}, Put: ts{tunnel(2, nil)}}},
		{"handover", ts{tunnel(1, nil)}, ts{tunnel(1, peer)}, gtpu.Plan{Put: ts{tunnel(1, peer)}}},
		{"to fallback", ts{tunnel(1, nil)}, ts{tunnel(1, idle)}, gtpu.Plan{Put: ts{tunnel(1, idle)}}},
		{"new TEID", ts{tunnel(1, nil)}, ts{tunnel(1, teid)}, gtpu.Plan{Delete: ts{tunnel(1, nil)}, Put: ts{tunnel(1, teid)}}},
		{"new address", ts{tunnel(1, nil)}, ts{tunnel(1, inner)}, gtpu.Plan{Delete: ts{tunnel(1, nil)}, Put: ts{tunnel(1, inner)}}},
		{"another /64", ts{tunnel(1, dual)}, ts{tunnel(1, other6)}, gtpu.Plan{Delete: ts{tunnel(1, dual)}, Put: ts{tunnel(1, other6)}}},
		{"another rate", ts{tunnel(1, nil)}, ts{tunnel(1, rate)}, gtpu.Plan{Put: ts{tunnel(1, rate)}}},
		{"suspended", ts{tunnel(1, nil)}, ts{tunnel(1, suspended)}, gtpu.Plan{Put: ts{tunnel(1, suspended)}}},
		{
			"all at once",
			ts{tunnel(1, nil), tunnel(2, nil), tunnel(4, nil)},
			ts{tunnel(2, nil), tunnel(3, nil), tunnel(4, peer)},
			gtpu.Plan{Delete: ts{tunnel(1, nil)}, Put: ts{tunnel(3, nil), tunnel(4, peer)}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := gtpu.Diff(c.old, c.new)
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v\nwant %+v", got, c.want)
			}
			if got.Empty() != (len(c.want.Put)+len(c.want.Delete) == 0) {
				t.Errorf("Empty() = %v", got.Empty())
			}
		})
	}
}
