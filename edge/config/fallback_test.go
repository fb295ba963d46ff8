package config

import (
	"slices"
	"strings"
	"testing"
)

// withFallback is the reference with the fallback path on, and asked for from outside.
func withFallback(t *testing.T, section string) string {
	t.Helper()
	text := edited(t, "    enabled: false", "    enabled: true")
	before, rest, ok := strings.Cut(text, "\nfallback:\n")
	_, after, more := strings.Cut(rest, "\n# The Ed25519 key")
	if !ok || !more {
		t.Fatal("the reference has no section fallback")
	}
	return before + "\nfallback:\n" + section + "\n# The Ed25519 key" + after
}

// Terminals are told each gateway address as they reach it.
func TestFallbackEndpoints(t *testing.T) {
	text := withFallback(t, "  endpoints: [gw2=vpn.example.com:443]\n")
	text = strings.Replace(text, "  addresses: []", "  addresses: [gw2=192.0.2.2, gw3=192.0.2.3]", 1)
	cfg, err := loadText(t, text, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"127.0.10.1:51820", "vpn.example.com:443", "192.0.2.3:51820"}; !slices.Equal(cfg.FallbackEndpoints(), want) {
		t.Errorf("%v, want %v", cfg.FallbackEndpoints(), want)
	}
	if cfg.Fallback.Enabled() || cfg.Fallback.Requests != 60 || cfg.Fallback.Connections != 1024 {
		t.Errorf("%+v", cfg.Fallback)
	}
}

func TestFallbackMistakes(t *testing.T) {
	const whole = "  listen: 127.0.1.1:7448\n  cert: pki/f.pem\n  key: pki/f-key.pem\n"
	if _, err := loadText(t, withFallback(t, whole), nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, section, want string }{
		{"no certificate", "  listen: 127.0.1.1:7448\n  key: pki/f-key.pem\n", "fallback.cert: is missing, which fallback.listen needs; name the file, or leave fallback.listen empty"},
		{"no key", "  listen: 127.0.1.1:7448\n  cert: pki/f.pem\n", "fallback.key: is missing, which fallback.listen needs"},
		{"another's port", strings.Replace(whole, "7448", "7443", 1), "fallback.listen: 127.0.1.1:7443 is admin.listen too; choose another port"},
		{"an endpoint of nothing", "  endpoints: [gw9=vpn.example.com:443]\n", "fallback.endpoints: there is no gateway address gw9; use the names of gateway.name and gateway.addresses"},
		{"an endpoint twice", "  endpoints: [gw1=a.example.com:443, gw1=b.example.com:443]\n", "fallback.endpoints: gw1 is there twice; remove one"},
		{"an endpoint without a name", "  endpoints: [a.example.com:443]\n", `fallback.endpoints: "a.example.com:443": write NAME=HOST:PORT, such as gw1=vpn.example.com:51820`},
		{"an endpoint without a port", "  endpoints: [gw1=a.example.com]\n", `fallback.endpoints: "a.example.com" is no address with a port`},
		{"no requests", "  requests_per_minute: 0\n", `fallback.requests_per_minute: "0" is not a number from 1 to 60000`},
		{"hardly a connection", "  connections: 15\n", `fallback.connections: "15" is not a number from 16 to 65536`},
	} {
		_, err := loadText(t, withFallback(t, c.section), nil)
		if got := problemsOf(t, err); len(got) != 1 || !strings.Contains(got[0], c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	off := strings.Replace(withFallback(t, whole), "    enabled: true", "    enabled: false", 1)
	_, err := loadText(t, off, nil)
	if got := problemsOf(t, err); len(got) != 1 || !strings.Contains(got[0], "fallback.listen: is 127.0.1.1:7448, but there is no fallback path to ask for; switch gateway.wireguard on, or leave it empty") {
		t.Errorf("without a fallback path: %q", got)
	}
}
