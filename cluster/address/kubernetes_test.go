package address

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
)

// kubernetes is an API server that has one EndpointSlice, and what the driver needs of
// the real one: TLS, tokens, and that a write is refused unless it is of the version
// that is stored. It is reached through pipes, so that a test's clock goes for it, too.
type kubernetes struct {
	*testing.T
	dir string // credentials of a ServiceAccount
	at  string // its address
	net *pipes

	mu      sync.Mutex
	object  map[string]any              // guarded by mu; nil: there is no slice
	version int                         // guarded by mu
	token   string                      // guarded by mu; that is taken
	status  int                         // guarded by mu; what it answers to everything, 0: what is right
	before  func(method string)         // guarded by mu; called before a request is looked at, nil: not
	wrote   []discoveryv1.EndpointSlice // guarded by mu; in order
	asked   []string                    // guarded by mu; methods and results
}

const sliceName = "edge-gateway"

// asTheChartMakesIt is the slice as it is before anybody held, with what a real API
// server adds.
const asTheChartMakesIt = `{
	"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "endpoints": null, "ports": null,
	"metadata": {
		"name": "edge-gateway", "namespace": "seals", "uid": "c5a1", "resourceVersion": "1", "generation": 9007199254740993,
		"creationTimestamp": "2026-11-23T07:00:00Z",
		"labels": {"kubernetes.io/service-name": "edge-gateway", "endpointslice.kubernetes.io/managed-by": "sealedge"},
		"annotations": {"meta.helm.sh/release-name": "seals"},
		"managedFields": [{"manager": "helm", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {"f:addressType": {}}}]
	}
}`

func newKubernetes(t *testing.T) *kubernetes {
	t.Helper()
	k := &kubernetes{T: t, dir: t.TempDir(), at: "127.0.0.1:6443", net: newPipes(), version: 1, token: "first"}
	k.object = k.parse([]byte(asTheChartMakesIt))
	s := httptest.NewUnstartedServer(k)
	s.Listener.Close()
	s.Listener = k.net
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	t.Cleanup(s.Close)
	k.credential("ca.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	k.credential("namespace", "seals")
	k.credential("token", "first\n")
	return k
}

func (k *kubernetes) credential(file, content string) {
	k.Helper()
	if err := os.WriteFile(filepath.Join(k.dir, file), []byte(content), 0o600); err != nil {
		k.Fatal(err)
	}
}

func (k *kubernetes) read(file string) string {
	k.Helper()
	b, err := os.ReadFile(filepath.Join(k.dir, file))
	if err != nil {
		k.Fatal(err)
	}
	return string(b)
}

// stranger is a CA that doesn't vouch for the server.
func (k *kubernetes) stranger() string {
	k.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		k.Fatal(err)
	}
	is := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, is, is, key.Public(), key)
	if err != nil {
		k.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func (k *kubernetes) set(change func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change()
}

func (k *kubernetes) parse(b []byte) (object map[string]any) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&object); err != nil {
		k.Error(err)
	}
	return object
}

// ServeHTTP implements http.Handler.
func (k *kubernetes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	k.mu.Lock()
	before := k.before
	k.mu.Unlock()
	if before != nil {
		before(r.Method)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	code, answer := k.answer(r, body)
	k.asked = append(k.asked, fmt.Sprint(r.Method, " ", code))
	w.Header().Set("Content-Type", "application/json")
	if code/100 == 3 {
		w.Header().Set("Location", "https://127.0.0.1:6444/elsewhere")
	}
	w.WriteHeader(code)
	if answer == nil {
		answer = map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "so it is with " + sliceName}
	}
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		k.Error(err)
	}
}

func (k *kubernetes) answer(r *http.Request, body []byte) (int, map[string]any) {
	switch {
	case r.URL.Path != "/apis/discovery.k8s.io/v1/namespaces/seals/endpointslices/"+sliceName:
		return http.StatusNotFound, nil
	case k.status != 0:
		return k.status, nil
	case r.Header.Get("Authorization") != "Bearer "+k.token:
		return http.StatusUnauthorized, nil
	case k.object == nil:
		return http.StatusNotFound, nil
	case r.Method == http.MethodGet:
		return http.StatusOK, k.object
	case r.Method != http.MethodPut || r.Header.Get("Content-Type") != "application/json":
		return http.StatusMethodNotAllowed, nil
	}
	// What is sent is what Kubernetes knows, and no more.
	var is discoveryv1.EndpointSlice
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&is); err != nil {
		k.Errorf("what was sent is no EndpointSlice: %v\n%s", err, body)
		return http.StatusBadRequest, nil
	}
	if is.ResourceVersion == "" {
		k.Error("a write that isn't of any version")
	}
	if is.ResourceVersion != strconv.Itoa(k.version) {
		return http.StatusConflict, nil
	}
	k.object = k.parse(body)
	k.changed()
	k.wrote = append(k.wrote, is)
	return http.StatusOK, k.object
}

// changed gives the slice its next version. k.mu is held.
func (k *kubernetes) changed() {
	k.version++
	k.object["metadata"].(map[string]any)["resourceVersion"] = strconv.Itoa(k.version)
}

// edit is what somebody else does to the slice.
func (k *kubernetes) edit(change func(object map[string]any)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change(k.object)
	k.changed()
}

// annotate has the slice be of a tenure.
func (k *kubernetes) annotate(value string) {
	k.edit(func(o map[string]any) {
		o["metadata"].(map[string]any)["annotations"] = map[string]any{tenureKey: value}
	})
}

// stored is the slice.
func (k *kubernetes) stored() (is discoveryv1.EndpointSlice) {
	k.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	b, err := json.Marshal(k.object)
	if err == nil {
		err = json.Unmarshal(b, &is)
	}
	if err != nil {
		k.Fatal(err)
	}
	return is
}

// says is the slice in short: its tenure and whom it leads to.
func (k *kubernetes) says() string {
	k.Helper()
	return brief(k.stored())
}

func brief(is discoveryv1.EndpointSlice) string {
	text := is.Annotations[tenureKey] + ":"
	for _, e := range is.Endpoints {
		text += " " + strings.Join(e.Addresses, ",")
	}
	return text
}

// requests are what was asked since the last call.
func (k *kubernetes) requests() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := strings.Join(k.asked, ", ")
	k.asked = nil
	return all
}

// pod is a node of the gateway in that Kubernetes.
type pod struct {
	*service
	holds atomic.Bool
	life  atomic.Int64
	log   *record
}

// pod makes the n-th. It holds, as long as nobody says otherwise.
func (k *kubernetes) pod(n int) *pod {
	k.Helper()
	api, err := newAPIServer(k.at, k.dir, sliceName, k.net.dial)
	if err != nil {
		k.Fatal(err)
	}
	k.Cleanup(api.client.CloseIdleConnections)
	p := &pod{log: new(record)}
	p.holds.Store(true)
	p.service = startService(api, Settings{
		Holds: func(a netip.Addr) bool { return a == here && p.holds.Load() }, Life: p.life.Load, Logger: slog.New(slog.NewTextHandler(p.log, nil)),
		Endpoint: Endpoint{
			Slice: sliceName, Address: netip.AddrFrom4([4]byte{10, 244, byte(n), 7}), Pod: fmt.Sprint("edge-", n), Machine: fmt.Sprint("worker-", n),
			Ports: []Port{{"gtp-c", 2123}, {"gtp-u", 2152}, {"wireguard", 51820}},
		},
	})
	return p
}

// record is a log.
type record struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

// pipes is a network of one listener.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Accept implements net.Listener.
func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr implements net.Listener.
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 6443} }

// soon is a context that ends after d of the bubble's clock.
func soon(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
