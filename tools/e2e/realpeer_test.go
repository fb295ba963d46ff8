package e2e

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/setup"
	"github.com/sealedge/sealedge/policy/ident"
)

// Somebody else's mobile network meets the gateway: the MME (with a mock of the
// base station) and the SGW among go-gtp's examples, which share no line with
// tools/sealsim. The MME knows five subscribers, and two access points with a
// packet gateway each: odd subscribers go to 127.0.0.52, even ones to
// 127.0.0.53.
//
// The SGW runs as it is. The MME runs twice. As it is, it shows attach and
// detach; what it sends through the tunnel is a ping of 8.8.8.8 with a wrong
// header checksum, which the gateway has to drop for either fault. Before that
// it runs with its ping mended, and with the test telling it when to go on, and
// nothing else (see mendedMME): the answer of the gateway inside the tunnel comes
// back by way of SGW and base station.
func TestRealPeers(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/create-session-request", "")
	gtptest.ShowsIn(t, "29.274/create-session-response", "")
	gtptest.ShowsIn(t, "29.274/delete-session-request", "")
	gtptest.ShowsIn(t, "29.274/delete-session-response", "")
	gtptest.ShowsIn(t, "29.281/g-pdu", "")
	gtptest.ShowsIn(t, "29.281/g-pdu-sent", "")
	t.Parallel()
	if err := build("github.com/wmnsk/go-gtp/examples/mme", "github.com/wmnsk/go-gtp/examples/sgw"); err != nil {
		t.Fatal(err)
	}
	var carriers []netip.Prefix // of the first site, where the SGW is
	pgw := func(address, apn, pool string, subscribers ...string) *site {
		s := newSite(t, 1, func(o *setup.Options) {
			o.Gateway, o.APN, o.Pool = netip.MustParseAddr(address), must(ident.ParseAPN(apn)), netip.MustParsePrefix(pool)
			if carriers == nil {
				carriers = o.Carriers
			}
			o.Carriers = carriers
		})
		var all []any
		for _, n := range subscribers {
			all = append(all, adminapi.Terminal{IMSI: mmeSubscriber + n, IMEIs: []string{"12345678000001" + n}, APNs: []string{apn}})
		}
		s.importDevices(map[string]any{"terminals": all})
		return s
	}
	odd := pgw("127.0.0.52", "some-apn-1.example", "10.90.1.0/24", "1", "3", "5")
	even := pgw("127.0.0.53", "some-apn-2.example", "10.90.2.0/24", "2", "4")
	capture := sniff(t, "udp and (host 127.0.0.52 or host 127.0.0.53)", "127.0.0.52:9")

	sgw := start(t, odd.dir, "sgw", exec.Command(filepath.Join(bin, "sgw"),
		"-s5c", odd.ip(20, 1).String(), "-s5u", odd.ip(20, 2).String(), "-s11", odd.ip(21, 1).String(), "-s1u", odd.ip(21, 2).String()))
	for _, at := range []string{"20.1:2123", "20.2:2152", "21.1:2123", "21.2:2152"} {
		odd.until("the SGW serves", func() bool { return taken(fmt.Sprintf("127.%d.%s", odd.block[1], at)) })
	}
	// life runs an MME until all five subscribers were there and are gone; meanwhile
	// is what happens while they are there.
	life := func(name, program string, meanwhile func(mme *process)) *process {
		p := start(t, odd.dir, name, exec.Command(program,
			"-s11mme", odd.ip(22, 1).String(), "-s1enb", odd.ip(22, 2).String(), "-s11sgw", odd.ip(21, 1).String()))
		sessions := func(n, m int) {
			t.Helper()
			odd.until(fmt.Sprintf("%d sessions at the first gateway", n), func() bool { return len(list[adminapi.Session](odd, "session")) == n })
			even.until(fmt.Sprintf("%d sessions at the second gateway", m), func() bool { return len(list[adminapi.Session](even, "session")) == m })
		}
		sessions(3, 2)
		meanwhile(p)
		odd.until("the MME has ended, as all have detached", p.ended)
		sessions(0, 0)
		return p
	}

	tell := func(p *process, s syscall.Signal) {
		t.Helper()
		if err := p.cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	mme := life("mended", mendedMME(t, odd.inner), func(p *process) {
		for n := range 5 {
			who := mmeSubscriber + string(rune('1'+n))
			odd.until("the SGW can serve "+who, func() bool { return sgw.said("Session created with MME and P-GW for Subscriber: " + who) })
		}
		tell(p, modify)
		odd.until("each terminal has its ping answered", func() bool { return strings.Count(p.words(), "Received from ") >= 5 })
		tell(p, detach)
	})
	if got := pongs(t, mme, odd.inner); len(got) != 5 {
		t.Errorf("%d of 5 terminals had their ping answered: %v\n%s", len(got), got, mme.words())
	}
	for n := range 5 {
		who := mmeSubscriber + string(rune('1'+n))
		if !mme.said("Bearer modified with S-GW for Subscriber: " + who) {
			t.Errorf("the bearer of %s wasn't modified", who)
		}
		odd.until("the SGW has deleted the session of "+who, func() bool { return sgw.said("Session deleted for Subscriber: " + who) })
	}
	if mme.said("Warning|error") || sgw.said("Warning|error") {
		t.Errorf("the peers are not content:\n%s\n%s", mme.words(), sgw.words())
	}

	if !testing.Short() { // the MME waits for 30 s before it detaches
		const dropped = "inner.header-checksum"
		before := odd.counters()[dropped]
		mme := life("mme", filepath.Join(bin, "mme"), func(*process) {})
		// It asks for a bearer at once, which the SGW may not serve yet.
		if mme.said("Bearer modified with S-GW for Subscriber: "+mmeSubscriber+"[135]") && odd.counters()[dropped] == before {
			t.Errorf("no ping with a wrong checksum was counted as such")
		}
	}

	file := capture()
	if file == "" {
		return
	}
	for _, s := range []*site{odd, even} {
		frames := dissect(t, file, s.gateway)
		if frames < 2*3 { // to each: Create and Delete Session Response, a packet
			t.Errorf("only %d frames of %s were captured", frames, s.gateway)
		}
	}
}

// mmeSubscriber is the IMSI of the MME's subscribers, without its last digit.
const mmeSubscriber = "12345123456789"

// What the mended MME is told by: to ask for the bearers, and to detach.
const modify, detach = syscall.SIGUSR1, syscall.SIGUSR2

// taken tells whether somebody has a UDP port open.
func taken(at string) bool {
	c, err := net.ListenPacket("udp4", at)
	if err == nil {
		_ = c.Close()
	}
	return err != nil
}

// mendedMME builds the MME of the same sources, with the ping addressed to the
// gateway inside the tunnel and its checksums right, sent once; with a base
// station that takes packets instead of answering each with an Error
// Indication; and with signals to wait for (see modify and detach) before Modify
// Bearer, which the SGW can't serve yet at the moment when it answers Create
// Session, and before it detaches.
func mendedMME(t *testing.T, to netip.Addr) string {
	t.Helper()
	cmd := exec.Command("go", "list", "-f", "{{.Dir}}", "github.com/wmnsk/go-gtp/examples/mme")
	cmd.Dir = module
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	args := []string{"build", "-o", filepath.Join(dir, "mme")}
	for name, mends := range map[string][]string{
		"main.go": {
			"time.After(30 * time.Second)", "detach",
			"\t\"time\"\n", "",
			"uConn = gtpv1.NewUPlaneConn(enbUPlaneAddr)", "uConn = gtpv1.NewUPlaneConn(enbUPlaneAddr); uConn.DisableErrorIndication()",
			"sess, err := s11Conn.GetSessionByIMSI(imsi)", "<-modify; sess, err := s11Conn.GetSessionByIMSI(imsi)",
			"if _, err := s11Conn.DeleteSession(teid, sess); err != nil {", "delWG.Add(1); if _, err := s11Conn.DeleteSession(teid, sess); err != nil {",
			"delWG.Add(1)\n\t\t\t\tlog", "log",
		},
		"mme.go": nil,
		"mock.go": {
			"copy(payload[12:16], net.ParseIP(m.subscriberIP).To4())", "m.payload = mended(m.payload, m.subscriberIP)",
			"time.Sleep(3 * time.Second)", "return",
		},
	} {
		raw, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), name))
		if err != nil {
			t.Fatal(err)
		}
		text := string(raw)
		for m := range slices.Chunk(mends, 2) {
			if strings.Count(text, m[0]) != 1 {
				t.Fatalf("the example has changed: %s has %q not once", name, m[0])
			}
			text = strings.Replace(text, m[0], m[1], 1)
		}
		args = append(args, writeFile(t, dir, name, text))
	}
	b := to.As4()
	args = append(args, writeFile(t, dir, "mended.go", fmt.Sprintf(`package main

import (
	"net"
	"os"
	"os/signal"
	"syscall"
)

// modify is closed when the MME is told to go on, and detach has a token when it is told that.
var modify, detach = make(chan struct{}), make(chan os.Signal, 1)

func init() {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.Signal(%d))
	signal.Notify(detach, syscall.Signal(%d))
	go func() { <-told; close(modify) }()
}

// mended is the ping from a terminal to the gateway inside the tunnel.
func mended(ping []byte, from string) []byte {
	p := append([]byte(nil), ping...)
	copy(p[12:], net.ParseIP(from).To4())
	copy(p[16:], []byte{%d, %d, %d, %d})
	checksum(p[10:12], p[:20])
	checksum(p[22:24], p[20:])
	return p
}

func checksum(at, over []byte) {
	at[0], at[1] = 0, 0
	var sum uint32
	for i := 0; i < len(over); i += 2 {
		sum += uint32(over[i])<<8 | uint32(over[i+1])
	}
	sum = sum&0xffff + sum>>16
	sum = ^(sum + sum>>16)
	at[0], at[1] = byte(sum>>8), byte(sum)
}
`, modify, detach, b[0], b[1], b[2], b[3])))
	cmd = exec.Command("go", args...)
	cmd.Dir = module
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return filepath.Join(dir, "mme")
}

func writeFile(t *testing.T, dir, name, text string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// pongs reads from the MME's words which terminals got an echo reply from the
// gateway inside the tunnel, with all that they sent in it.
func pongs(t *testing.T, mme *process, from netip.Addr) map[netip.Addr]bool {
	t.Helper()
	got := map[netip.Addr]bool{}
	for _, m := range regexp.MustCompile(`Received from \S+: ([0-9a-f]+)`).FindAllStringSubmatch(mme.words(), -1) {
		p, err := hex.DecodeString(m[1])
		if err != nil || len(p) != 84 || p[9] != 1 || p[20] != 0 || netip.AddrFrom4([4]byte(p[12:16])) != from {
			t.Errorf("this is no echo reply: %s", m[1])
			continue
		}
		if checksum(p[:20]) != 0 || checksum(p[20:]) != 0 {
			t.Errorf("wrong checksum: %s", m[1])
		}
		if !strings.HasSuffix(m[1], "101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637") {
			t.Errorf("another payload: %s", m[1])
		}
		got[netip.AddrFrom4([4]byte(p[16:20]))] = true
	}
	return got
}

// sniff captures what goes over loopback until the function that it returns is
// called, which returns the file; "" where that needs a privilege that the test
// doesn't have. A datagram to mark must pass the filter: it ends the capture.
func sniff(t *testing.T, filter, mark string) (capture func() string) {
	t.Helper()
	none := func() string { return "" }
	missing := func(what string) func() string {
		if os.Getenv("CI") == "true" {
			t.Fatal(what)
		}
		t.Log(what + ": the frames are not judged")
		return none
	}
	dumpcap, err := exec.LookPath("dumpcap")
	if err != nil {
		return missing("dumpcap is not installed (it comes with tshark)")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "lo.pcapng")
	p := start(t, dir, "dumpcap", exec.Command(dumpcap, "-q", "-i", "lo", "-f", filter, "-w", file))
	until(t, "dumpcap captures", func() bool { return p.ended() || p.said("(?m)^File: ") })
	if p.ended() {
		return missing("loopback can't be captured: " + p.lastWords(1))
	}
	return func() string {
		t.Helper()
		end := []byte("this is the end of the capture")
		c, err := net.Dial("udp4", mark)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = c.Write(end) // nobody listens there
		until(t, "the capture holds all", func() bool {
			raw, err := os.ReadFile(file)
			return err == nil && bytes.Contains(raw, end)
		})
		_ = p.cmd.Process.Signal(syscall.SIGINT)
		<-p.done
		return file
	}
}
