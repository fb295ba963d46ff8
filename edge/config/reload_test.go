package config

import (
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// The reference marks the keys that are taken up while a node runs, and no others.
func TestReferenceMarksReloadedKeys(t *testing.T) {
	if len(Reloadable()) == 0 {
		t.Fatal("no key is")
	}
	var sections []string
	var comment, marked []string
	for line := range strings.Lines(string(reference)) {
		line = strings.TrimRight(line, "\n")
		body := strings.TrimLeft(line, " ")
		switch {
		case strings.HasPrefix(body, "#"):
			comment = append(comment, body)
			continue
		case body == "":
		default:
			name, _, _ := strings.Cut(body, ":")
			path := strings.Join(append(sections[:(len(line)-len(body))/2:(len(line)-len(body))/2], name), ".")
			sections = strings.Split(path, ".")
			if strings.Contains(strings.ToLower(strings.Join(comment, " ")), "reloaded") {
				marked = append(marked, path)
			}
		}
		comment = nil
	}
	if !slices.Equal(marked, Reloadable()) {
		t.Errorf("marked are %v, reloaded are %v", marked, Reloadable())
	}
}

func TestDiff(t *testing.T) {
	load := func(alter ...string) *Config {
		t.Helper()
		flags := map[string]string{}
		for _, a := range alter {
			k, v, _ := strings.Cut(a, "=")
			flags[k] = v
		}
		cfg, err := loadText(t, strings.ReplaceAll(string(reference), "pki/", "/pki/"), flags)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Node.DataDir = "/data" // each is in a directory of its own
		return cfg
	}
	old := load()
	reloaded, restart := Diff(old, load())
	if len(reloaded)+len(restart) > 0 {
		t.Errorf("of equal ones: %v, %v", reloaded, restart)
	}
	new := load("log.level=debug", "gateway.gtp.allowed_peers=10.0.0.0/8,192.0.2.1", "gateway.gtp.t3=1s", "admin.listen=127.0.1.1:8443")
	reloaded, restart = Diff(old, new)
	if want := []Change{
		{"gateway.gtp.allowed_peers", "[127.0.20.0/24]", "[10.0.0.0/8, 192.0.2.1/32]"}, {"log.level", "INFO", "DEBUG"},
	}; !slices.Equal(reloaded, want) {
		t.Errorf("reloaded %v", reloaded)
	}
	if want := []string{"admin.listen", "gateway.gtp.t3"}; !slices.Equal(Keys(restart), want) {
		t.Errorf("restart for %v", restart)
	}
	taken := old.Take(new)
	if taken.Log.Level != slog.LevelDebug || !slices.Equal(taken.Gateway.GTP.AllowedPeers, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.1/32")}) {
		t.Errorf("taken: %+v", taken)
	}
	taken.Log, taken.Gateway.GTP.AllowedPeers = old.Log, old.Gateway.GTP.AllowedPeers
	if !reflect.DeepEqual(taken, old) {
		t.Error("more was taken than can be")
	}
	if old.Log.Level != slog.LevelInfo {
		t.Error("the old one was changed")
	}
}
