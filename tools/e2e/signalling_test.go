package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/setup"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
)

// cause is what a carrier was refused with; 0: it wasn't.
func cause(err error) uint8 {
	var refused *carrier.RefusedError
	if errors.As(err, &refused) {
		return refused.Cause
	}
	return 0
}

// A session through everything that a carrier does to it: both versions, both
// families, other qualities of service, suspension, and in the end partial
// failures and restarts. The holder dies on the way.
func TestCarrierProcedures(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/create-session-request", "")
	gtptest.ShowsIn(t, "29.274/modify-bearer-request", "handover-from-an-sgsn-of-gn-gp")
	gtptest.ShowsIn(t, "29.274/modify-bearer-command", "")
	gtptest.ShowsIn(t, "29.274/update-bearer-request", "")
	gtptest.ShowsIn(t, "29.274/change-notification-request", "")
	gtptest.ShowsIn(t, "29.274/suspend-notification", "")
	gtptest.ShowsIn(t, "29.274/resume-notification", "")
	gtptest.ShowsIn(t, "29.274/bearer-resource-command", "")
	gtptest.ShowsIn(t, "29.274/delete-pdn-connection-set-request", "")
	gtptest.ShowsIn(t, "29.274/restoration", "restart-of-a-peer")
	gtptest.ShowsIn(t, "29.060/update-pdp-context-request", "", "handover-from-an-sgw")
	gtptest.ShowsIn(t, "29.060/ms-info-change-notification-request", "")
	t.Parallel()
	gateway6 := netip.MustParseAddr("fd00:90::1")
	s := newSite(t, 3, func(o *setup.Options) { o.Inner6, o.Pool6 = gateway6, netip.MustParsePrefix("fd00:90::/48") })
	sgw, tap := s.carrier(1)
	sgsn, tap2 := s.carrier(2)
	sim := s.enlist(1)
	sim.PDNType = carrier.IPv4v6
	b, err := sgw.Attach(s.soon(), sim)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Autoconfigure(s.soon()); err != nil {
		t.Fatal(err)
	}
	granted := b.Granted()
	lives := func(where string) {
		t.Helper()
		for _, to := range []netip.Addr{s.inner, gateway6} {
			if _, err := b.Ping(s.soon(), to); err != nil {
				t.Fatalf("%s: %s doesn't answer: %v", where, to, err)
			}
		}
		if now := b.Granted(); now.Address != granted.Address || now.Prefix != granted.Prefix {
			t.Fatalf("%s: the addresses were %v and %v, and are %v and %v", where, granted.Address, granted.Prefix, now.Address, now.Prefix)
		}
	}
	lives("4G")
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"to 3G", func() error { return b.UpdatePDPContext(s.soon(), carrier.Move{RAT: carrier.UTRAN, To: sgsn}) }},
		{"a change of location in 3G", func() error { return b.NotifyChange(s.soon(), carrier.Move{Cell: 4}) }},
		{"to 2G", func() error { return b.UpdatePDPContext(s.soon(), carrier.Move{RAT: carrier.GERAN}) }},
		{"back to 4G", func() error { return b.ModifyBearer(s.soon(), carrier.Move{RAT: carrier.EUTRAN, To: sgw}) }},
		{"another quality of service", func() error {
			return b.ModifyBearerCommand(s.soon(), carrier.AMBR{Up: 9000, Down: 8000}, carrier.QoS{QCI: 8, ARP: 3})
		}},
		{"a change of location", func() error { return b.NotifyChange(s.soon(), carrier.Move{TAC: 3, Cell: 5}) }},
		{"the holder dies", func() error {
			s.nodes[s.held()].kill()
			s.until("another node holds the address", func() bool { return s.holder() != nil })
			return nil
		}},
		{"suspended and resumed", func() error { return errors.Join(b.Suspend(s.soon()), b.Resume(s.soon())) }},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		lives(step.name)
	}
	if ambr := b.Granted().AMBR; ambr != (carrier.AMBR{Up: 9000, Down: 8000}) {
		t.Errorf("AMBR %+v", ambr)
	}
	if err := b.BearerResourceCommand(s.soon(), carrier.QoS{QCI: 1, ARP: 1}); cause(err) != 68 {
		t.Errorf("a dedicated bearer: %v", err)
	}
	if err := b.DeleteBearerCommand(s.soon(), 6); cause(err) == 0 {
		t.Error("a bearer that isn't there was deleted")
	}

	// A partial failure of the SGW takes one session of two.
	lost, spared := s.enlist(4), s.enlist(2)
	lost.ConnectionSet, spared.ConnectionSet = 7, 8
	if _, err := sgw.Attach(s.soon(), lost); err != nil {
		t.Fatal(err)
	}
	b2, err := sgw.Attach(s.soon(), spared)
	if err != nil {
		t.Fatal(err)
	}
	if err := sgw.DeleteConnectionSet(s.soon(), 7); err != nil {
		t.Fatal(err)
	}
	s.until("the lost set's session is gone", func() bool { return len(s.sessions(imsi(4))) == 0 })
	if _, err := b2.Ping(s.soon(), s.inner); err != nil || len(s.sessions(imsi(2))) != 1 {
		t.Errorf("the other set's session: %v", err)
	}

	// The SGW restarts: what it had is gone, what it makes since stays.
	sgw.SetRestartCounter(2)
	third := s.enlist(3)
	b3, err := sgw.Attach(s.soon(), third)
	if err != nil {
		t.Fatal(err)
	}
	s.until("the sessions of before the restart are gone", func() bool { return len(s.sessions(imsi(1)))+len(s.sessions(imsi(2))) == 0 })
	if _, err := b3.Ping(s.soon(), s.inner); err != nil || len(s.sessions(imsi(3))) != 1 {
		t.Errorf("the session made since: %v", err)
	}
	tap.noEnding() // whoever lost sessions isn't told of their end
	dissect(t, tap.capture(), s.gateway)
	dissect(t, tap2.capture(), s.gateway)
	s.auditVerifies()
}

// What ends here is told to the carrier, in the version that the session is of.
func TestCarrierIsToldOfEndings(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/delete-bearer-request", "")
	gtptest.ShowsIn(t, "29.274/delete-bearer-response", "")
	gtptest.ShowsIn(t, "29.060/delete-pdp-context-request-sent", "")
	t.Parallel()
	s := newSite(t, 1)
	c, _ := s.carrier(1)
	for n, gtpv1 := range []bool{false, true} {
		sim := s.enlist(n + 1)
		sim.GTPv1 = gtpv1
		b, err := c.Attach(s.soon(), sim)
		if err != nil {
			t.Fatal(err)
		}
		all := s.sessions(imsi(n + 1))
		if len(all) != 1 || (all[0].Protocol == "GTPv1") != gtpv1 {
			t.Fatalf("sessions %+v", all)
		}
		id, err := json.Marshal(all[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		s.sealctl("session", "end", "--yes", "--reason", "lost phone", string(id))
		select {
		case <-b.Done():
		case <-s.soon().Done():
			t.Fatalf("GTPv1 %t: the carrier wasn't told", gtpv1)
		}
		if len(s.sessions(imsi(n+1))) != 0 {
			t.Error("the session is still there")
		}
	}
}

// PAP and CHAP, as the policy demands them, checked on both versions.
func TestPasswords(t *testing.T) {
	gtptest.ShowsIn(t, "29.274/create-session-request", "pco-pap", "pco-chap")
	gtptest.ShowsIn(t, "29.274/create-session-response", "cause-user-authentication-failed-92")
	gtptest.ShowsIn(t, "29.060/create-pdp-context-response", "cause-user-authentication-failed-209")
	t.Parallel()
	s := newSite(t, 1)
	doc, err := os.ReadFile(s.layout.Policy)
	if err != nil {
		t.Fatal(err)
	}
	strict := strings.Replace(string(doc), "gateway: "+s.inner.String(), "gateway: "+s.inner.String()+"\n      authentication: any", 1)
	if strict == string(doc) {
		t.Fatal("the policy has no place for the demand")
	}
	file := s.file("strict.yaml")
	if err := os.WriteFile(file, []byte(strict), 0o600); err != nil {
		t.Fatal(err)
	}
	s.sealctl("policy", "apply", file)
	c, tap := s.carrier(1)
	sim := s.enlist(1, func(v *adminapi.Terminal) {
		v.Credentials = &adminapi.Credentials{User: "seal", Password: "a long password", CHAP: true}
	})
	for _, a := range []struct {
		login carrier.Login
		ok    bool
	}{
		{carrier.Login{}, false},
		{carrier.Login{User: "seal", Password: "a wrong password"}, false},
		{carrier.Login{User: "seal", Password: "a long password"}, true},
		{carrier.Login{User: "seal", Password: "a wrong password", CHAP: true}, false},
		{carrier.Login{User: "seal", Password: "a long password", CHAP: true}, true},
	} {
		for _, gtpv1 := range []bool{false, true} {
			sim.Login, sim.GTPv1 = a.login, gtpv1
			b, err := c.Attach(s.soon(), sim)
			refused := map[bool]uint8{false: 92, true: 209}[gtpv1]
			switch {
			case a.ok && err != nil:
				t.Errorf("%+v, GTPv1 %t: %v", a.login, gtpv1, err)
			case a.ok && b.Granted().Authentication != carrier.Acknowledged:
				t.Errorf("%+v, GTPv1 %t: not acknowledged", a.login, gtpv1)
			case !a.ok && cause(err) != refused:
				t.Errorf("%+v, GTPv1 %t: %v, want cause %d", a.login, gtpv1, err, refused)
			}
		}
	}
	dissect(t, tap.capture(), s.gateway)
}

// An operator follows one subscriber through an attach, a refusal and a
// failover, and reads it with a tool that is not ours.
func TestTrace(t *testing.T) {
	t.Parallel()
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		lacking(t, "tshark is not installed: nothing to read the trace with (install the package tshark)")
	}
	s := newSite(t, 3)
	c, _ := s.carrier(1)
	sim, other := s.enlist(1), s.enlist(2)

	file := filepath.Join(t.TempDir(), "trace.pcapng")
	run, stop := context.WithCancel(s.Context())
	defer stop()
	cmd := exec.CommandContext(run, filepath.Join(bin, "sealctl"), "--context", s.layout.Context, "trace", "imsi="+imsi(1), "-w", file)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	words, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	packets := func() []string {
		// A capture that is being written may end in the middle of a block.
		out, _ := exec.Command(tshark, "-r", file, "-n", "-T", "fields", "-E", "separator=|", "-e", "_ws.col.Info", "-e", "frame.comment").Output()
		return strings.Split(strings.TrimSpace(string(out)), "\n")
	}
	seen := func(what string, words ...string) {
		t.Helper()
		s.until(what+" is in the trace", func() bool {
			return slices.ContainsFunc(packets(), func(p string) bool {
				return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(p, w) })
			})
		})
	}
	s.until("the trace has begun", func() bool { info, err := os.Stat(file); return err == nil && info.Size() > 0 })

	if _, err := c.Attach(s.soon(), other); err != nil { // somebody else
		t.Fatal(err)
	}
	b, err := c.Attach(s.soon(), sim)
	if err != nil {
		t.Fatal(err)
	}
	seen("the attach", "Create Session Request", "accepted")
	seen("its answer", "Create Session Response")
	wrong := sim
	wrong.IMEI = other.IMEI
	if _, err := c.Attach(s.soon(), wrong); cause(err) != 93 {
		t.Fatalf("another handset: %v", err)
	}
	seen("the refusal with its reason", "Create Session Request", "handset")
	s.nodes[s.held()].kill()
	s.until("another node holds the address", func() bool { return s.holder() != nil })
	s.until("a move is answered and in the trace", func() bool {
		if err := b.ModifyBearer(s.soon(), carrier.Move{NewTunnel: true}); err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(packets(), func(p string) bool { return strings.Contains(p, "Modify Bearer Request") })
	})
	stop()
	said, _ := io.ReadAll(bufio.NewReader(words))
	if err := cmd.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("sealctl trace: %v: %s", err, said)
	}
	whole, err := exec.Command(tshark, "-r", file, "-n", "-T", "fields", "-e", "e212.imsi").CombinedOutput()
	if err != nil || strings.Contains(string(whole), imsi(2)) || !strings.Contains(string(whole), imsi(1)) {
		t.Errorf("%v; the subscribers in it:\n%s", err, whole)
	}
}
