//go:build linux

package k8s

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/config"
	"github.com/sealedge/sealedge/edge/setup"
	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/tools/e2e/k8s/lab"
)

// The release, and addresses on the LAN and in the tunnel.
const namespace, release, fullname = "seals", "seals", "seals-sealedge"

var (
	gatewayAddress = netip.MustParseAddr("10.77.10.1")
	carrierAddress = netip.MustParseAddr("10.77.20.1")
	serverAddress  = netip.MustParseAddr("10.77.2.1")
	innerAddress   = netip.MustParseAddr("10.90.0.1")
	apn            = must(ident.ParseAPN("seal.corp"))
)

// site is what a company has: a release of the chart, and what is outside of it.
type site struct {
	*testing.T // of the scenario that is played
	life       *testing.T
	lab        *lab.Lab
	dir        string
	layout     *setup.Layout
	admin      *http.Client
	tag        string // of the images as built
	values     map[string]any

	nodes   int
	people  *office
	traffic *traffic
	worker  *worker
	orders  int

	unaccounted uint32 // stampings that a restoration forgot
}

// scenarios, in the order in which they are played.
var scenarios = []struct {
	name string
	play func(*site)
}{
	{"install", (*site).install},
	{"attach and use a seal", (*site).attachAndUse},
	{"helm test", (*site).helmTest},
	{"knock from the carriers' network", (*site).closed},
	{"change what is taken up while nodes run", (*site).reload},
	{"upgrade to another value", (*site).changeValue},
	{"upgrade to another image", (*site).changeImage},
	{"rollback", (*site).rollback},
	{"drain a machine", (*site).drain},
	{"delete the leader's pod by force", (*site).forceDelete},
	{"kill the leader's process", (*site).kill},
	{"cut off the leader's machine", (*site).isolate},
	{"scale up and down", (*site).scale},
	{"back up and restore", (*site).backupAndRestore},
	{"uninstall, and install again", (*site).uninstall},
}

func newSite(t *testing.T, l *lab.Lab) *site {
	s := &site{T: t, life: t, lab: l, dir: os.Getenv(within), nodes: 3}
	var err error
	// As "sealedge init --kubernetes" does, for where the seal server is here, and with
	// the certificates of nodes that are to come.
	s.layout, err = setup.Init(s.file("company"), setup.Options{
		Nodes: 5, Kubernetes: must(setup.ParseKubernetes(namespace + "/" + fullname)), SealServer: netip.AddrPortFrom(serverAddress, 8443),
		Gateway: gatewayAddress, Carriers: []netip.Prefix{netip.PrefixFrom(carrierAddress, 24).Masked()}, Inner: innerAddress, APN: apn, Now: time.Now(),
	})
	if err != nil {
		t.Fatal(err)
	}
	digests, err := os.ReadFile(s.file("image", "digests.txt"))
	if err != nil {
		t.Fatal(err)
	}
	s.tag = strings.Fields(string(digests))[1]
	for _, n := range l.Nodes {
		for _, archive := range must(filepath.Glob(s.file("image", "*.tar"))) {
			if err := n.Import(archive); err != nil {
				t.Fatal(err)
			}
		}
	}
	pool, err := config.Path(s.file("company", "pki", "ca.pem")).Pool()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(s.file("company", "pki", "operator.pem"), s.file("company", "pki", "operator-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	s.admin = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, Certificates: []tls.Certificate{pair}},
	}}
	t.Cleanup(s.admin.CloseIdleConnections)
	s.values = map[string]any{
		"image": map[string]any{"registry": registry, "pullPolicy": "Never", "gateway": map[string]any{"tag": s.tag}, "tools": map[string]any{"tag": s.tag}},
		"config": map[string]any{
			"gateway": map[string]any{
				"address": gatewayAddress.String(), "interface": "lan",
				"gtp": map[string]any{"allowed_peers": []string{around(carrierAddress)}},
			},
			"inner":    map[string]any{"addresses": []string{innerAddress.String()}},
			"upstream": map[string]any{"url": "https://" + s.sealServer().String()},
			"admin":    map[string]any{"requests_per_second": 0}, // the scenarios ask often
		},
		"pki":         map[string]any{"existingSecret": fullname + "-pki"},
		"multus":      map[string]any{"networks": []map[string]any{{"name": "lan", "namespace": "kube-system", "interface": "lan"}}},
		"persistence": map[string]any{"storageClass": "local"},
		"operator":    map[string]any{"existingSecret": "seals-operator"},
		"backup":      s.backupValues(),
		"test":        checkValues(),
	}
	return s
}

// play plays a scenario; if it fails, what the cluster says of it is told.
func (s *site) play(t *testing.T, scenario func(*site)) {
	before := s.T
	s.T = t
	defer func() {
		if t.Failed() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			s.lab.Dump(ctx)
			s.tellLast()
		}
		s.T = before
	}()
	scenario(s)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // a constant of the tests is wrong
	}
	return v
}

func (s *site) file(name ...string) string { return filepath.Join(append([]string{s.dir}, name...)...) }

func (s *site) write(file, text string) {
	s.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.Fatal(err)
	}
}

// sealServer is where the seal server is to be found.
func (s *site) sealServer() netip.AddrPort { return netip.AddrPortFrom(serverAddress, 8443) }

// patience is how long anything may take; nothing waits longer than it must.
const patience = 5 * time.Minute

// until waits for a condition, looking often.
func (s *site) until(what string, ok func() bool) {
	s.Helper()
	deadline, tick := time.NewTimer(patience), time.NewTicker(100*time.Millisecond)
	defer deadline.Stop()
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			s.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// soon is the context of a call that must come to an end.
func (s *site) soon() context.Context {
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	s.Cleanup(cancel)
	return ctx
}

// helm runs helm in the release's namespace.
func (s *site) helm(args ...string) string {
	s.Helper()
	cmd := exec.CommandContext(s.soon(), s.file("bin", "helm"), append([]string{"--kubeconfig", s.lab.Kubeconfig(), "-n", namespace}, args...)...)
	cmd.Env = []string{"HOME=" + s.dir, "PATH=" + os.Getenv("PATH")}
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.Fatalf("helm %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// valuesFile writes the values as they are now.
func (s *site) valuesFile() string {
	s.Helper()
	text, err := json.Marshal(s.values) // which is YAML
	if err != nil {
		s.Fatal(err)
	}
	s.write(s.file("values.yaml"), string(text))
	return s.file("values.yaml")
}

// set changes a value of the release, for the next upgrade.
func (s *site) set(value any, path ...string) {
	at := s.values
	for _, key := range path[:len(path)-1] {
		if at[key] == nil {
			at[key] = map[string]any{}
		}
		at = at[key].(map[string]any)
	}
	at[path[len(path)-1]] = value
}

// run runs a command here and returns what it printed.
func (s *site) run(command ...string) string {
	s.Helper()
	out, err := exec.CommandContext(s.soon(), command[0], command[1:]...).CombinedOutput()
	if err != nil {
		s.Fatalf("%s: %v: %s", strings.Join(command, " "), err, out)
	}
	return string(out)
}

// kubectl runs kubectl in the release's namespace.
func (s *site) kubectl(args ...string) string {
	s.Helper()
	out, err := s.lab.Kubectl(s.soon(), append([]string{"-n", namespace}, args...)...)
	if err != nil {
		s.Fatal(err)
	}
	return out
}

// sealctl runs the operators' tool and returns what it printed.
func (s *site) sealctl(args ...string) string {
	s.Helper()
	out, err := s.trySealctl(args...)
	if err != nil {
		s.Fatal(err)
	}
	return out
}

func (s *site) trySealctl(args ...string) (string, error) {
	cmd := exec.CommandContext(s.soon(), s.file("bin", "sealctl"), append([]string{"--context", s.layout.Context}, args...)...)
	var words bytes.Buffer
	cmd.Stderr = &words
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("sealctl %s: %w: %s", strings.Join(args, " "), err, &words)
	}
	return string(out), nil
}

// list reads one of sealctl's lists, as soon as the cluster answers.
func list[T any](s *site, command ...string) (all []T) {
	s.Helper()
	s.until("the cluster answers "+strings.Join(command, " "), func() bool {
		all = nil
		out, err := s.trySealctl(append(command, "-o", "json")...)
		return err == nil && json.Unmarshal([]byte(out), &all) == nil
	})
	return all
}

// node is the n-th node's name, which is its pod's.
func node(n int) string { return fmt.Sprintf("%s-%d", fullname, n) }

// status is what each node says of itself; nil: it doesn't answer.
func (s *site) status() []*adminapi.Status {
	all := make([]*adminapi.Status, s.nodes)
	for n := range all {
		ctx, cancel := context.WithTimeout(s.Context(), 2*time.Second)
		v := new(adminapi.Status)
		if s.ask(ctx, n, "/v1/status?stale=true", v) == nil {
			all[n] = v
		}
		cancel()
	}
	return all
}

func (s *site) ask(ctx context.Context, n int, path string, out any) error {
	url := fmt.Sprintf("https://%s.%s-nodes.%s.svc.cluster.local:7443%s", node(n), fullname, namespace, path)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := s.admin.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, answer.Status)
	}
	return json.NewDecoder(answer.Body).Decode(out)
}

// leader is the pod that leads and has the gateway address, "" if there is none.
func (s *site) leader() string {
	for _, v := range s.status() {
		if v != nil && v.IsLeader && v.Holder == v.Node {
			return v.Node
		}
	}
	return ""
}

// awaitLeader waits until a pod leads that is none of others.
func (s *site) awaitLeader(others ...string) (name string) {
	s.Helper()
	s.until(fmt.Sprintf("a node leads that isn't one of %q", others), func() bool {
		name = s.leader()
		return name != "" && !slices.Contains(others, name)
	})
	return name
}

// caughtUp waits until all nodes have applied the same.
func (s *site) caughtUp() {
	s.Helper()
	s.until("all nodes have applied the same", func() bool {
		all := s.status()
		return !slices.ContainsFunc(all, func(v *adminapi.Status) bool {
			return v == nil || v.Applied != all[0].Applied || v.AuditHead != all[0].AuditHead
		})
	})
}

// on is the machine that a pod is on.
func (s *site) on(pod string) *lab.Node {
	s.Helper()
	n := s.lab.Node(s.kubectl("get", "pod", pod, "-o", "jsonpath={.spec.nodeName}"))
	if n == nil {
		s.Fatalf("%s is on no machine", pod)
	}
	return n
}

// uid of a pod: another one when it was made anew.
func (s *site) uid(pod string) string {
	s.Helper()
	return s.kubectl("get", "pod", pod, "-o", "jsonpath={.metadata.uid}")
}

// rolledOut waits until all pods are as the StatefulSet wants them, and ready.
func (s *site) rolledOut() {
	s.Helper()
	s.kubectl("rollout", "status", "statefulset/"+fullname, "--timeout", patience.String())
}
