package e2e

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Machines of a Kubernetes translate what is sent to the gateway address to the pod's, as
// kube-proxy does, and a load balancer brings it to the machine that the EndpointSlice
// names. The carrier drops what comes from any other address than the gateway's, and
// the machines what comes to their own address straight. So the carrier is told the
// gateway address everywhere, attaches, and a seal is used through it; when the holder
// dies and when it hands over, sessions go on at another pod.
func TestServiceBringsTheCarrier(t *testing.T) {
	t.Parallel()
	if !inWorld(t) {
		return
	}
	var k *kubernetes
	w := newWorld(t, seed(t), func(w *world) { k = newKubernetes(w) })
	w.startServer()
	office := w.office()
	carrier, tap := w.site.carrier(1)
	worker := w.site.worker(1, carrier)
	worker.stampOnce(office.Order("WO-1", 1))
	counter, err := carrier.Echo(w.soon())
	if err != nil {
		t.Fatal(err)
	}
	k.leadsToTheHolder()

	moved := func(what string, move func(holder int) error) {
		t.Helper()
		before, began := -1, time.Now()
		w.until(what, func() bool { // the leadership may not be taken at once on a busy machine
			before, began = w.holding(), time.Now()
			return before >= 0 && move(before) == nil
		})
		w.until(what+": another node holds the gateway address", func() bool { n := w.holding(); return n >= 0 && n != before })
		w.site.ping(worker.phone)
		t.Logf("%s: the session is served again after %v", what, time.Since(began).Round(time.Millisecond))
		k.leadsToTheHolder()
		if is, err := carrier.Echo(w.soon()); err != nil || is != counter {
			t.Errorf("%s: the restart counter was %d and is %d: %v", what, counter, is, err)
		}
	}
	moved("the holder dies", func(n int) error {
		w.nodes[n].kill()
		return nil
	})
	for n, node := range w.nodes {
		if node.ended() {
			w.startNode(n)
		}
	}
	w.until("all nodes are up", w.caughtUp)
	moved("the holder hands over", func(n int) error {
		_, err := w.trySealctl("cluster", "step-down", "--address", string(w.cfgs[n].Admin.Listen))
		return err
	})
	worker.stampOnce(office.Order("WO-2", 1))
	tap.noEnding()
	w.auditVerifies()
}

// kubernetes is the API server, with one EndpointSlice; and the load balancer.
type kubernetes struct {
	*world
	mu      sync.Mutex
	slice   discoveryv1.EndpointSlice // guarded by mu
	version int                       // guarded by mu
}

const theToken = "the token of the pods"

// newKubernetes furnishes the machines of a world.
func newKubernetes(w *world) *kubernetes {
	w.Helper()
	k := &kubernetes{world: w, version: 1}
	k.slice.APIVersion, k.slice.Kind, k.slice.Name, k.slice.AddressType = "discovery.k8s.io/v1", "EndpointSlice", "edge-gateway", discoveryv1.AddressTypeIPv4
	k.slice.ResourceVersion = "1"
	at := net.JoinHostPort(w.ip(2, 1).String(), "6443")
	l, err := tls.Listen("tcp", at, &tls.Config{Certificates: []tls.Certificate{w.identity("seal-server")}, MinVersion: tls.VersionTLS12})
	if err != nil {
		w.Fatal(err)
	}
	server := &http.Server{Handler: k, ReadHeaderTimeout: patience}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(l) }()
	w.Cleanup(func() { _ = server.Close(); <-served })
	k.credentials()

	const ports = "{ 2123, 2152 }"
	w.nft(nil, fmt.Sprintf(`table ip carrier {
		chain in { type filter hook input priority 0; ip saddr %s/24 udp sport %s drop; }
	}`, w.ip(1, 0), ports))
	w.leadTo("")
	for n := range w.nodes {
		w.nft(w.enter(n), fmt.Sprintf(`table ip service {
			chain to { type nat hook prerouting priority dstnat; ip daddr %s udp dport %s dnat to %s; }
			chain in { type filter hook input priority 0; udp dport %s ct status dnat accept; udp dport %s drop; }
		}`, w.gateway, ports, w.ip(1, byte(n+1)), ports, ports))
	}
	w.driver = func(n int, cmd *exec.Cmd) []string {
		cmd.Env = append(os.Environ(), "KUBERNETES_SERVICE_HOST="+w.ip(2, 1).String(), "KUBERNETES_SERVICE_PORT=6443")
		return []string{
			"--set", "gateway.address_driver=service", "--set", "gateway.bind=" + w.ip(1, byte(n+1)).String(),
			"--set", "gateway.service.endpoint_slice=edge-gateway", "--set", "gateway.service.machine=" + machine(n),
		}
	}
	return k
}

// nft loads a table, within a namespace if it is said how to enter it.
func (w *world) nft(enter []string, table string) {
	w.Helper()
	words := append(enter, "nft", "-f", "-")
	cmd := exec.CommandContext(w.soon(), words[0], words[1:]...)
	cmd.Stdin = bytes.NewBufferString(table)
	if out, err := cmd.CombinedOutput(); err != nil {
		w.Fatalf("nft: %v: %s\n%s", err, out, table)
	}
}

// credentials are those of a pod's ServiceAccount, where pods have them.
func (k *kubernetes) credentials() {
	k.Helper()
	const secrets = "/var/run/secrets"
	if err := os.MkdirAll(secrets, 0o755); err != nil {
		k.Fatal(err)
	}
	if err := unix.Mount("tmpfs", secrets, "tmpfs", 0, "mode=755"); err != nil { // in this process's own mount namespace
		k.Fatal(err)
	}
	k.Cleanup(func() { _ = unix.Unmount(secrets, unix.MNT_DETACH) })
	dir := filepath.Join(secrets, "kubernetes.io", "serviceaccount")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		k.Fatal(err)
	}
	ca, err := os.ReadFile(k.file("pki", "ca.pem"))
	if err != nil {
		k.Fatal(err)
	}
	for name, content := range map[string]string{"token": theToken, "namespace": "seals", "ca.crt": string(ca)} {
		k.write(filepath.Join(dir, name), content)
	}
}

// leadTo is what the load balancer does: it brings the gateway address to a machine,
// with an empty address to none.
func (w *world) leadTo(address string) {
	w.Helper()
	route := []string{"ip", "route", "replace", "blackhole", w.gateway.String() + "/32"}
	if address != "" {
		route = []string{"ip", "route", "replace", w.gateway.String() + "/32", "via", address, "dev", "eth0"}
	}
	if out, err := exec.CommandContext(w.Context(), route[0], route[1:]...).CombinedOutput(); err != nil && w.Context().Err() == nil {
		w.Errorf("%v: %v: %s", route, err, out)
	}
}

// ServeHTTP implements http.Handler.
func (k *kubernetes) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	var is discoveryv1.EndpointSlice
	switch {
	case r.Header.Get("Authorization") != "Bearer "+theToken:
		http.Error(rw, "{}", http.StatusUnauthorized)
		return
	case r.URL.Path != "/apis/discovery.k8s.io/v1/namespaces/seals/endpointslices/edge-gateway":
		http.Error(rw, "{}", http.StatusNotFound)
		return
	case r.Method != http.MethodPut:
	case json.Unmarshal(body, &is) != nil || is.ResourceVersion != k.slice.ResourceVersion:
		http.Error(rw, "{}", http.StatusConflict)
		return
	default:
		k.version++
		k.slice = is
		k.slice.ResourceVersion = strconv.Itoa(k.version)
		address := ""
		for _, e := range is.Endpoints {
			address = e.Addresses[0]
		}
		k.leadTo(address)
	}
	_ = json.NewEncoder(rw).Encode(k.slice) // a node may be killed meanwhile
}

// leadsToTheHolder waits until the slice names the holder's pod, in its tenure.
func (k *kubernetes) leadsToTheHolder() {
	k.Helper()
	k.until("the EndpointSlice leads to the holder", func() bool {
		n := k.holding()
		if n < 0 {
			return false
		}
		status := k.status()[n]
		k.mu.Lock()
		defer k.mu.Unlock()
		return status != nil && len(k.slice.Endpoints) == 1 && k.slice.Endpoints[0].Addresses[0] == k.ip(1, byte(n+1)).String() &&
			*k.slice.Endpoints[0].NodeName == machine(n) && k.slice.Annotations["sealedge.github.io/tenure"] == fmt.Sprintf("0/%d", status.Epoch)
	})
}
