package e2e

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sealedge/sealedge/edge/wire"
)

// A foreign SGSN gives its IPv6 terminal to a kernel: a network interface in a
// namespace of its own, configured by the gateway's router advertisement. The
// gateway's own HTTPS is met through it, with a certificate for its address.
func TestForeignSGSNWithAnInterface(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("making a network namespace and an interface needs root")
	}
	for _, needed := range []string{"/usr/sbin/ip", "/dev/net/tun"} {
		if _, err := os.Stat(needed); err != nil {
			lacking(t, needed+" is missing: the emulator can have no interface (the package iproute2 has ip)")
		}
	}
	s := emulatorSite(t, 1)
	space := fmt.Sprintf("sealedge-e2e-%d", s.block[1])
	if out, err := exec.Command("ip", "netns", "add", space).CombinedOutput(); err != nil {
		lacking(t, fmt.Sprintf("no network namespace can be made: %v: %s", err, out))
	}
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", space).Run() })

	capture := sniff(t, "udp and host "+s.gateway.String(), s.gateway.String()+":9")
	p := s.sgsnemu(1, emulatedIMSI(0), emulate{"pdp-type": "v6", "createif": "", "netns": space, "tun-device": "sealedge", "defaultroute": ""})
	s.until("the terminal has read the router advertisement", func() bool { return p.ended() || p.said("Received ICMPv6 Router Advertisement") })
	if p.ended() {
		t.Fatalf("the emulator gave up:\n%s", p.words())
	}
	at := netip.AddrPortFrom(inner6, wire.PhonePort)
	s.until("HTTPS through the interface", func() bool {
		err := inside(space, func() error {
			conn, err := net.DialTimeout("tcp6", at.String(), grace)
			if err != nil {
				return err
			}
			defer conn.Close()
			return tls.Client(conn, &tls.Config{RootCAs: s.roots(), ServerName: at.Addr().String(), MinVersion: tls.VersionTLS13}).HandshakeContext(t.Context())
		})
		if err != nil {
			t.Log(err)
		}
		return err == nil
	})
	if file := capture(); file != "" {
		if got := read(t, file, "icmpv6.type == 134", "icmpv6.opt.prefix"); len(got) == 0 || got[0] != "fd00:90:0:1::" {
			t.Errorf("advertised prefixes %v", got)
		}
		dissect(t, file, s.gateway)
	}
}

// inside runs fn in a network namespace. The thread comes back from there: one
// that ended would take along the programs that it started (see orphan).
func inside(space string, fn func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer home.Close()
	away, err := os.Open(filepath.Join("/run/netns", space))
	if err != nil {
		return err
	}
	defer away.Close()
	if err := unix.Setns(int(away.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	err = fn()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		panic(back) // nothing on this thread can be trusted any more
	}
	return err
}
