package e2e

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
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
	"time"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/setup"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/tools/e2e/people"
	"github.com/sealedge/sealedge/tools/sealsim/check"
)

// The check of a running gateway, as it is installed: the program alone in a root
// directory, as nobody in particular. It leaves no session, no use and no order
// behind, and the audit trail has all of it; and what is wrong it tells apart.
func TestCheck(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	s.startServer()
	s.enlist(1)
	c := s.checker(1)

	c.byTheBook()

	// Policy decides, and the seal server answers.
	well := c.ok()
	if well.Decision != string(wire.CodeBarrelNotBound) || well.PolicyRevision == 0 {
		t.Errorf("%+v", well)
	}
	c.recorded(well, wire.CodeBarrelNotBound)
	c.recorded(c.ok("--gtpv1"), wire.CodeBarrelNotBound)
	if again := c.ok("--user", people.Applicant, "--password-file", c.file("password", people.Password(people.Applicant))); again.step(check.StepLogin) == nil {
		t.Errorf("nobody logged in: %+v", again.Steps)
	}

	// With a barrel the seal server is asked about the order.
	const id = "CHECK-1"
	psk, public, mac := make([]byte, 32), make(ed25519.PublicKey, ed25519.PublicKeySize), "02:00:5e:10:77:01"
	_, _ = rand.Read(psk)
	_, _ = rand.Read(public)
	key := base64.StdEncoding.EncodeToString(psk)
	s.importDevices(map[string]any{"barrels": []any{map[string]string{
		"id": id, "mac": mac, "seal_type": "contract", "psk_identity": id, "psk": key,
		"receipt_public_key": base64.StdEncoding.EncodeToString(public), "checked_out_to": imsi(1),
	}}})
	seal := []string{"--barrel", id, "--barrel-mac", mac, "--barrel-psk-file", c.file("psk", key+"\n")}
	c.recorded(c.ok(append(seal, "--user", people.Applicant, "--password-file", c.file("password", people.Password(people.Applicant)))...), wire.CodeOrderUnknown)
	if stranger := c.ok(seal...); stranger.Decision != string(wire.CodeTokenInvalid) {
		t.Errorf("without a user: %+v", stranger)
	}

	// What is wrong, each with a code of its own, and nothing left behind.
	other, err := setup.Init(filepath.Join(t.TempDir(), "other"), setup.Options{Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	strange, err := os.ReadFile(filepath.Join(filepath.Dir(other.GrantKey), "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	taken, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(s.ip(20, 9), 2123)))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	quick := []string{"--t3", "200ms", "--n3", "1"} // where nobody answers
	tunnel := []string{"--n3", "9"}                 // where all but the tunnel answers
	for _, f := range []struct {
		what    string
		outcome check.Outcome
		step    string
		code    string // "" is any
		hint    string // has it
		args    []string
	}{
		{"another CA", check.TLS, check.StepPhoneAPI, "", "another CA", []string{"--ca", c.file("other.pem", string(strange))}},
		{"a SIM that isn't listed", check.Refused, check.StepAttach, "cause 93", "allow-list", []string{"--imsi", imsi(2)}},
		{"the same over GTPv1", check.Refused, check.StepAttach, "cause 222", "allow-list", []string{"--imsi", imsi(2), "--gtpv1"}},
		{"an APN that isn't there", check.Refused, check.StepAttach, "cause 78", "APN", []string{"--apn", "other.corp"}},
		{"a carrier that isn't allowed", check.Silent, check.StepEcho, "", "allowed_peers", append(quick, "--local", s.ip(21, 1).String())},
		{"an address that nobody has", check.Silent, check.StepEcho, "", "nothing listens", append(quick, "--gateway", s.ip(10, 9).String())},
		{"ports that are taken", check.Local, check.StepEcho, "", "--local", []string{"--local", s.ip(20, 9).String()}},
		{"another inner address", check.Tunnel, check.StepTunnel, "", "--inner", append(tunnel, "--inner", "10.90.0.99")},
		{"another port inside", check.Tunnel, check.StepTunnel, "", "--inner-port", append(tunnel, "--inner-port", "444")},
		{"a wrong password", check.Login, check.StepLogin, string(wire.CodeLoginFailed), "password", []string{"--user", people.Applicant, "--password-file", c.file("wrong", "wrong")}},
		{"a barrel with another key", check.Barrel, check.StepBarrel, "", "pre-shared key", append(seal[:4:4], "--barrel-psk-file", c.file("other-psk", base64.StdEncoding.EncodeToString(public)))},
		{"another seal server", check.Decision, check.StepDecision, string(wire.CodeServerNotAllowed), "--seal-server", []string{"--seal-server", "127.9.9.9:8443"}},
		{"another decision", check.Decision, check.StepDecision, string(wire.CodeBarrelNotBound), "--expect", []string{"--expect", "order-unknown"}},
	} {
		c.fails(f.what, f.outcome, f.step, f.code, f.hint, f.args...)
	}
	if _, code, words := c.run("--imsi", "12"); code != check.ExitCode(check.Usage) || !strings.Contains(words, "IMSI") {
		t.Errorf("a number that is none: exit code %d, %s", code, words)
	}

	s.server.stop()
	c.fails("a dead seal server", check.SealServer, check.StepSealServer, string(wire.CodeServerUnreachable), "upstream")
	s.startServer()
	c.ok()
	if d := c.sessions(); len(d) > 0 {
		t.Errorf("sessions are left: %+v", d)
	}
	s.nodes[0].stop()
	c.fails("a dead gateway", check.Silent, check.StepEcho, "", "no node holds", quick...)
}

// byTheBook executes docs/check.md, at the site's own addresses.
func (c *checker) byTheBook() {
	c.Helper()
	program, err := os.ReadFile(filepath.Join(c.jail, "sealsim"))
	if err != nil {
		c.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "sealsim"), program, 0o700); err != nil {
		c.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(module, "docs", "check.md"))
	if err != nil {
		c.Fatal(err)
	}
	book := strings.ReplaceAll(string(text), "127.0.", fmt.Sprintf("%d.%d.", c.block[0], c.block[1]))
	steps := step.FindAllStringSubmatch(book, -1)
	if len(steps) < 3 {
		c.Fatalf("check.md has %d steps", len(steps))
	}
	for _, m := range steps {
		c.shell("check.md", m[1])
	}
	c.leavesNothing("check.md")
	// What the page shows is what the program says, but for numbers.
	said, err := os.ReadFile(c.site.file("said"))
	if err != nil {
		c.Fatal(err)
	}
	_, shown, _ := strings.Cut(book, "```text\n")
	shown, _, _ = strings.Cut(shown, "```")
	plain := func(s string) string { return regexp.MustCompile(`[\d. -]+ms|[\d.]+`).ReplaceAllString(s, "#") }
	if plain(shown) != plain(string(said)) {
		c.Errorf("check.md shows\n%s\nand the program says\n%s", shown, said)
	}
}

// checker runs the check against a site.
type checker struct {
	*site
	jail string // what the program finds in its root directory
	args []string

	opened int // sessions that the audit trail had when it was last read
}

// found is a report as the program gives it.
type found struct{ check.Report }

func (f *found) step(name string) *check.Step {
	for i := range f.Steps {
		if f.Steps[i].Name == name {
			return &f.Steps[i]
		}
	}
	return nil
}

// checker builds the program as an image has it, and makes it a directory that
// anybody may read.
func (s *site) checker(n int) *checker {
	s.Helper()
	jail, err := os.MkdirTemp("", "sealedge-check-")
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = os.RemoveAll(jail) })
	if err := os.Chmod(jail, 0o755); err != nil {
		s.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", filepath.Join(jail, "sealsim"), "./tools/sealsim")
	build.Dir, build.Env = module, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		s.Fatalf("%v: %s", err, out)
	}
	c := &checker{site: s, jail: jail}
	ca, err := os.ReadFile(s.file("pki", "ca.pem"))
	if err != nil {
		s.Fatal(err)
	}
	c.args = []string{
		"check", "--json", "--n3", "29", "--gateway", s.gateway.String(), "--local", s.ip(20, 7).String(), "--inner", s.inner.String(),
		"--imsi", imsi(n), "--imei", handset(n), "--apn", s.apn.String(), "--seal-server", s.sealServer().String(), "--ca", c.file("ca.pem", string(ca)),
	}
	return c
}

// file makes a file for the program, and tells how that calls it.
func (c *checker) file(name, text string) string {
	c.Helper()
	path := filepath.Join(c.jail, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		c.Fatal(err)
	}
	if os.Geteuid() != 0 {
		return path
	}
	return "/" + name
}

// run checks. As root, the program has its directory for all there is, and another
// user.
func (c *checker) run(args ...string) (*found, int, string) {
	c.Helper()
	path := filepath.Join(c.jail, "sealsim")
	var attributes *syscall.SysProcAttr
	if os.Geteuid() == 0 {
		path = "/sealsim"
		attributes = &syscall.SysProcAttr{Chroot: c.jail, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
	}
	ctx, cancel := context.WithTimeout(c.Context(), 4*patience) // it has its own, --timeout
	defer cancel()
	cmd := exec.CommandContext(ctx, path, append(slices.Clone(c.args), args...)...)
	cmd.SysProcAttr, cmd.Dir, cmd.Env = attributes, "/", []string{}
	var words strings.Builder
	cmd.Stderr = &words
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.Fatal(err)
	}
	f := new(found)
	if len(out) > 0 {
		if err := json.Unmarshal(out, f); err != nil {
			c.Fatalf("%v: %s", err, out)
		}
	}
	return f, cmd.ProcessState.ExitCode(), words.String()
}

// ok is a check that finds all well, and leaves nothing.
func (c *checker) ok(args ...string) *found {
	c.Helper()
	f, code, words := c.run(args...)
	if code != 0 || f.Outcome != check.OK || f.step(check.StepDetach) == nil {
		c.Fatalf("check %v: exit code %d, %+v %s", args, code, f.Report, words)
	}
	c.leavesNothing(fmt.Sprint(args))
	return f
}

func (c *checker) fails(what string, outcome check.Outcome, step, code, hint string, args ...string) {
	c.Helper()
	f, exit, words := c.run(args...)
	s := f.step(step)
	switch {
	case exit != check.ExitCode(outcome) || f.Outcome != outcome || f.ExitCode != exit || s == nil || s.OK || s.Outcome != outcome:
		c.Errorf("%s: exit code %d, want %d (%s) of %s: %+v %s", what, exit, check.ExitCode(outcome), outcome, step, f.Report, words)
	case code != "" && s.Code != code:
		c.Errorf("%s: code %q, want %q", what, s.Code, code)
	case !strings.Contains(s.Hint, hint):
		c.Errorf("%s: the hint doesn't speak of %q: %s", what, hint, s.Hint)
	}
	c.leavesNothing(what)
}

func (c *checker) sessions() []adminapi.Session { return list[adminapi.Session](c.site, "session") }

// leavesNothing: no session, no use, no order, if there is anybody to ask.
func (c *checker) leavesNothing(after string) {
	c.Helper()
	if c.nodes[0].ended() {
		return
	}
	if left := c.sessions(); len(left) > 0 {
		c.Errorf("%s: sessions are left: %+v", after, left)
	}
	if left := list[adminapi.Use](c.site, "use"); len(left) > 0 {
		c.Errorf("%s: uses are left: %+v", after, left)
	}
	if left := list[adminapi.Order](c.site, "order"); len(left) > 0 {
		c.Errorf("%s: orders are left: %+v", after, left)
	}
}

// recorded: the audit trail has the session, the decision about this order and the
// end of the session, and neither reservation nor grant.
func (c *checker) recorded(f *found, code wire.Code) {
	c.Helper()
	c.until("the decision about "+f.Order+" is recorded", func() bool {
		var trail []adminapi.AuditLine
		if err := json.Unmarshal([]byte(c.sealctl("audit", "search", "--order", f.Order, "-o", "json")), &trail); err != nil {
			c.Fatal(err)
		}
		if len(trail) > 1 {
			c.Fatalf("order %s: %+v", f.Order, trail)
		}
		return len(trail) == 1 && trail[0].Type == "RECORD_DECISION" && strings.Contains(string(trail[0].Detail), string(code))
	})
	var trail []adminapi.AuditLine
	if err := json.Unmarshal([]byte(c.sealctl("audit", "search", "--device", imsi(1), "-o", "json")), &trail); err != nil {
		c.Fatal(err)
	}
	kinds := make(map[string]int)
	for _, l := range trail {
		kinds[l.Type]++
	}
	if n := kinds["OPEN_SESSION"]; n <= c.opened || kinds["CLOSE_PATH"] != n || kinds["RESERVE_USES"] > 0 {
		c.Errorf("with %d sessions opened before, the audit trail has %v", c.opened, kinds)
	}
	c.opened = kinds["OPEN_SESSION"]
}
