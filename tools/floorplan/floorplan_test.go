package floorplan

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/sealedge/sealedge/"

// floors gives every package its floor. Packages of one floor do not import
// each other, except inside one tool (tools/sealsim and below it), and where
// the simulators are the load of another tool.
var floors = map[string]int{
	"policy/ident": 0,
	"docs/api":     0,

	"policy/region": 0,

	"policy":            1,
	"policy/credential": 1,

	"policy/document":     1,
	"apn/gtp":             1,
	"cluster/command":     1,
	"cluster/merkle":      1,
	"edge/grant":          1,
	"edge/keywrap":        1,
	"edge/pathwatch":      1,
	"edge/wire":           1,
	"edge/barrel/rfc7905": 1,

	"policy/bundle": 2,
	"policy/view":   2,
	"cluster/state": 2,
	"cluster/chain": 2,

	"edge/pathchoice": 2,
	"edge/pathprobe":  2,

	"apn/session":             3,
	"cluster/backup":          3,
	"cluster/chain/chaintest": 3,
	"edge/adminapi":           3,
	"edge/sealuse":            3,
	"edge/usetest":            3,

	"cluster":         4,
	"cluster/address": 4,
	"apn/gtpc":        4,
	"apn/gtp/gtptest": 4,
	"edge/spantest":   4,
	"apn/gtpu":        4,
	"apn/trace":       4,
	"edge/inner":      4,
	"edge/phoneapi":   4,
	"edge/barrel":     4,
	"edge/hotspot":    4,
	"edge/radius":     4,
	"edge/fallback":   4,
	"edge/wireguard":  4,
	"edge/upstream":   4,
	"edge/admin":      4,
	"edge/capability": 4,
	"edge/bind":       4,
	"edge/telemetry":  4,

	"edge/config": 5,
	"edge/setup":  5,

	"edge/sealedge": 6,
}

// toolFloor is where everything under tools/ stands.
const toolFloor = 6

// homes lists, for each guarded library, the rooms that may import it. The
// simulators are peers: they read the protocols with the libraries themselves
// so that a mistake in one of our rooms isn't made on both sides of the wire.
var homes = map[string][]string{
	"github.com/wmnsk/go-gtp":         {"apn/gtp", "tools/sealsim/carrier"},
	"github.com/free5gc/openapi":      {"apn/sbi"},
	"github.com/pion/dtls":            {"edge/barrel", "edge/barrel/rfc7905", "tools/sealsim/barrel"},
	"github.com/plgd-dev/go-coap":     {"edge/barrel", "tools/sealsim/coap"},
	"github.com/hashicorp/raft":       {"cluster"},
	"github.com/hashicorp/raft-wal":   {"cluster"},
	"layeh.com/radius":                {"edge/radius"},
	"golang.zx2c4.com/wireguard":      {"edge/wireguard", "tools/sealsim/phone"},
	"gvisor.dev/gvisor":               {"edge/inner", "tools/sealsim/ipstack"},
	"github.com/cilium/ebpf":          {"apn/gtpu/xdp"},
	"github.com/gopacket/gopacket":    {"apn/trace"},
	"github.com/spf13/viper":          {"edge/config", "tools/sealctl"},
	"github.com/urfave/cli":           {"edge/sealedge", "tools/sealctl", "tools/sealserver", "tools/sealsim"},
	"filippo.io/age":                  {"cluster/backup", "cluster", "edge/admin", "tools/bench", "tools/drill"},
	"modernc.org/sqlite":              {"tools/sealserver"},
	"github.com/veraison/go-cose":     {"edge/grant"},
	"golang.org/x/crypto/argon2":      {"tools/sealserver"},
	"golang.org/x/mod":                {"cluster/merkle"},
	"github.com/rogpeppe/go-internal": {},
	"github.com/schollz/progressbar":  {"tools/sealctl"},
	"github.com/rivo/uniseg":          {"tools/sealctl"},
	"golang.org/x/term":               {"tools/sealctl"},

	"github.com/prometheus": {"edge/telemetry"},

	// Who makes spans imports the API; what they come to is for one room to know.
	"go.opentelemetry.io/otel":           {"apn/gtpc", "cluster", "edge/phoneapi", "edge/sealedge", "edge/spantest", "edge/telemetry"},
	"go.opentelemetry.io/otel/sdk":       {"edge/spantest", "edge/telemetry"},
	"go.opentelemetry.io/otel/exporters": {"edge/telemetry"},
	"go.opentelemetry.io/proto":          {"edge/telemetry"},

	"github.com/google/go-containerregistry": {"tools/image"},
	"github.com/google/licensecheck":         {"tools/image"},
	"github.com/spdx/tools-golang":           {"tools/image"},
	"k8s.io/api":                             {},
	"k8s.io/apimachinery":                    {},
}

// impure are imports that a pure package (floors 0 to 3) has no use for.
var impure = []string{"os", "os/exec", "log", "math/rand", "math/rand/v2", "syscall"}

type pkg struct {
	ImportPath string
	Imports    []string
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func floorOf(room string) (int, bool) {
	if strings.HasPrefix(room, "tools/") {
		return toolFloor, true
	}
	f, ok := floors[room]
	return f, ok
}

// loaded are the tools that put the simulators to work on a running gateway.
var loaded = []string{"tools/bench", "tools/drill", "tools/e2e", "tools/soak"}

// drillers have drills run.
var drillers = []string{"tools/reliability", "tools/sealctl"}

// drives tells whether a is a tool that may import b for the load that it makes.
func drives(a, b string) bool {
	if b == "tools/drill" && slices.Contains(drillers, a) {
		return true
	}
	return strings.HasPrefix(b, "tools/sealsim/") && slices.ContainsFunc(loaded, func(tool string) bool { return under(a, tool) })
}

// sameHouse tells whether both are parts of one tool, where imports are free.
func sameHouse(a, b string) bool {
	ta, tb := strings.Split(a, "/"), strings.Split(b, "/")
	return len(ta) > 1 && len(tb) > 1 && ta[0] == "tools" && tb[0] == "tools" && ta[1] == tb[1]
}

// under tells whether path is the package or one below it.
func under(path, root string) bool {
	return path == root || strings.HasPrefix(path, root+"/")
}

// breaches lists what breaks the plan.
func breaches(all []pkg) []string {
	var bad []string
	for _, p := range all {
		room := strings.TrimPrefix(p.ImportPath, module)
		floor, ok := floorOf(room)
		if !ok {
			bad = append(bad, room+" has no floor: add it to the table in tools/floorplan")
			continue
		}
		for _, imp := range p.Imports {
			if other, ours := strings.CutPrefix(imp, module); ours {
				if f, known := floorOf(other); known && f >= floor && !sameHouse(room, other) && !drives(room, other) {
					bad = append(bad, room+" may not import "+other+": it doesn't stand on a lower floor")
				}
				continue
			}
			for lib, rooms := range homes {
				if (under(imp, lib) || strings.HasPrefix(imp, lib+"/v")) && !slices.ContainsFunc(rooms, func(r string) bool { return under(room, r) }) {
					bad = append(bad, room+" may not import "+imp+": its home is "+strings.Join(rooms, ", "))
				}
			}
			if floor <= 3 && (slices.Contains(impure, imp) || under(imp, "go.opentelemetry.io")) {
				bad = append(bad, room+" is pure and may not import "+imp)
			}
		}
	}
	slices.Sort(bad)
	return bad
}

func TestFloors(t *testing.T) {
	for _, b := range breaches(list(t)) {
		t.Error(b)
	}
}

// The test itself must be able to fail.
func TestBreachesAreSeen(t *testing.T) {
	for _, c := range []struct {
		name string
		p    pkg
		want int
	}{
		{"lower floor", pkg{module + "cluster/state", []string{module + "cluster/command"}}, 0},
		{"same floor", pkg{module + "edge/phoneapi", []string{module + "edge/barrel"}}, 1},
		{"higher floor", pkg{module + "policy", []string{module + "edge/config"}}, 1},
		{"guarded library", pkg{module + "edge/admin", []string{"github.com/hashicorp/raft"}}, 1},
		{"guarded library, later major version", pkg{module + "edge/admin", []string{"github.com/pion/dtls/v2"}}, 1},
		{"library at home", pkg{module + "cluster", []string{"github.com/hashicorp/raft-wal"}}, 0},
		{"pure package with a clock of its own", pkg{module + "edge/sealuse", []string{"os"}}, 1},
		{"pure package in a room that makes spans", pkg{module + "cluster/state", []string{"go.opentelemetry.io/otel/trace"}}, 1},
		{"spans at home", pkg{module + "cluster", []string{"go.opentelemetry.io/otel/trace"}}, 0},
		{"exporter elsewhere", pkg{module + "edge/sealedge", []string{"go.opentelemetry.io/otel/sdk/trace"}}, 1},
		{"package without a floor", pkg{module + "edge/attic", nil}, 1},
		{"one tool's parts", pkg{module + "tools/sealsim", []string{module + "tools/sealsim/phone"}}, 0},
		{"another tool's parts", pkg{module + "tools/sealctl", []string{module + "tools/sealsim/phone"}}, 1},
		{"load from the simulators", pkg{module + "tools/bench", []string{module + "tools/sealsim/carrier"}}, 0},
		{"drills from the CLI", pkg{module + "tools/sealctl", []string{module + "tools/drill"}}, 0},
		{"drills from elsewhere", pkg{module + "tools/bench", []string{module + "tools/drill"}}, 1},
		{"load from elsewhere", pkg{module + "tools/bench", []string{module + "tools/sealserver/server"}}, 1},
	} {
		if got := breaches([]pkg{c.p}); len(got) != c.want {
			t.Errorf("%s: %d breaches, want %d: %v", c.name, len(got), c.want, got)
		}
	}
}
