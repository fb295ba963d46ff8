package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/config"
	"github.com/sealedge/sealedge/edge/setup"
)

// site is a gateway of one or several real processes, in a directory and at
// loopback addresses of its own.
type site struct {
	dir    string
	block  byte // second octet of all addresses
	layout *setup.Layout
	cfgs   []*config.Config
	nodes  []*node
	http   *http.Client
	claim  net.Listener
}

// node is a process of the gateway. Its output, the garbage collector's too, is
// in log.
type node struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{} // closed when it has ended
}

var (
	innerGateway = netip.MustParseAddr("10.90.0.1")
	innerPool    = netip.MustParsePrefix("10.64.0.0/10")
	innerSix     = netip.MustParseAddr("fd00:90::1")
	innerPool6   = netip.MustParsePrefix("fd00:90::/32")
)

// newSite makes a gateway and starts it; it serves when newSite returns.
func newSite(ctx context.Context, dir, bin string, nodes int) (_ *site, err error) {
	s := &site{dir: dir}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	// The tests of other programs take blocks in this way, from the other end.
	for s.block = 249; ; s.block-- {
		if s.claim, err = net.Listen("tcp", fmt.Sprintf("127.%d.255.254:60000", s.block)); err == nil {
			break
		} else if s.block == 3 {
			return nil, fmt.Errorf("no block of loopback addresses is free: %w", err)
		}
	}
	o := setup.Options{
		Gateway: s.ip(10, 1), Carriers: []netip.Prefix{netip.PrefixFrom(s.ip(20, 0), 24)},
		SealServer: netip.AddrPortFrom(s.ip(2, 1), 8443), Inner: innerGateway, Pool: innerPool,
		Inner6: innerSix, Pool6: innerPool6, Now: time.Now(),
	}
	for n := range nodes {
		o.Hosts = append(o.Hosts, s.ip(1, byte(n+1)))
	}
	if s.layout, err = setup.Init(dir, o); err != nil {
		return nil, err
	}
	for _, file := range s.layout.Nodes {
		cfg, err := config.Load(file, nil)
		if err != nil {
			return nil, err
		}
		s.cfgs = append(s.cfgs, cfg)
	}
	pair, err := config.Pair(config.Path(filepath.Join(dir, "pki/operator.pem")), config.Path(filepath.Join(dir, "pki/operator-key.pem")))
	if err != nil {
		return nil, err
	}
	roots, err := config.Path(filepath.Join(dir, "pki/ca.pem")).Pool()
	if err != nil {
		return nil, err
	}
	s.http = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		MaxIdleConnsPerHost: hands,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*pair}, RootCAs: roots},
	}}
	for n, file := range s.layout.Nodes {
		if err := s.start(fmt.Sprintf("node%d", n+1), filepath.Join(bin, "sealedge"), "run", "--set", "admin.requests_per_second=0", "--set", patientDisk, file); err != nil {
			return nil, err
		}
	}
	if err := s.await(ctx); err != nil {
		return nil, err
	}
	policy, err := os.ReadFile(s.layout.Policy)
	if err != nil {
		return nil, err
	}
	return s, s.call(ctx, "PUT", "/v1/policy", adminapi.Policy{Document: string(policy)}, nil)
}

func (s *site) ip(c, d byte) netip.Addr { return netip.AddrFrom4([4]byte{127, s.block, c, d}) }

// patientDisk keeps a node from ending itself when others keep the disk busy, as a
// node does for the sake of failover: an end counts as a failure here.
const patientDisk = "cluster.disk_stall=10s"

func (s *site) start(name string, argv ...string) error {
	n := &node{name: name, cmd: exec.Command(argv[0], argv[1:]...), log: filepath.Join(s.dir, name+".log"), done: make(chan struct{})}
	out, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	n.cmd.Stdout, n.cmd.Stderr = out, out
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // it ends with this process, however that ends
	// What else fills this machine's disk is no matter of a directory that is
	// thrown away.
	n.cmd.Env = append(os.Environ(), "GODEBUG=gctrace=1", "SEALEDGE_CLUSTER_ADMISSION_STOP=100")
	if err := n.cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w (make build makes the programs)", name, err)
	}
	go func() {
		_ = n.cmd.Wait() // that it ended is enough
		close(n.done)
	}()
	s.nodes = append(s.nodes, n)
	return nil
}

// alive fails when a process has ended by itself.
func (s *site) alive() error {
	for _, n := range s.nodes {
		select {
		case <-n.done:
			b, _ := os.ReadFile(n.log)
			lines := strings.Split(strings.TrimSpace(string(b)), "\n")
			return fmt.Errorf("%s ended by itself (%v); its last words:\n%s", n.name, n.cmd.ProcessState, strings.Join(lines[max(0, len(lines)-20):], "\n"))
		default:
		}
	}
	return nil
}

// await waits until the gateway address is held.
func (s *site) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		status, err := s.status(ctx)
		if err == nil && status.Holder != "" && status.Holder == status.Leader {
			return nil
		}
		if err := s.alive(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(errors.New("the gateway did not begin to serve"), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *site) status(ctx context.Context) (v adminapi.Status, err error) {
	return v, s.call(ctx, "GET", "/v1/status", nil, &v)
}

// call makes a call of the operators' API at whichever node answers well.
func (s *site) call(ctx context.Context, method, path string, in, out any) (err error) {
	for _, cfg := range s.cfgs {
		if err = s.callAt(ctx, cfg, method, path, in, out); err == nil {
			return nil
		}
	}
	return err
}

func (s *site) callAt(ctx context.Context, at *config.Config, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, method, "https://"+string(at.Admin.Listen)+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := s.http.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	switch {
	case err != nil:
		return err
	case answer.StatusCode >= 300:
		return fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, b)
	case out == nil || len(b) == 0:
		return nil
	}
	return json.Unmarshal(b, out)
}

// counters are the sums over all nodes.
func (s *site) counters(ctx context.Context) (map[string]uint64, error) {
	all := map[string]uint64{}
	for _, cfg := range s.cfgs {
		var some map[string]uint64
		if err := s.callAt(ctx, cfg, "GET", "/v1/counters?stale=true", nil, &some); err != nil {
			return nil, err
		}
		for name, n := range some {
			all[name] += n
		}
	}
	return all, nil
}

// stop ends all nodes.
func (s *site) stop() {
	for _, n := range s.nodes {
		_ = n.cmd.Process.Signal(syscall.SIGTERM) // it may be gone
		select {
		case <-n.done:
		case <-time.After(10 * time.Second):
			_ = n.cmd.Process.Kill()
			<-n.done
		}
	}
	if s.claim != nil {
		_ = s.claim.Close()
	}
	if s.http != nil {
		s.http.CloseIdleConnections()
	}
}
