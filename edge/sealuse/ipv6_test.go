package sealuse_test

import (
	"net/netip"
	"testing"

	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
)

// A terminal names an address of its own: the IPv4 address of its session, or
// any out of the session's /64, whichever it sends from. Nothing else will do,
// not what it could have had.
func TestTerminalAddressInBothFamilies(t *testing.T) {
	const me, other = usetest.Terminal, usetest.Other
	four, six := usetest.Address(me), usetest.Address6(me, 1)
	for _, c := range []struct {
		name    string
		session uint32
		from    netip.Addr
		says    string
		code    wire.Code // "": granted
	}{
		{"IPv6", usetest.IPv6, six, six.String(), ""},
		{"IPv6, written out", usetest.IPv6, six, six.StringExpanded(), ""},
		{"IPv6, another of its addresses", usetest.IPv6, six, usetest.Address6(me, 200).String(), ""},
		{"both, IPv6 from IPv6", usetest.IPv4v6, six, six.String(), ""},
		{"both, IPv4 from IPv6", usetest.IPv4v6, six, four.String(), ""},
		{"both, IPv6 from IPv4", usetest.IPv4v6, four, six.String(), ""},
		{"both, IPv4 written as IPv6", usetest.IPv4v6, four, "::ffff:" + four.String(), ""},

		{"IPv6, another's address", usetest.IPv6, six, usetest.Address6(other, 1).String(), wire.CodeAddressMismatch},
		{"IPv6, from another's session", usetest.IPv6, usetest.Address(other), six.String(), wire.CodeAddressMismatch},
		{"IPv6, its link-local address", usetest.IPv6, six, "fe80::1", wire.CodeAddressMismatch},
		{"IPv6, the IPv4 address that the session lacks", usetest.IPv6, six, four.String(), wire.CodeAddressMismatch},
		{"IPv4, the IPv6 address that the session lacks", usetest.IPv4, four, six.String(), wire.CodeAddressMismatch},
		{"both, another's IPv6", usetest.IPv4v6, four, usetest.Address6(other, 1).String(), wire.CodeAddressMismatch},
		{"both, another's IPv4", usetest.IPv4v6, six, usetest.Address(other).String(), wire.CodeAddressMismatch},
		{"IPv4, from IPv6", usetest.IPv4, six, four.String(), wire.CodeTerminalUnknown},
		{"IPv6, from IPv4", usetest.IPv6, four, six.String(), wire.CodeTerminalUnknown},
		{"IPv6, from a /64 of nobody", usetest.IPv6, netip.MustParseAddr("fd00:90:0:d::1"), six.String(), wire.CodeTerminalUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t)
			s.AttachAs(me, c.session)
			req := usetest.Request("r1", s.now)
			req.TerminalAddress = c.says
			use, step := s.request(c.from, req, usetest.Answer(s.now))
			switch {
			case c.code == "" && use == nil:
				t.Errorf("refused: %v", step.Refusal)
			case c.code != "" && (use != nil || step.Refusal.Code != c.code):
				t.Errorf("got %v, %v; want %s", use, step.Refusal, c.code)
			}
		})
	}
	req := usetest.Request("r1", start)
	req.TerminalAddress = six.String() + "%rmnet0"
	if _, bad := sealuse.Parse(req); bad == nil {
		t.Error("an address of one link was taken")
	}
}

func TestHolder(t *testing.T) {
	for address, want := range map[string]string{
		"10.90.0.11":                "10.90.0.11/32",
		"::ffff:10.90.0.11":         "10.90.0.11/32",
		"fd00:90:0:b::1":            "fd00:90:0:b::/64",
		"fd00:90:0:b:ffff:ffff::":   "fd00:90:0:b::/64",
		"fd00:90:0:b:1:2:3:4%rmnet": "fd00:90:0:b::/64",
	} {
		if got := sealuse.Holder(netip.MustParseAddr(address)); got.String() != want {
			t.Errorf("%s is of %v, want %s", address, got, want)
		}
	}
	if got := sealuse.Holder(netip.Addr{}); got != (netip.Prefix{}) {
		t.Errorf("no address is of %v", got)
	}
}
