package config

import (
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

// loadText loads a file with this text out of a directory of its own.
func loadText(t *testing.T, text string, flags map[string]string) (*Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "node.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(path, flags)
}

// problemsOf wants problems, without directories and lines.
func problemsOf(t *testing.T, err error) []string {
	t.Helper()
	var ps Problems
	if err != nil && !errors.As(err, &ps) {
		t.Fatalf("%T: %v", err, err)
	}
	var out []string
	for _, p := range ps {
		if filepath.IsAbs(p.File) {
			p.File, p.Line, p.Column = filepath.Base(p.File), 0, 0 // the reference may grow
		}
		out = append(out, p.Error())
	}
	return out
}

// edited is the reference with one text replaced.
func edited(t *testing.T, from, to string) string {
	t.Helper()
	if strings.Count(string(reference), from) != 1 {
		t.Fatalf("%q stands in the reference %d times", from, strings.Count(string(reference), from))
	}
	return strings.Replace(string(reference), from, to, 1)
}

func TestReferenceLoads(t *testing.T) {
	cfg, err := loadText(t, string(Reference()), nil)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Cluster.Advertise != "127.0.1.1:7000" || cfg.Upstream.ServerName != "127.0.2.1" {
		t.Errorf("what follows from other keys: %q, %q", cfg.Cluster.Advertise, cfg.Upstream.ServerName)
	}
	if !filepath.IsAbs(string(cfg.TLS.CA)) || filepath.Base(string(cfg.TLS.CA)) != "ca.pem" {
		t.Errorf("path %q", cfg.TLS.CA)
	}
	if len(cfg.Cluster.Peers) != 3 || cfg.Cluster.Peers[2] != (Peer{"node3", "127.0.1.3:7000"}) {
		t.Errorf("peers %v", cfg.Cluster.Peers)
	}
	if cfg.Gateway.WireGuard.Enabled() {
		t.Error("the fallback path is on by default")
	}
}

// The reference has every key of Config and no other, shows the true default of
// each that isn't required, and says a word about each section and key.
func TestReferenceIsComplete(t *testing.T) {
	want := defaults()
	keys := keysOf(reflect.ValueOf(&want).Elem(), "")
	ref := newTree("reference.yaml", reference)
	for _, k := range keys {
		v := ref.value(k.path)
		if !v.Present() {
			t.Errorf("%s is not in the reference", k.path)
			continue
		}
		if k.required {
			continue
		}
		if k.field.Kind() == reflect.Slice { // no list is anything but empty by default
			if list, _ := written(v, true).([]string); len(list)+k.field.Len() > 0 {
				t.Errorf("%s: the reference says %q, the default is %v", k.path, list, k.field.Interface())
			}
			continue
		}
		text, _ := written(v, false).(string)
		got := reflect.New(k.field.Type()).Elem()
		if text != "" {
			if err := set(got, text, k.bounds, ""); err != nil {
				t.Errorf("%s: %v", k.path, err)
			}
		}
		if !reflect.DeepEqual(got.Interface(), k.field.Interface()) {
			t.Errorf("%s: the reference says %q, the default is %v", k.path, text, k.field.Interface())
		}
	}
	ref.close()
	if err := ref.doc.Err(); err != nil {
		t.Error(err)
	}
}

// Numbers and time spans have bounds, which their defaults keep.
func TestBounds(t *testing.T) {
	cfg := defaults()
	for _, k := range keysOf(reflect.ValueOf(&cfg).Elem(), "") {
		_, level := k.field.Interface().(slog.Level)
		switch k.field.Kind() {
		case reflect.Int, reflect.Uint16, reflect.Uint64, reflect.Int64:
			if level {
				continue
			}
			var text string
			if d, ok := k.field.Interface().(time.Duration); ok {
				text = d.String()
			} else if k.field.CanInt() {
				text = strconv.FormatInt(k.field.Int(), 10)
			} else {
				text = strconv.FormatUint(k.field.Uint(), 10)
			}
			if err := set(k.field, text, k.bounds, ""); err != nil {
				t.Errorf("%s: default: %v", k.path, err)
			}
			if err := set(k.field, "-1", k.bounds, ""); err == nil {
				t.Errorf("%s takes -1", k.path)
			}
		}
	}
}

func TestMistakes(t *testing.T) {
	for _, c := range []struct{ name, from, to, want string }{
		{"unknown key", "  listen: 127.0.1.1:7000", "  listen: 127.0.1.1:7000\n  lissen: x", `cluster.lissen: unknown key; did you mean "listen"?`},
		{"unknown section", "\nnode:\n", "\nnodes: {}\nnode:\n", `nodes: unknown key; did you mean "node"?`},
		{"repeated key", "  level: info", "  level: info\n  level: warn", "log.level: the key is there twice, first in line "},
		{"missing key", "  name: node1\n", "", `node.name: is missing; add it, as in "name: node1", or set SEALEDGE_NODE_NAME`},
		{"missing section", "grant:\n  key_file: pki/grant-key.pem\n", "", `grant.key_file: is missing; add it, as in "key_file: pki/grant-key.pem", or set SEALEDGE_GRANT_KEY_FILE`},
		{"no value", "  name: node1", "  name:", "node.name: has no value; give it a value or remove the key"},
		{"bad name", "  name: node1", "  name: Node 1", `node.name: "Node 1" can't be a name; use 1 to 63 lower-case letters, digits, dashes and dots, such as node1`},
		{"wrong kind", "  name: node1", "  name: [node1]", "node.name: want a text, have a list; write one value"},
		{"list that is none", "  allowed_peers: [127.0.20.0/24]", "  allowed_peers: 127.0.20.0/24", `gateway.gtp.allowed_peers: want a list, have "127.0.20.0/24"; write a list, such as "[a, b]"`},
		{"empty list", "  allowed_peers: [127.0.20.0/24]", "  allowed_peers: []", `gateway.gtp.allowed_peers: lists nothing; write it as in "allowed_peers: [127.0.20.0/24]"`},
		{"prefix off its start", "[127.0.20.0/24]", "[127.0.20.1/24]", "did you mean 127.0.20.0/24?"},
		{"no port", "  listen: 127.0.1.1:7000", "  listen: 127.0.1.1", `cluster.listen: "127.0.1.1" is no address with a port; write host:port, such as 127.0.1.1:7000`},
		{"port of nothing", "  listen: 127.0.1.1:7443", "  listen: 127.0.1.1:0", `admin.listen: "0" is no port`},
		{"octal port", "    port: 443", "    port: 0x1bb", `inner.phone_api.port: "0x1bb" is not a number from 1 to 65535`},
		{"bare time span", "  heartbeat_timeout: 200ms", "  heartbeat_timeout: 200", `cluster.heartbeat_timeout: "200" is no time span`},
		{"time span out of range", "    t3: 3s", "    t3: 1m", "gateway.gtp.t3: 1m0s is out of range; use a time span from 100ms to 20s"},
		{"echoes too often", "    echo_interval: 60s\n    user", "    echo_interval: 59s\n    user", "gateway.gtp.echo_interval: 59s is out of range; use 0, or a time span from 1m0s to 1h0m0s"},
		{"user echoes too often", "    user_echo_interval: 60s", "    user_echo_interval: 1s", "gateway.gtp.user_echo_interval: 1s is out of range"},
		{"failed path", "    failed_path: keep\n", "    failed_path: hold\n", `gateway.gtp.failed_path: "hold" is no way to treat sessions; write keep or release`},
		{"sessions kept for less than nothing", "    failed_path_keep: 10m", "    failed_path_keep: -1s", "gateway.gtp.failed_path_keep: -1s is out of range; use 0, or a time span from 1s to 24h0m0s"},
		{"no creates at all", "    creates_per_second: 10000", "    creates_per_second: 0", `gateway.gtp.creates_per_second: "0" is not a number from 1 to 1000000`},
		{"not true", "  bootstrap: true", "  bootstrap: yes", `cluster.bootstrap: "yes" is neither true nor false`},
		{"log level", "  level: info", "  level: loud", `log.level: "loud" is no log level; write debug, info, warn or error`},
		{"log format", "  format: text", "  format: xml", `log.format: "xml" is no log format; write text or json`},
		{"plain http", "https://127.0.2.1:8443", "http://127.0.2.1:8443", `upstream.url: "http://127.0.2.1:8443" is no server`},
		{"IPv6 outside", "  address: 127.0.10.1", "  address: ::1", `gateway.address: "::1" is no IPv4 address`},
		{"driver of that name", "  address_driver: loopback", "  address_driver: arp", `gateway.address_driver: "arp" is no way to move an address; write loopback, netlink, external or service`},
		{"netlink on no interface", "  address_driver: loopback", "  address_driver: netlink", "gateway.interface: is missing, which gateway.address_driver netlink needs; name the one towards the carrier, such as eth0"},
		{"netlink on loopback", "  address_driver: loopback\n  # The interface that netlink puts the address on, such as eth0.\n  interface: \"\"", "  address_driver: netlink\n  interface: lo", "gateway.address_driver: is netlink, but 127.0.10.1 is on every machine by itself"},
		{"a slice for nothing", `    endpoint_slice: ""`, "    endpoint_slice: gw", "gateway.address_driver: is loopback, but gateway.service says which Service brings packets; make it service, or remove gateway.service"},
		{"bound to a name", `  bind: ""`, "  bind: pod1", `gateway.bind: "pod1" is no IPv4 address; write one such as 10.90.0.1`},
		{"bound to IPv6", `  bind: ""`, "  bind: fd00::1", `gateway.bind: "fd00::1" is no IPv4 address; write one such as 10.90.0.1`},
		{"bound to an inner address", `  bind: ""`, "  bind: 10.90.0.1", "inner.addresses: 10.90.0.1 is gateway.bind, which is outside of the tunnels; give it an address that terminals alone can reach, such as 10.90.0.1"},
		{"interface for nothing", `  interface: ""`, "  interface: eth0", "gateway.interface: is eth0, but gateway.address_driver loopback puts the address on no interface; remove it"},
		{"peer without a name", "[node1=127.0.1.1:7000,", "[127.0.1.1:7000,", `cluster.peers: "127.0.1.1:7000" is no peer; write name=host:port, such as node1=127.0.1.1:7000`},
		{"not among the peers", "  name: node1", "  name: node9", "cluster.peers: doesn't list this node, node9; add node9=host:port, or mend node.name"},
		{"peer twice", "node3=127.0.1.3:7000]", "node2=127.0.1.3:7000]", "cluster.peers: node2=127.0.1.3:7000 shares its name or address with another; remove one"},
		{"other address advertised", `  advertise: ""`, "  advertise: 10.0.0.1:7000", "cluster.advertise: is 10.0.0.1:7000, but cluster.peers gives this node 127.0.1.1:7000; make them equal, or leave advertise out"},
		{"a stranger preferred", `  preferred_leader: ""`, "  preferred_leader: node9", "cluster.preferred_leader: is node9, which cluster.peers doesn't list"},
		{"lease as long as a heartbeat", "  leader_lease: 100ms", "  leader_lease: 200ms", "cluster.leader_lease: is 200ms, not shorter than heartbeat_timeout, 200ms"},
		{"short election", "  election_timeout: 200ms", "  election_timeout: 100ms", "cluster.election_timeout: is 100ms, shorter than heartbeat_timeout, 200ms; make it as long"},
		{"metrics where operators call", "  listen: \"\"\n  # Profiles", "  listen: 127.0.1.1:7443\n  # Profiles", "telemetry.listen: 127.0.1.1:7443 is admin.listen too; choose another port"},
		{"profiles for everyone", "  pprof: \"\"", "  pprof: :6060", "telemetry.pprof: is :6060, which others than this machine may reach; write a loopback address, such as 127.0.0.1:6060"},
		{"profiles for the network", "  pprof: \"\"", "  pprof: 192.0.2.1:6060", "telemetry.pprof: is 192.0.2.1:6060, which others than this machine may reach; write a loopback address, such as 127.0.0.1:6060"},
		{"profiles by a name", "  pprof: \"\"", "  pprof: node1.example:6060", "telemetry.pprof: is node1.example:6060, which others than this machine may reach; write a loopback address, such as 127.0.0.1:6060"},
		{"collector of another protocol", "    endpoint: \"\"", "    endpoint: grpc://127.0.0.1:4317", `telemetry.traces.endpoint: "grpc://127.0.0.1:4317" is no collector; write http:// or https://`},
		{"collector with a password in its address", "    endpoint: \"\"", "    endpoint: https://u:p@otel.example.com", "is no collector"},
		{"more traces than there are", "    ratio: 1", "    ratio: 1.5", `telemetry.traces.ratio: "1.5" is not a number from 0 to 1, such as 0.1`},
		{"fewer traces than none", "    ratio: 1", "    ratio: -0.1", "telemetry.traces.ratio: "},
		{"no number of traces", "    ratio: 1", "    ratio: NaN", "telemetry.traces.ratio: "},
		{"half a certificate for the collector", "    ca: \"\"\n    cert: \"\"", "    ca: \"\"\n    cert: pki/node1.pem", "telemetry.traces.key: is missing: a certificate needs its key; name both files, or neither"},
		{"a CA without TLS", "    endpoint: \"\"\n    # Which part of the attaches and of the uses is traced, 0 to 1. A use is traced\n    # by all nodes or by none.\n    ratio: 1\n    # The CA of its certificate; empty: those that this machine trusts. And the\n    # certificate that this node shows to it; empty: none.\n    ca: \"\"", "    endpoint: http://otel.example.com:4318\n    ca: pki/ca.pem", "telemetry.traces.ca: is "},
		{"two listeners at one address", "  listen: 127.0.1.1:7443", "  listen: 127.0.1.1:7444", "admin.listen: 127.0.1.1:7444 is intranet.listen too; choose another port"},
		{"WireGuard on GTP's port", "    port: 51820", "    port: 2152", "gateway.wireguard.port: 2152 is GTP's at the same address; choose another, such as 51820"},
		{"inner driver of that name", "  driver: netstack", "  driver: tap", `inner.driver: "tap" is no driver of the inner network; write netstack or tun`},
		{"inner interface of no kernel", "  interface: sealedge0", "  interface: sealedge/0", `inner.interface: "sealedge/0" is no name of an interface`},
		{"RADIUS on the barrels' port", "  port: 0\n", "  port: 5684\n", "radius.port: 5684 is inner.barrel_api.port too; choose another, such as 1812"},
		{"addresses twice", "  addresses: []", "  addresses: [gw1=127.0.10.2]", "gateway.addresses: gw1=127.0.10.2 is there twice"},
		{"more addresses than nodes", "  addresses: []", "  addresses: [gw2=127.0.10.2, gw3=127.0.10.3, gw4=127.0.10.4]", "makes 4 gateway addresses, but there are 3 nodes to hold them"},
		{"an address without a name", "  addresses: []", "  addresses: [127.0.10.2]", "write NAME=ADDRESS"},
		{"inner address outside", "  addresses: [10.90.0.1]", "  addresses: [127.0.10.1]", "inner.addresses: 127.0.10.1 is gateway.address, which is outside of the tunnels"},
		{"no inner address", "  addresses: [10.90.0.1]", "  addresses: [gateway]", `inner.addresses: "gateway" is no IP address; write one such as 10.90.0.1 or fd00:90::1`},
		{"inner address of one link", "  addresses: [10.90.0.1]", "  addresses: [fe80::1]", "inner.addresses: fe80::1 is of one link alone; write an address such as fd00:90::1"},
		{"inner address with a zone", "  addresses: [10.90.0.1]", "  addresses: [\"fd00::1%eth0\"]", "inner.addresses: fd00::1%eth0 is of one link alone"},
		{"inner address in disguise", "  addresses: [10.90.0.1]", "  addresses: [\"::ffff:10.90.0.1\"]", "inner.addresses: ::ffff:10.90.0.1 is an IPv4 address in disguise; write 10.90.0.1"},
		{"IPv6 inner address twice", "  addresses: [10.90.0.1]", "  addresses: [fd00:90::1, \"fd00:90:0::1\"]", "inner.addresses: fd00:90::1 is there twice; remove one"},
		{"inner address twice", "  addresses: [10.90.0.1]", "  addresses: [10.90.0.1, 10.90.0.1]", "inner.addresses: 10.90.0.1 is there twice; remove one"},
		{"stranger", "sealedge://seal-server", "seal-server", `intranet.client_uri: "seal-server" names no party`},
		{"YAML", "\nnode:\n", "\nnode: [\n", "close the bracket"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := edited(t, c.from, c.to)
			_, err := loadText(t, text, nil)
			got := problemsOf(t, err)
			if len(got) != 1 || !strings.Contains(got[0], c.want) {
				t.Fatalf("got:\n%s\nwant one problem with:\n%s", strings.Join(got, "\n"), c.want)
			}
			p := err.(Problems)[0]
			_, name := cutLast(p.Path)
			if line := strings.Split(text, "\n")[p.Line-1]; p.Path != "" && !strings.Contains(line, name+":") && !strings.Contains(p.Text, "missing") {
				t.Errorf("line %d, %q, has no %s", p.Line, line, name)
			}
		})
	}
}

// All mistakes come at once, the file's by line, whatever their source.
func TestAllMistakesAtOnce(t *testing.T) {
	t.Setenv("SEALEDGE_LOG_FORMAT", "xml")
	t.Setenv("SEALEDGE_CLUSTER_LISSEN", "127.0.1.1:7000")
	t.Setenv("SEALEDGE_SERVICE_HOST", "10.96.0.1") // a platform's, not ours
	text := edited(t, "  name: node1", "  name: Node")
	text = strings.Replace(text, "  mtu: 1400", "  mtu: 14", 1)
	text = strings.Replace(text, "  url: https://127.0.2.1:8443", "  urll: https://127.0.2.1:8443", 1)
	_, err := loadText(t, text, map[string]string{"log.level": "loud", "admin.listn": "x"})
	want := []string{
		`node.yaml: node.name: "Node" can't be a name; use 1 to 63 lower-case letters, digits, dashes and dots, such as node1`,
		`node.yaml: inner.mtu: "14" is not a number from 576 to 9000`,
		`node.yaml: upstream.urll: unknown key; did you mean "url"?`,
		`node.yaml: upstream.url: is missing; add it, as in "url: https://127.0.2.1:8443", or set SEALEDGE_UPSTREAM_URL`,
		"--set admin.listn: unknown key; did you mean admin.listen?",
		"environment variable SEALEDGE_CLUSTER_LISSEN: unknown key; did you mean SEALEDGE_CLUSTER_LISTEN?",
		`--set log.level: log.level: "loud" is no log level; write debug, info, warn or error`,
		`environment variable SEALEDGE_LOG_FORMAT: log.format: "xml" is no log format; write text or json`,
	}
	if got := problemsOf(t, err); !reflect.DeepEqual(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Flags go over variables, and variables over the file.
func TestLayers(t *testing.T) {
	t.Setenv("SEALEDGE_LOG_LEVEL", "warn")
	t.Setenv("SEALEDGE_LOG_FORMAT", "json")
	t.Setenv("SEALEDGE_GATEWAY_GTP_ALLOWED_PEERS", "10.1.0.0/16, 10.2.3.4")
	t.Setenv("SEALEDGE_UPSTREAM_TIMEOUT", "")
	cfg, err := loadText(t, string(reference), map[string]string{"log.level": "debug", "cluster.peers": "node1=a:1,node2=b:2"})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Log.Level != slog.LevelDebug || cfg.Log.Format != "json" || cfg.Upstream.Timeout != 10*time.Second {
		t.Errorf("%+v, %v", cfg.Log, cfg.Upstream.Timeout)
	}
	if want := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("10.2.3.4/32")}; !reflect.DeepEqual(cfg.Gateway.GTP.AllowedPeers, want) {
		t.Errorf("%v", cfg.Gateway.GTP.AllowedPeers)
	}
	if cfg.Cluster.Advertise != "a:1" || len(cfg.Cluster.Peers) != 2 {
		t.Errorf("%v", cfg.Cluster)
	}
}

// A key that only a variable or flag sets needn't be in the file.
func TestRequiredKeyFromElsewhere(t *testing.T) {
	t.Setenv("SEALEDGE_NODE_NAME", "node2")
	cfg, err := loadText(t, edited(t, "  name: node1\n", ""), nil)
	if err != nil || cfg.Node.Name != "node2" {
		t.Errorf("%v, %v", cfg, err)
	}
}

func TestUnreadable(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "none.yaml"), nil)
	if got := problemsOf(t, err); len(got) != 1 || !strings.Contains(got[0], "sealedge init") {
		t.Error(got)
	}
	_, err = loadText(t, strings.Repeat("#", maxSize+1), nil)
	if got := problemsOf(t, err); len(got) != 1 {
		t.Error(got)
	}
}

// Whatever the file holds: a configuration that agrees in itself, or problems
// with words.
func FuzzLoad(f *testing.F) {
	f.Add(reference)
	f.Add([]byte("node: {name: a}\n"))
	f.Add([]byte("log:\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		cfg, l := load("/etc/sealedge/node.yaml", raw, nil)
		if len(l.problems()) == 0 {
			if _, ok := cfg.self(); !ok || cfg.Cluster.LeaderLease >= cfg.Cluster.HeartbeatTimeout || len(cfg.Inner.Addresses) == 0 {
				t.Fatalf("%+v", cfg)
			}
			return
		}
		for _, p := range problemsOf(t, l.problems()) {
			if strings.HasSuffix(p, ": ") {
				t.Fatalf("a problem without words: %q", p)
			}
		}
	})
}

// What 0 turns off, and what goes together only so.
func TestGTP(t *testing.T) {
	changed := func(pairs ...string) (*Config, error) {
		t.Helper()
		text := string(reference)
		for i := 0; i < len(pairs); i += 2 {
			if strings.Count(text, pairs[i]) != 1 {
				t.Fatalf("%q stands in the reference %d times", pairs[i], strings.Count(text, pairs[i]))
			}
			text = strings.Replace(text, pairs[i], pairs[i+1], 1)
		}
		return loadText(t, text, nil)
	}
	cfg, err := changed("\n    echo_interval: 60s", "\n    echo_interval: 0", "user_echo_interval: 60s", "user_echo_interval: 0s",
		"failed_path: keep", "failed_path: release", "failed_path_keep: 10m", "failed_path_keep: 0", "sequence_numbers: false", "sequence_numbers: true",
		"t3: 3s", "t3: 20s", "n3: 3", "n3: 10")
	if err != nil {
		t.Fatal(err)
	}
	if g := cfg.Gateway.GTP; g.EchoInterval != 0 || g.UserEchoInterval != 0 || g.FailedPath != ReleaseSessions || g.FailedPathKeep != 0 || !g.SequenceNumbers || g.Creates != 10_000 {
		t.Errorf("%+v", g)
	}
	_, err = changed("t3: 3s", "t3: 20s", "n3: 3", "n3: 4")
	if got := problemsOf(t, err); len(got) != 1 || !strings.Contains(got[0], "gateway.gtp.echo_interval: is 1m0s, but n3 times t3 is 1m20s") {
		t.Errorf("%v", got)
	}
}

func TestInnerAddresses(t *testing.T) {
	cfg, err := loadText(t, edited(t, "  addresses: [10.90.0.1]", "  addresses: [10.90.0.1, fd00:90::1, \"2001:db8::1\"]"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := []netip.Addr{netip.MustParseAddr("10.90.0.1"), netip.MustParseAddr("fd00:90::1"), netip.MustParseAddr("2001:db8::1")}; !reflect.DeepEqual(cfg.Inner.Addresses, want) {
		t.Errorf("%v", cfg.Inner.Addresses)
	}
	text := strings.Replace(edited(t, "  addresses: [10.90.0.1]", "  addresses: [fd00:90::1]"), "  mtu: 1400", "  mtu: 1279", 1)
	_, err = loadText(t, text, nil)
	if got := problemsOf(t, err); len(got) != 1 || !strings.Contains(got[0], "inner.mtu: is 1279, but fd00:90::1 in inner.addresses is IPv6, which needs 1280") {
		t.Errorf("%v", got)
	}
}

// A configuration from before the cluster kept the key has a file and nothing else.
func TestFallbackIsOn(t *testing.T) {
	for _, c := range []struct {
		w    WireGuard
		want bool
	}{{WireGuard{}, false}, {WireGuard{On: true}, true}, {WireGuard{PrivateKeyFile: "wireguard.key"}, true}} {
		if got := c.w.Enabled(); got != c.want {
			t.Errorf("%+v: %v, want %v", c.w, got, c.want)
		}
	}
}
