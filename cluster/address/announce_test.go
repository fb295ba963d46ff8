package address

import (
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// What neighbours are told, byte by byte.
func TestAnnouncements(t *testing.T) {
	mac := net.HardwareAddr{0x02, 0, 0x5e, 0x10, 0, 0x01}
	for _, c := range []struct {
		a    string
		want []string
	}{
		{"192.0.2.1", []string{
			"ffffffffffff 02005e100001 0806" + "0001 0800 06 04 0001" + "02005e100001 c0000201" + "000000000000 c0000201",
			"ffffffffffff 02005e100001 0806" + "0001 0800 06 04 0002" + "02005e100001 c0000201" + "02005e100001 c0000201",
		}},
		{"2001:db8::1", []string{
			"333300000001 02005e100001 86dd" + "60000000 0020 3a ff" +
				"20010db8000000000000000000000001" + "ff020000000000000000000000000001" +
				"88 00 9b1a 20000000" + "20010db8000000000000000000000001" + "02 01 02005e100001",
		}},
	} {
		got := announcement(netip.MustParseAddr(c.a), mac)
		if len(got) != len(c.want) {
			t.Fatalf("%s: %d frames, want %d", c.a, len(got), len(c.want))
		}
		for i := range got {
			if want := strings.ReplaceAll(c.want[i], " ", ""); hex.EncodeToString(got[i]) != want {
				t.Errorf("%s: frame\n%x, want\n%s", c.a, got[i], want)
			}
		}
	}
}
