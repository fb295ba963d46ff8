package radius

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/policy/ident"
)

// client is a program that speaks RADIUS and isn't ours.
func client(t *testing.T, name, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is missing; it is in Debian's %s", name, pkg)
		}
		t.Skipf("without %s (Debian's %s)", name, pkg)
	}
	return path
}

// served runs a server on a port of this machine, where every address is a router's.
func served(t *testing.T) (port int, s *Server) {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s = New(Config{
		Router: func(netip.Addr) (Router, bool) { return Router{routerIMSI, []byte("testing123")}, true },
		Judge: func(_ string, mac ident.MAC) error {
			if mac.String() != "02:00:5e:10:00:01" {
				return fmt.Errorf("%s is not on the list", mac)
			}
			return nil
		},
		Holds: func() bool { return true }, Requests: 100, Logger: slog.New(slog.DiscardHandler),
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, conn) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return conn.LocalAddr().(*net.UDPAddr).Port, s
}

// FreeRADIUS's client asks as hostapd does, and checks the answers' authenticators.
func TestRadclient(t *testing.T) {
	radclient := client(t, "radclient", "freeradius-utils")
	port, s := served(t)
	for _, c := range []struct {
		name, mac, secret, want, count string
		fails                          bool
		waits                          string // seconds, for the answer; a busy machine may take long
	}{
		{"a barrel", "02005e100001", "testing123", "Received Access-Accept", "accept", false, "60"},
		{"a stranger", "02005e999999", "testing123", "Received Access-Reject", "reject", true, "60"},
		{"another secret", "02005e100001", "guessed", "No reply from server", "drop-message-authenticator", true, "1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command(radclient, "-x", "-r", "1", "-t", c.waits, fmt.Sprintf("127.0.0.1:%d", port), "auth", c.secret)
			cmd.Stdin = strings.NewReader(fmt.Sprintf(
				"User-Name = %[1]q, User-Password = %[1]q, Calling-Station-Id = %[2]q, NAS-Port-Type = Wireless-802.11, Message-Authenticator = 0x00\n",
				c.mac, dashed(c.mac)))
			out, err := cmd.CombinedOutput()
			if !strings.Contains(string(out), c.want) || (err != nil) != c.fails {
				t.Errorf("%v, want %q:\n%s", err, c.want, out)
			}
			if c.want == "Received Access-Accept" && !strings.Contains(string(out), "Session-Timeout = 300") {
				t.Errorf("without Session-Timeout:\n%s", out)
			}
			// The server may not have come to what isn't answered when the client ends.
			for began := time.Now(); s.Counters()[c.count] == 0; time.Sleep(time.Millisecond) {
				if time.Since(began) > time.Minute {
					t.Fatalf("counted %v, want %s", s.Counters(), c.count)
				}
			}
		})
	}
}

// eapol_test is built from hostapd's own RADIUS client, which drops an answer whose
// Message-Authenticator is wrong. It speaks EAP, which is no way to join here: it has
// to take our refusal for authentic.
func TestHostapdsClientTakesAnswers(t *testing.T) {
	tester := client(t, "eapol_test", "eapoltest")
	port, s := served(t)
	conf := filepath.Join(t.TempDir(), "eap.conf")
	if err := os.WriteFile(conf, []byte("network={\n key_mgmt=IEEE8021X\n eap=MD5\n identity=\"02005e100001\"\n password=\"02005e100001\"\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	out, _ := exec.CommandContext(ctx, tester, "-c", conf, "-a", "127.0.0.1", "-p", fmt.Sprint(port), "-s", "testing123", "-t", "60", "-r", "0").CombinedOutput()
	text := string(out)
	if !strings.Contains(text, "Received RADIUS packet matched with a pending request") || !strings.Contains(text, "Access-Reject") ||
		strings.Contains(text, "Message-Authenticator - dropped") || s.Counters()["reject-no-device"] == 0 {
		t.Errorf("counted %v:\n%s", s.Counters(), text)
	}
}
