package e2e

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"layeh.com/radius"
	"layeh.com/radius/rfc2865"
	"layeh.com/radius/rfc2869"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/tools/sealsim/phone"
)

// A travel router is configured with what is exported for it and nothing else. It has
// no carrier: it comes over WireGuard and asks over RADIUS who may join its Wi-Fi.
// Who is revoked may not any more, a stranger is an alarm, and the node that takes
// the gateway's address over answers as well.
func TestTravelRouter(t *testing.T) {
	t.Parallel()
	s := makeSite(t, 3)
	s.change = func(_ int, cmd *exec.Cmd) { cmd.Env = append(os.Environ(), "SEALEDGE_RADIUS_PORT=1812") }
	for n := range 3 {
		s.startNode(n)
	}
	s.until("a node holds the gateway address", func() bool { return s.holder() != nil })
	s.sealctl("policy", "apply", s.layout.Policy)

	own := netip.MustParseAddr("10.90.200.1")
	sim := s.enlist(1, func(t *adminapi.Terminal) { t.StaticAddress = own.String() })
	s.barrel(1, sim)
	s.barrel(2, sim)
	dir := s.file("van")
	export := func() (string, error) {
		return s.trySealctl("router", "export", imsi(1), "--dir", dir, "--format", "hostapd")
	}
	_, err := export()
	if err == nil || !strings.Contains(err.Error(), "--wireguard-public-key ") {
		t.Fatalf("the first export says nothing of the key: %v", err)
	}
	_, hint, _ := strings.Cut(err.Error(), "--wireguard-public-key ")
	key, _, _ := strings.Cut(hint, "'")
	s.sealctl("device", "update", imsi(1), "--wireguard-public-key", key)
	if _, err := export(); err != nil {
		t.Fatal(err)
	}
	access, tunnel := settingsIn(t, filepath.Join(dir, "hostapd.conf")), settingsIn(t, filepath.Join(dir, "sealedge.conf"))
	if access["macaddr_acl"] != "2" {
		t.Fatalf("the access point doesn't ask: %v", access)
	}

	c, _ := s.carrier(1)
	van := s.phone(c, sim, func(cfg *phone.Config) {
		cfg.Fallback = &phone.Fallback{
			PrivateKey: key32(t, tunnel["PrivateKey"]), GatewayKey: key32(t, tunnel["PublicKey"]),
			Gateway: netip.MustParseAddrPort(tunnel["Endpoint"]), Address: netip.MustParsePrefix(tunnel["Address"]).Addr(),
		}
	})
	if err := van.SwitchToFallback(s.soon()); err != nil {
		t.Fatal(err)
	}
	conn, err := van.Stack().DialUDP(netip.MustParseAddrPort(access["auth_server_addr"] + ":" + access["auth_server_port"]))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	may := func(mac string) bool {
		t.Helper()
		return asked(t, s, conn, mac, []byte(access["auth_server_shared_secret"])) == radius.CodeAccessAccept
	}
	if !may("02005e100001") || !may("02005e100002") || may("02005e999999") {
		t.Error("the router's barrels may not join, or a stranger may")
	}
	s.until("the stranger is an alarm in the chain", func() bool {
		return strings.Contains(s.sealctl("audit", "export"), "02:00:5e:99:99:99, which may be on no hotspot")
	})
	s.sealctl("device", "revoke", barrelID(2), "--reason", "lost", "--yes")
	s.until("the holder knows of it", s.caughtUp)
	if may("02005e100002") {
		t.Error("a revoked barrel may join")
	}

	s.nodes[s.held()].kill()
	s.until("another node holds the address", func() bool { return s.holder() != nil })
	s.ping(van) // it takes 15 s to see that the new holder doesn't have its keys
	if !may("02005e100001") || may("02005e100002") {
		t.Error("the new holder decides otherwise")
	}
}

// settingsIn are the values of a file with one on each line; spaces around = don't
// count.
func settingsIn(t *testing.T, file string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if k, v, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			all[strings.TrimSpace(k)] = strings.TrimSpace(v)
		}
	}
	return all
}

// asked asks as hostapd does, again until there is an answer, and checks that it is
// authentic.
func asked(t *testing.T, s *site, conn net.Conn, mac string, secret []byte) radius.Code {
	t.Helper()
	p := radius.New(radius.CodeAccessRequest, secret)
	p.Add(rfc2865.UserName_Type, radius.Attribute(mac))
	hidden, err := radius.NewUserPassword([]byte(mac), secret, p.Authenticator[:])
	if err != nil {
		t.Fatal(err)
	}
	p.Add(rfc2865.UserPassword_Type, hidden)
	p.Add(rfc2869.MessageAuthenticator_Type, make(radius.Attribute, md5.Size))
	request, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	copy(request[len(request)-md5.Size:], authenticator(request, secret))
	answer := make([]byte, radius.MaxPacketLength)
	for ctx := s.soon(); ctx.Err() == nil; {
		if _, err := conn.Write(request); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(answer)
		if err != nil || answer[1] != request[1] { // none yet, or to a request before
			continue
		}
		got := answer[:n]
		unsigned := bytes.Clone(got)
		copy(unsigned[4:20], request[4:20])
		clear(unsigned[22:38])
		if !radius.IsAuthenticResponse(got, request, secret) || !hmac.Equal(authenticator(unsigned, secret), got[22:38]) {
			t.Fatalf("the answer %x is not authentic", got)
		}
		return radius.Code(got[0])
	}
	t.Fatal(fmt.Errorf("no answer about %s", mac))
	return 0
}

func authenticator(packet, secret []byte) []byte {
	h := hmac.New(md5.New, secret)
	h.Write(packet)
	return h.Sum(nil)
}

// key32 is a key in base64.
func key32(t *testing.T, text string) [32]byte {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(raw) != 32 {
		t.Fatalf("%q is no key", text)
	}
	return [32]byte(raw)
}
