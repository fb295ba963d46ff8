package main

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/cluster"
	"github.com/sealedge/sealedge/edge/config"
	"github.com/sealedge/sealedge/edge/setup"
)

const monitored = "127.248.1.1:9090"

// startNode runs a node with everything switched on, until the test ends. before is done
// to it first, with its file and flags.
func startNode(t *testing.T, before ...func(g *gateway, file string, flags map[string]string)) (g *gateway, dir string) {
	t.Helper()
	return startNodeWith(t, nil, before...)
}

// startNodeWith has further flags.
func startNodeWith(t *testing.T, more map[string]string, before ...func(g *gateway, file string, flags map[string]string)) (g *gateway, dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "c")
	l, err := setup.Init(dir, setup.Options{
		Nodes: 1, Now: time.Now(), Hosts: []netip.Addr{netip.MustParseAddr("127.248.1.1")}, Gateway: netip.MustParseAddr("127.248.10.1"),
		Carriers: []netip.Prefix{netip.MustParsePrefix("127.248.20.0/24")}, SealServer: netip.MustParseAddrPort("127.248.2.1:8443"),
	})
	if err != nil {
		t.Fatal(err)
	}
	flags := map[string]string{
		"telemetry.listen": monitored, "telemetry.pprof": "127.248.1.1:6060", "gateway.wireguard.enabled": "true", "radius.port": "1812",
	}
	maps.Copy(flags, more)
	if problems := config.Check(l.Nodes[0], flags, time.Now()); len(problems) > 0 {
		t.Fatal(problems)
	}
	cfg, err := config.Load(l.Nodes[0], flags)
	if err != nil {
		t.Fatal(err)
	}
	if g, err = open(cfg, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	for _, do := range before {
		do(g, l.Nodes[0], flags)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the node ended with %v", err)
		}
		if err := g.shut(); err != nil {
			t.Errorf("shutting it: %v", err)
		}
	})
	return g, dir
}

func get(t *testing.T, url string) (code int, body string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

// becomes asks until the answer has a text; only a failed test waits for long.
func becomes(t *testing.T, url, want string) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); ; <-tick.C {
		_, body := get(t, url)
		if strings.Contains(body, want) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s never said %q, but:\n%s", url, want, body)
		}
	}
}

// family is a row of docs/metrics.md, or what a node exports.
type family struct {
	kind, help, when string
	labels           []string
}

// documented reads docs/metrics.md.
func documented(t *testing.T) map[string]family {
	t.Helper()
	doc, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]family{}
	for line := range strings.Lines(string(doc)) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		name := strings.Trim(strings.TrimPrefix(cells[0], "| "), "`")
		if len(cells) != 5 || !strings.HasPrefix(name, "sealedge_") {
			continue
		}
		f := family{kind: cells[1], help: cells[3], when: strings.TrimSuffix(cells[4], " |")}
		if labels := strings.TrimSpace(cells[2]); labels != "" {
			f.labels = strings.Split(labels, ", ")
		}
		all[name] = f
	}
	return all
}

var (
	sample = regexp.MustCompile(`^([a-z_]+)(?:\{(.*)\})? \S+$`)
	label  = regexp.MustCompile(`([a-z_]+)="((?:[^"\\]|\\.)*)"`)
)

// exported reads what /metrics answered, and the values of the labels.
func exported(t *testing.T, body string) (all map[string]family, values map[string][]string) {
	t.Helper()
	all, values = map[string]family{}, map[string][]string{}
	for line := range strings.Lines(body) {
		line = strings.TrimSuffix(line, "\n")
		words := strings.SplitN(line, " ", 4)
		switch {
		case strings.HasPrefix(line, "# HELP "):
			f := all[words[2]]
			f.help = words[3]
			all[words[2]] = f
		case strings.HasPrefix(line, "# TYPE "):
			f := all[words[2]]
			f.kind = words[3]
			all[words[2]] = f
		default:
			m := sample.FindStringSubmatch(line)
			if m == nil {
				t.Fatalf("not understood: %q", line)
			}
			name := m[1]
			for _, suffix := range []string{"_sum", "_count", "_bucket"} {
				if base := strings.TrimSuffix(name, suffix); all[base].kind == "summary" || all[base].kind == "histogram" {
					name = base
				}
			}
			f := all[name]
			for _, l := range label.FindAllStringSubmatch(m[2], -1) {
				if !slices.Contains(f.labels, l[1]) && l[1] != "le" { // which all histograms have
					f.labels = append(f.labels, l[1])
				}
				values[l[1]] = append(values[l[1]], l[2])
			}
			all[name] = f
		}
	}
	return all, values
}

// What a running node exports is what docs/metrics.md says, neither more nor less.
func TestMetricsAreAsDocumented(t *testing.T) {
	g, dir := startNode(t)
	becomes(t, "http://"+monitored+"/readyz?verbose", "\nready\n")
	if code, body := get(t, "http://"+monitored+"/livez"); code != 200 || body != "ok\n" {
		t.Errorf("/livez: %d %q", code, body)
	}
	becomes(t, "http://"+monitored+"/metrics", `sealedge_propose_duration_seconds_count{outcome="done"} `) // it takes its address
	code, body := get(t, "http://"+monitored+"/metrics")
	if code != 200 {
		t.Fatalf("/metrics: %d\n%s", code, body)
	}
	got, values := exported(t, body)
	want := documented(t)
	for name, f := range got {
		w, ok := want[name]
		if !ok {
			t.Errorf("%s is exported, and not in docs/metrics.md", name)
			continue
		}
		slices.Sort(f.labels)
		slices.Sort(w.labels)
		if f.kind != w.kind || strings.ReplaceAll(f.help, `\\`, `\`) != w.help || !slices.Equal(f.labels, w.labels) {
			t.Errorf("%s is exported as\n%+v, documented as\n%+v", name, f, w)
		}
	}
	for name, w := range want {
		if _, ok := got[name]; !ok && w.when == "always" {
			t.Errorf("%s is in docs/metrics.md, and not exported", name)
		}
	}

	nameNobody(t, body, values)
	for _, want := range []string{
		`sealedge_raft_role{role="leader"} 1`, `sealedge_cluster_members{state="voter"} 1`, "sealedge_cluster_members_heard 1",
		`sealedge_certificate_readable{certificate="tls.cert"} 1`, `sealedge_sessions{path="carrier"} 0`,
		`sealedge_gateway_address_epoch{gateway="gw1"} `, `sealedge_wireguard_events_total{event="initiations-sent"} 0`,
		`sealedge_propose_duration_seconds_count{outcome="done"} `, `sealedge_raft_append_duration_seconds_bucket{le="+Inf"} `,
		`sealedge_paths_events_total{event="moves"} 0`, `sealedge_radius_events_total{event="accept"} 0`, "sealedge_orders_frozen 0",
		`sealedge_ready{check="caught-up"} 1`, `sealedge_gtpc_events_total{event="path-failed"} 0`, "sealedge_data_disk_admission_stop_ratio 0.85",
		`sealedge_cluster_events_total{event="states-differ"} 0`, `sealedge_restoration_events_total{event="peers-restarted"} 0`,
	} {
		if !strings.Contains(body, "\n"+want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}

	// A certificate that goes is noticed at the next scrape.
	if err := os.Remove(filepath.Join(dir, "pki", "gateway.pem")); err != nil {
		t.Fatal(err)
	}
	_, body = get(t, "http://"+monitored+"/metrics")
	if !strings.Contains(body, `sealedge_certificate_readable{certificate="upstream.cert"} 0`) ||
		strings.Contains(body, `sealedge_certificate_expiry_timestamp_seconds{certificate="upstream.cert"}`) {
		t.Error("the certificate that is gone is exported as if it were there")
	}

	// So is a key that isn't its certificate's.
	if err := os.Rename(filepath.Join(dir, "pki", "phone-api-key.pem"), filepath.Join(dir, "pki", "barrel-api-key.pem")); err != nil {
		t.Fatal(err)
	}
	if _, body = get(t, "http://"+monitored+"/metrics"); !strings.Contains(body, `sealedge_certificate_readable{certificate="inner.barrel_api.cert"} 0`) {
		t.Error("a certificate with another one's key is exported as if it were in order")
	}

	// Profiles are at the other address alone.
	if code, _ := get(t, "http://127.248.1.1:6060/debug/pprof/goroutine"); code != 200 {
		t.Errorf("profile: %d", code)
	}
	if code, _ := get(t, "http://127.248.1.1:6060/metrics"); code != 404 {
		t.Errorf("metrics beside the profiles: %d", code)
	}

	// A node that is stopping lives, and isn't ready.
	g.monitoring.stopping.Store(true)
	if code, body := get(t, "http://"+monitored+"/readyz"); code != 503 || !strings.Contains(body, "[-]running: this node is stopping") || !strings.Contains(body, "[+]caught-up ok") {
		t.Errorf("stopping: %d %q", code, body)
	}
	if code, _ := get(t, "http://"+monitored+"/livez"); code != 200 {
		t.Errorf("stopping, /livez: %d", code)
	}
}

// nameNobody wants that nothing that a node counts by is merged, and that no label has
// an address or a number in it that could be somebody's.
func nameNobody(t *testing.T, body string, values map[string][]string) {
	t.Helper()
	if !strings.Contains(body, "\nsealedge_telemetry_names_merged 0\n") {
		t.Error("some events are merged")
	}
	for name, all := range values {
		for _, v := range all {
			if name != "le" && name != "version" && name != "go_version" && somebody.MatchString(v) {
				t.Errorf("a label is %s=%q", name, v)
			}
		}
	}
}

var somebody = regexp.MustCompile(`\d+\.\d+\.\d+\.\d+|\d{5,}`)

// A peer that sends whatever it likes makes no series of its own making.
func TestHostileSignallingMakesFewSeries(t *testing.T) {
	startNode(t)
	becomes(t, "http://"+monitored+"/metrics", `sealedge_gateway_address_held{gateway="gw1"} 1`)
	conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 248, 20, 1)}, &net.UDPAddr{IP: net.IPv4(127, 248, 10, 1), Port: 2123})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	random := rand.New(rand.NewPCG(1, 2))
	answer := make([]byte, 1<<16)
	for round := range 64 {
		for i := range 32 { // every type of message, of both versions, with an IMSI and noise
			b := []byte{[]byte{0x48, 0x40, 0x32}[random.IntN(3)], byte(round*4 + i%4), 0, 0, 0, 0, 0, 0, byte(round), byte(i), 1, 0}
			b = append(b, 1, 0, 8, 0, 0x00, 0x01, 0x01, 0, 0, 0, 0, 0xf1)
			for range random.IntN(40) {
				b = append(b, byte(random.Uint32()))
			}
			header := 4 // that the length doesn't count
			if b[0]>>5 == 1 {
				header = 8
			}
			binary.BigEndian.PutUint16(b[2:], uint16(len(b)-header))
			if _, err := conn.Write(b); err != nil {
				t.Fatal(err)
			}
		}
		// An Echo Request that is answered shows that the gateway has read them.
		if _, err := conn.Write([]byte{0x40, 1, 0, 9, 0xff, 0xff, byte(round), 0, 3, 0, 1, 0, 7}); err != nil {
			t.Fatal(err)
		}
		for {
			_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second)) // only a failed test waits for long
			n, err := conn.Read(answer)
			if err != nil {
				t.Fatalf("no Echo Response in round %d: %v", round, err)
			}
			if n >= 8 && answer[1] == 2 && answer[4] == 0xff && answer[5] == 0xff && answer[6] == byte(round) {
				break
			}
		}
	}
	_, body := get(t, "http://"+monitored+"/metrics")
	families, values := exported(t, body)
	nameNobody(t, body, values)
	known := documented(t)
	for name := range families {
		if _, ok := known[name]; !ok {
			t.Errorf("%s is not in docs/metrics.md", name)
		}
	}
	if !regexp.MustCompile(`sealedge_gtpc_events_total\{event="received"\} [1-9]\d*`).MatchString(body) {
		t.Error("nothing was received")
	}
	for family, most := range map[string]int{"sealedge_gtpc_events_total{": 48, "sealedge_gtp_procedures_total{": 48} {
		if n := strings.Count(body, "\n"+family); n == 0 || n > most {
			t.Errorf("%d series of %s, want 1 to %d", n, family, most)
		}
	}
}

// Only a backup that was given out whole counts.
func TestBackupsAreNoted(t *testing.T) {
	var m monitoring
	fails := errors.New("the disk is gone")
	if err := noted(&m, func(context.Context, io.Writer, int) error { return fails })(t.Context(), io.Discard, 0); !errors.Is(err, fails) || !m.backedUp().IsZero() {
		t.Errorf("%v, noted at %s", err, m.backedUp())
	}
	before := time.Now()
	if err := noted(&m, func(context.Context, io.Writer, int) error { return nil })(t.Context(), io.Discard, 0); err != nil || m.backedUp().Before(before) {
		t.Errorf("%v, noted at %s", err, m.backedUp())
	}
}

func TestReadyVotes(t *testing.T) {
	for _, c := range []struct {
		name  string
		peers []cluster.PeerStatus
		want  string
	}{
		{"voter", []cluster.PeerStatus{{ID: "a", Voter: true}, {ID: "b", Voter: true}}, ""},
		{"joined", []cluster.PeerStatus{{ID: "a", Voter: true}, {ID: "b"}}, "this node has joined, and doesn't vote yet"},
		{"stranger", []cluster.PeerStatus{{ID: "a", Voter: true}}, "this node is no member of the cluster yet"},
		{"nobody", nil, "this node is no member of the cluster yet"},
	} {
		err := votes(cluster.Status{ID: "b", Peers: c.peers})
		if got := errText(err); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
