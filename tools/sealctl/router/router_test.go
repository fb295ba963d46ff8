package router

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/edge/adminapi"
)

var update = flag.Bool("update", false, "write the golden files")

func settings(byRADIUS bool) Settings {
	return Settings{
		Router: adminapi.Router{
			IMSI: "460010000000001", Label: "van 3", Address: "10.90.0.11", Gateway: "10.90.0.1",
			Endpoints: []string{"192.0.2.1:51820", "192.0.2.2:51820"}, ServerKey: "bmVpdGhlciBzZWNyZXQgbm9yIHB1YmxpYyBrZXkhISE=", MTU: 1400,
			PhonePort: 443, BarrelPort: 5684, RADIUS: &adminapi.RouterRADIUS{Port: 1812, Secret: "0123456789abcdef0123456789abcdef01234567"},
			Devices: []adminapi.RouterDevice{
				{MAC: "02:00:5e:10:00:01", Role: "barrel", Barrel: "SB-0001"}, {MAC: "02:00:5e:20:00:01", Role: "phone"},
			},
			Version: 812, Revision: 3,
		},
		PrivateKey: "dGhlIHByaXZhdGUga2V5IG9mIHRoaXMgcm91dGVyISE=", ByRADIUS: byRADIUS,
		SSID: "seal's van", Passphrase: "it's a secret", Country: "DE", Channel: 36, Radio: "radio0", Interface: "wlan0",
		LAN: netip.MustParsePrefix("192.168.86.1/24"),
	}
}

// kinds are the ways to write a router's files, with the directory of what is
// expected.
var kinds = map[string]struct {
	format   string
	byRADIUS bool
}{
	"openwrt-list": {"openwrt", false}, "openwrt-radius": {"openwrt", true},
	"hostapd-list": {"hostapd", false}, "hostapd-radius": {"hostapd", true},
}

func TestFiles(t *testing.T) {
	for name, k := range kinds {
		files, err := settings(k.byRADIUS).Files(k.format)
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join("testdata", name)
		if *update {
			if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
				t.Fatal(err)
			}
		}
		for _, f := range files {
			golden := filepath.Join(dir, f.Name)
			if *update {
				if err := os.WriteFile(golden, []byte(f.Content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if f.Content != string(want) {
				t.Errorf("%s is now\n%s", golden, f.Content)
			}
		}
		if there, err := os.ReadDir(dir); err != nil || len(there) != len(files) {
			t.Errorf("%s: %d files are expected, %d made, %v", name, len(there), len(files), err)
		}
	}
}

// Whatever stands in a record or on a command line, no line of a file is somebody
// else's.
func TestNothingIsSmuggledIn(t *testing.T) {
	for name, spoil := range map[string]func(*Settings){
		"a line in the SSID":       func(s *Settings) { s.SSID = "seal\nmacaddr_acl=0" },
		"an empty SSID":            func(s *Settings) { s.SSID = "" },
		"a long SSID":              func(s *Settings) { s.SSID = strings.Repeat("x", 33) },
		"a line in the passphrase": func(s *Settings) { s.Passphrase = "12345678\nwpa=0" },
		"a short passphrase":       func(s *Settings) { s.Passphrase = "1234567" },
		"a line in the interface":  func(s *Settings) { s.Interface = "wlan0\naccept" },
		"no radio":                 func(s *Settings) { s.Radio = "" },
		"a country in small":       func(s *Settings) { s.Country = "de" },
		"a line in the endpoint":   func(s *Settings) { s.Endpoint = "a:1\nPostUp = sh" },
		"an endpoint without port": func(s *Settings) { s.Endpoint = "vpn.example.org" },
		"no endpoint":              func(s *Settings) { s.Endpoints = nil },
		"a line in the key":        func(s *Settings) { s.PrivateKey += "\n" },
		"a line in their key":      func(s *Settings) { s.ServerKey = "x\ny" },
		"a line in the shared key": func(s *Settings) { s.PresharedKey = "x\ny" },
		"a line in the secret":     func(s *Settings) { s.RADIUS.Secret = "x\nmacaddr_acl=0 12345" },
		"a short secret":           func(s *Settings) { s.RADIUS.Secret = "x" },
		"no RADIUS":                func(s *Settings) { s.RADIUS = nil },
		"no MAC":                   func(s *Settings) { s.Devices[0].MAC = "02:00:5e:10:00:01'" },
		"a line in the role":       func(s *Settings) { s.Devices[0].Role = "x\n02:00:5e:99:99:99" },
		"a line in the IMSI":       func(s *Settings) { s.IMSI = "46\nx" },
		"the gateway is a name":    func(s *Settings) { s.Gateway = "gateway" },
		"no address":               func(s *Settings) { s.Address = "" },
		"a LAN of the tunnel":      func(s *Settings) { s.LAN = netip.MustParsePrefix("10.90.0.7/24") },
		"a LAN without a host":     func(s *Settings) { s.LAN = netip.MustParsePrefix("192.168.86.0/24") },
		"a LAN of nobody":          func(s *Settings) { s.LAN = netip.MustParsePrefix("192.168.86.1/32") },
	} {
		s := settings(true)
		spoil(&s)
		if files, err := s.Files("openwrt"); err == nil {
			t.Errorf("%s: written all the same:\n%s", name, files[0].Content)
		} else if strings.Contains(err.Error(), "secret\n") || strings.Contains(err.Error(), settings(true).PrivateKey) || strings.Contains(err.Error(), "12345678") {
			t.Errorf("%s: the error has a secret in it: %v", name, err)
		}
	}
	if _, err := settings(false).Files("cisco"); err == nil {
		t.Error("an unknown format is written")
	}
	s := settings(false)
	s.Label = "van\nmacaddr_acl=0"
	files, err := s.Files("hostapd")
	if err != nil || strings.Contains(files[0].Content, "macaddr_acl=0") {
		t.Errorf("%v:\n%s", err, files[0].Content)
	}
}

func TestQuoted(t *testing.T) {
	for v, want := range map[string]string{"van": "'van'", "li's van": `'li'\''s van'`, "'; reboot": `''\''; reboot'`} {
		if got := quoted(v); got != want {
			t.Errorf("%s is quoted %s, want %s", v, got, want)
		}
	}
}

// program is one that isn't ours and reads such files.
func program(t *testing.T, name, pkg string) string {
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

// hostapd takes the configuration and begins to serve with it. There is no radio, so
// its driver is "none": that a station is let in can't be shown here.
func TestHostapdTakesIt(t *testing.T) {
	hostapd := program(t, "hostapd", "hostapd")
	for _, byRADIUS := range []bool{false, true} {
		s := settings(byRADIUS)
		s.Interface = "lo"
		s.Address, s.Gateway = "127.0.0.1", "127.0.0.2" // that RADIUS can be sent from
		s.Country = ""                                  // for which it would wait seconds
		files, err := s.Files("hostapd")
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		for _, f := range files {
			f.Content = strings.NewReplacer("driver=nl80211", "driver=none", "/etc/hostapd/", dir+"/", "/run/hostapd", dir+"/run").Replace(f.Content)
			if err := os.WriteFile(filepath.Join(dir, f.Name), []byte(f.Content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
		var out seen
		out.want, out.found = []byte("AP-ENABLED"), stop
		// It buffers what it says, unless it is told not to.
		cmd := exec.CommandContext(ctx, "stdbuf", "-oL", hostapd, "-dd", filepath.Join(dir, "hostapd.conf"))
		cmd.Stdout, cmd.Stderr = &out, &out
		_ = cmd.Run() // it is killed as soon as it serves
		stop()
		text := out.all.String()
		if !strings.Contains(text, "AP-ENABLED") || strings.Contains(text, "errors found") {
			t.Errorf("RADIUS %v:\n%s", byRADIUS, text)
		}
		if byRADIUS && !strings.Contains(text, "RADIUS Authentication server 127.0.0.2:1812") {
			t.Errorf("it asks no RADIUS server:\n%s", text)
		}
	}
}

// seen is a log that calls found as soon as there is what is wanted.
type seen struct {
	all   bytes.Buffer
	want  []byte
	found func()
}

func (s *seen) Write(b []byte) (int, error) {
	n, err := s.all.Write(b)
	if bytes.Contains(s.all.Bytes(), s.want) {
		s.found()
	}
	return n, err
}

// nft takes the rules. It needs to be root even to only look at them.
func TestNftTakesIt(t *testing.T) {
	nft := program(t, "nft", "nftables")
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
	for _, byRADIUS := range []bool{false, true} {
		files, err := settings(byRADIUS).Files("hostapd")
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("unshare", "--net", nft, "--check", "--file", "-")
		for _, f := range files {
			if f.Name == "sealedge.nft" {
				cmd.Stdin = strings.NewReader(f.Content)
			}
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("RADIUS %v: %v\n%s", byRADIUS, err, out)
		}
	}
}

// A router that has a lease comes by its pre-shared key as well.
func TestPresharedKey(t *testing.T) {
	for format, line := range map[string]string{"hostapd": "\nPresharedKey = %s\n", "openwrt": "preshared_key='%s'\n"} {
		s := settings(true)
		s.PresharedKey = "c2hhcmVkIGJldHdlZW4gdGhlIHR3byBvZiB0aGVtIS4="
		files, err := s.Files(format)
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf(line, s.PresharedKey)
		if !slices.ContainsFunc(files, func(f File) bool { return strings.Contains(f.Content, want) }) {
			t.Errorf("%s: no file has %q", format, want)
		}
	}
}
