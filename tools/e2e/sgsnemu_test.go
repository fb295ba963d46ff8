package e2e

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/setup"
)

// What the emulator says of a subscriber if nothing else is asked for.
const (
	emulatedHandset  = "21436587092143"
	emulatedUser     = "mig"
	emulatedPassword = "hemmelig"
)

// sgsnemu starts Debian's SGSN emulator (package osmo-ggsn) at the n-th address
// of the carrier: somebody else's Gn interface, over which a subscriber attaches
// and pings. It needs neither a privilege nor a network interface. An emulator
// that is started again at its address tells of a restart.
//
// It looks at its signals every ten seconds when nothing comes, so it is not
// asked to end but killed.
func (s *site) sgsnemu(n byte, imsi string, change emulate) *process {
	s.Helper()
	dir := s.file(fmt.Sprint("sgsn", n))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		s.Fatal(err)
	}
	emulator, err := exec.LookPath("sgsnemu")
	if err != nil {
		lacking(s.T, "sgsnemu is not installed: no foreign SGSN to meet (install the package osmo-ggsn)")
	}
	options := emulate{
		"listen": s.ip(20, n).String(), "remote": s.gateway.String(), "statedir": dir, "pidfile": dir + "/pid",
		"imsi": imsi, "apn": s.apn.String(), "imeisv": emulatedHandset + "65", "rattype": "1", "nsapi": "5",
	}
	if _, ok := change["createif"]; !ok { // its own pings, or an interface
		maps.Copy(options, emulate{"pinghost": s.inner.String(), "pingrate": "20", "pingcount": "3"})
	}
	maps.Copy(options, change)
	args := []string{"-oL", emulator} // else its words come late
	for name, value := range options {
		arg := "--" + name
		if value != "" {
			arg += "=" + value
		}
		args = append(args, arg)
	}
	p := start(s.T, s.dir, fmt.Sprint("sgsn", n), exec.Command("stdbuf", args...))
	s.Cleanup(p.kill)
	return p
}

// emulate is options of the emulator, "" for one without a value.
type emulate map[string]string

// emulatedIMSI is the subscriber of the n-th context, from 0: the emulator
// counts contexts up in the last digit but one.
func emulatedIMSI(n int) string { return imsi(1 + 10*n) }

var inner6 = netip.MustParseAddr("fd00:90::1")

// emulatorSite is a site whose access point has both address families and wants
// PAP.
func emulatorSite(t *testing.T, terminals int) *site {
	s := newSite(t, 1, func(o *setup.Options) {
		o.Inner6, o.Pool6 = inner6, netip.MustParsePrefix("fd00:90::/48")
	})
	rules, err := os.ReadFile(s.layout.Policy)
	if err != nil {
		t.Fatal(err)
	}
	const hint = "# authentication: chap"
	if strings.Count(string(rules), hint) != 1 {
		t.Fatalf("the first policy has no %q", hint)
	}
	if err := os.WriteFile(s.layout.Policy, []byte(strings.Replace(string(rules), hint, "authentication: pap", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	s.sealctl("policy", "apply", s.layout.Policy)
	var all []any
	for n := range terminals {
		all = append(all, adminapi.Terminal{
			IMSI: emulatedIMSI(n), IMEIs: []string{emulatedHandset}, APNs: []string{s.apn.String()},
			Credentials: &adminapi.Credentials{User: emulatedUser, Password: emulatedPassword},
		})
	}
	s.importDevices(map[string]any{"terminals": all})
	return s
}

// read lists fields of the frames of a capture that a filter lets through, one
// frame a line, by tshark. A message that was sent again, as on a busy machine it may
// be, is listed once.
func read(t *testing.T, capture, filter string, fields ...string) []string {
	t.Helper()
	args := []string{"-r", capture, "-n", "-Y", filter, "-T", "fields"}
	same := []string{"ip.src", "ip.dst", "gtp.message", "gtp.seq_number"}
	for _, f := range slices.Concat(same, fields) {
		args = append(args, "-e", f)
	}
	out, err := exec.Command("tshark", args...).Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	var lines []string
	seen := map[string]bool{}
	for line := range strings.SplitSeq(strings.TrimRight(string(out), "\n"), "\n") {
		if all := strings.Split(line, "\t"); line != "" && !seen[line] {
			seen[line] = true
			lines = append(lines, strings.Join(all[len(same):], "\t"))
		}
	}
	return lines
}

// A foreign SGSN attaches its subscribers and they ping; those who may not are
// told the right cause (TS 29.060 table 38).
func TestForeignSGSN(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/create-pdp-context-request", "", "end-user-address", "protocol-configuration-options")
	gtptest.ShowsIn(t, "29.060/create-pdp-context-response",
		"", "cause-missing-or-unknown-apn-219", "cause-apn-access-denied-no-subscription-222", "cause-user-authentication-failed-209")
	gtptest.ShowsIn(t, "29.060/delete-pdp-context-request", "")
	gtptest.ShowsIn(t, "29.060/delete-pdp-context-response", "")
	gtptest.ShowsIn(t, "29.281/g-pdu", "")
	gtptest.ShowsIn(t, "29.281/g-pdu-sent", "")
	t.Parallel()
	s := emulatorSite(t, 2)
	capture := sniff(t, "udp and host "+s.gateway.String(), s.gateway.String()+":9")
	cases := []struct {
		who   string
		imsi  string
		how   emulate
		cause string
	}{
		{"a subscriber", emulatedIMSI(0), nil, "128"},
		{"a subscriber with IPv6", emulatedIMSI(1), emulate{"pdp-type": "v6", "pinghost": inner6.String()}, "128"},
		{"somebody at another access point", emulatedIMSI(0), emulate{"apn": "other.corp"}, "219"},
		{"a SIM that is not on the list", emulatedIMSI(2), nil, "222"},
		{"a SIM in another handset", emulatedIMSI(0), emulate{"imeisv": "3569380300000901"}, "222"},
		{"a wrong password", emulatedIMSI(0), emulate{"pwd": "guessed"}, "209"},
		{"another user", emulatedIMSI(0), emulate{"uid": "somebody"}, "209"},
	}
	for n, c := range cases {
		p := s.sgsnemu(byte(n+1), c.imsi, c.how)
		if c.cause != "128" {
			s.until(c.who+" is refused", func() bool { return p.said(`create PDP context response\. Cause value: ` + c.cause) })
			continue
		}
		s.until(c.who+" has pinged and is gone", func() bool { return p.said(`delete PDP context response\. Cause value: 128`) })
		if !p.said("3 packets transmitted in .* 3 packets received") {
			t.Errorf("%s: not every ping was answered:\n%s", c.who, p.words())
		}
	}
	if left := list[adminapi.Session](s, "session"); len(left) != 0 {
		t.Errorf("%d sessions are left", len(left))
	}
	file := capture()
	if file == "" {
		return
	}
	for n, c := range cases {
		at := s.ip(20, byte(n+1))
		if got := read(t, file, fmt.Sprintf("gtp.message == 0x11 && ip.dst == %v", at), "gtp.cause"); !slices.Equal(got, []string{c.cause}) {
			t.Errorf("%s is answered with the causes %v, want %s", c.who, got, c.cause)
		}
	}
	// Authenticate-Ack for those who are let in (RFC 1334 2.2.2).
	if got := read(t, file, "gtp.message == 0x11 && gtp.cause == 128", "pap.code"); !slices.Equal(got, []string{"2", "2"}) {
		t.Errorf("PAP is answered with %v", got)
	}
	if frames := dissect(t, file, s.gateway); frames < len(cases)*2+2*4 {
		t.Errorf("only %d frames of the gateway were captured", frames)
	}
}

// A foreign SGSN holds a hundred PDP contexts, loses one to a revocation, and
// all of them to its own restart (TS 23.007).
func TestForeignSGSNHoldsContexts(t *testing.T) {
	gtptest.ShowsIn(t, "29.060/delete-pdp-context-request-sent", "", "nsapi")
	gtptest.ShowsIn(t, "29.060/delete-pdp-context-response-received", "", "cause")
	gtptest.ShowsIn(t, "29.060/restoration", "restart-of-a-peer")
	t.Parallel()
	const contexts = 100
	s := emulatorSite(t, contexts)
	sessions := func() []adminapi.Session { return list[adminapi.Session](s, "session") }
	capture := sniff(t, "udp and host "+s.gateway.String(), s.gateway.String()+":9")
	n := byte(0)
	var p *process
	attach := func() {
		n++
		p = s.sgsnemu(n, emulatedIMSI(0), emulate{"contexts": fmt.Sprint(contexts), "pingcount": "0", "pingrate": "200"})
	}
	attach()
	s.until("all contexts are there", func() bool {
		if p.said("Cause value: 199") { // busy, as with so many at once it may be: another SGSN tries
			p.kill()
			attach()
		}
		return len(sessions()) == contexts && !slices.ContainsFunc(sessions(), func(v adminapi.Session) bool { return v.Peer != s.ip(20, n).String() })
	})
	seen := map[string]bool{}
	for _, v := range sessions() {
		seen[v.Address] = true
		if v.Protocol != "GTPv1" || v.RAT != "UTRAN" {
			t.Errorf("session %+v", v)
		}
	}
	if len(seen) != contexts {
		t.Errorf("%d addresses for %d contexts", len(seen), contexts)
	}
	before := answered(p)
	s.until("each has pinged", func() bool { return answered(p) >= before+2*contexts })
	s.sealctl("device", "revoke", "--yes", "--reason", "lost", emulatedIMSI(contexts-1))
	s.until("the revoked one is gone", func() bool { return len(sessions()) == contexts-1 })

	p.kill()
	again := s.sgsnemu(n, emulatedIMSI(1), nil)
	s.until("the restarted SGSN had one context", func() bool { return again.said("delete PDP context response") })
	s.until("the lost contexts are released", func() bool { return len(sessions()) == 0 })

	file := capture()
	if file == "" {
		return
	}
	pinged := map[string]bool{}
	for _, to := range read(t, file, fmt.Sprintf("icmp.type == 0 && ip.dst == %v", s.ip(20, n)), "ip.dst") { // outer and inner
		pinged[to] = true
	}
	if len(pinged) != contexts {
		t.Errorf("%d of %d contexts had a ping answered", len(pinged), contexts)
	}
	// The SGSN was told of the revocation and of nothing else.
	if got := read(t, file, fmt.Sprintf("gtp.message == 0x14 && ip.src == %v && ip.dst == %v", s.gateway, s.ip(20, n)), "gtp.nsapi"); len(got) != 1 {
		t.Errorf("Delete PDP Context Requests of the gateway for the NSAPIs %v", got)
	}
	if got := read(t, file, fmt.Sprintf("gtp.message == 0x15 && ip.src == %v && ip.dst == %v", s.ip(20, n), s.gateway), "gtp.cause"); !slices.Equal(got, []string{"128"}) {
		t.Errorf("the SGSN answered them with %v", got)
	}
	dissect(t, file, s.gateway)
}

// answered is how many of its pings the emulator has had answered.
func answered(p *process) int { return strings.Count(p.words(), " icmp_seq=") }
