package drill

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/config"
	"github.com/sealedge/sealedge/edge/setup"
	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
)

// LocalConfig says how a drill cluster is made.
type LocalConfig struct {
	Bin   string // directory of the programs
	Dir   string // for everything that is written; empty or not there
	Nodes int    // zero means 3
	// Set are configuration keys of every node, as key=value.
	Set []string
}

// Local is a cluster of real processes on this machine, made for drills: each in
// a network namespace of its own if this process is isolated, with the gateway
// address moved by netlink; else all on loopback.
type Local struct {
	cfg    LocalConfig
	layout *setup.Layout
	block  byte         // second octet of all addresses
	claim  net.Listener // keeps the block
	names  []string
	nodes  []*process
	admin  *Admin
	server *process
	disks  map[string]*badDisk // of nodes, by name
}

const apn = "seal.corp"

var inner = netip.MustParseAddr("10.90.0.1")

// StartLocal makes a cluster and starts it. It serves when StartLocal returns.
func StartLocal(ctx context.Context, cfg LocalConfig) (_ *Local, err error) {
	if cfg.Nodes == 0 {
		cfg.Nodes = 3
	}
	l := &Local{cfg: cfg, disks: map[string]*badDisk{}}
	defer func() {
		if err != nil {
			l.Stop()
		}
	}()
	if !Isolated() {
		if err := l.takeBlock(); err != nil {
			return nil, err
		}
	}
	if err := l.setUp(); err != nil {
		return nil, err
	}
	if Isolated() {
		if err := makeNetwork(l.names, func(i int) netip.Addr { return l.ip(1, byte(i+1)) }); err != nil {
			return nil, err
		}
		cfg.Set = append([]string{"gateway.address_driver=netlink", "gateway.interface=" + nodePort}, cfg.Set...)
	}
	for i, file := range l.layout.Nodes {
		argv := []string{filepath.Join(cfg.Bin, "sealedge"), "run", "--set", "admin.requests_per_second=0"}
		for _, s := range cfg.Set {
			argv = append(argv, "--set", s)
		}
		argv = append(argv, file)
		if Isolated() {
			argv = inNamespace(l.names[i], argv)
		}
		p, err := start(cfg.Dir, l.names[i], argv...)
		if err != nil {
			return nil, fmt.Errorf("%w (make build makes the programs)", err)
		}
		l.nodes = append(l.nodes, p)
	}
	soon, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := l.admin.healthy(soon); err != nil {
		return nil, errors.Join(err, l.alive())
	}
	doc, err := os.ReadFile(l.layout.Policy)
	if err != nil {
		return nil, err
	}
	return l, l.admin.call(soon, http.MethodPut, "/v1/policy", adminapi.Policy{Document: string(doc)}, nil)
}

// takeBlock finds loopback addresses that no other cluster of drills or tests on
// this machine has.
func (l *Local) takeBlock() (err error) {
	for l.block = 128; l.block < 250; l.block++ {
		if l.claim, err = net.Listen("tcp", fmt.Sprintf("127.%d.255.254:60000", l.block)); err == nil {
			return nil
		}
	}
	return fmt.Errorf("no block of loopback addresses is free: %w", err)
}

// ip is an address of the cluster's block.
func (l *Local) ip(c, d byte) netip.Addr {
	if Isolated() {
		return isolatedIP(c, d)
	}
	return netip.AddrFrom4([4]byte{127, l.block, c, d})
}

// sealServer is where the seal server listens.
func (l *Local) sealServer() netip.AddrPort {
	if Isolated() {
		return netip.AddrPortFrom(l.ip(0, 254), 8443)
	}
	return netip.AddrPortFrom(l.ip(2, 1), 8443)
}

func (l *Local) setUp() error {
	o := setup.Options{
		Gateway: l.ip(10, 1), Carriers: []netip.Prefix{netip.PrefixFrom(l.ip(20, 0), 24)}, Inner: inner,
		SealServer: l.sealServer(), Now: time.Now(),
	}
	for n := range l.cfg.Nodes {
		o.Hosts = append(o.Hosts, l.ip(1, byte(n+1)))
	}
	var err error
	if l.layout, err = setup.Init(l.cfg.Dir, o); err != nil {
		return err
	}
	var addresses []string
	for _, file := range l.layout.Nodes {
		cfg, err := config.Load(file, nil)
		if err != nil {
			return err
		}
		l.names = append(l.names, string(cfg.Node.Name))
		addresses = append(addresses, string(cfg.Admin.Listen))
	}
	identity, err := l.identity("operator")
	if err != nil {
		return err
	}
	l.admin = NewAdmin(addresses, identity)
	return nil
}

// identity is the TLS configuration of a caller.
func (l *Local) identity(name string) (*tls.Config, error) {
	file := func(name string) config.Path { return config.Path(filepath.Join(l.cfg.Dir, "pki", name)) }
	pair, err := config.Pair(file(name+".pem"), file(name+"-key.pem"))
	if err != nil {
		return nil, err
	}
	roots, err := file("ca.pem").Pool()
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*pair}, RootCAs: roots}, nil
}

func (l *Local) String() string {
	if Isolated() {
		return fmt.Sprintf("local cluster of %d nodes, each in a network namespace of its own", len(l.nodes))
	}
	return fmt.Sprintf("local cluster of %d nodes on loopback", len(l.nodes))
}

// Admin calls the cluster's API.
func (l *Local) Admin() *Admin { return l.admin }

// Canary enlists subscribers and makes a canary's configuration of them.
func (l *Local) Canary(ctx context.Context, sessions, churn int) (CanaryConfig, error) {
	cfg := CanaryConfig{Address: l.ip(20, 1), Gateway: l.ip(10, 1), Inner: inner}
	for i := range sessions + churn {
		s, err := l.enlist(ctx, i)
		if err != nil {
			return cfg, err
		}
		if i < sessions {
			cfg.Sessions = append(cfg.Sessions, s)
		} else {
			cfg.Churn = append(cfg.Churn, s)
		}
	}
	return cfg, nil
}

func (l *Local) enlist(ctx context.Context, i int) (carrier.Subscriber, error) {
	t := adminapi.Terminal{IMSI: fmt.Sprintf("00101%010d", i+1), IMEIs: []string{fmt.Sprintf("35693803%06d", i+1)}, APNs: []string{apn}, Label: "canary"}
	s, err := subscriber(t.IMSI, t.IMEIs[0], apn, "00101")
	if err != nil {
		return s, err
	}
	return s, l.admin.call(ctx, http.MethodPut, "/v1/terminals/"+t.IMSI, t, nil)
}

func subscriber(imsi, imei, apn, plmn string) (s carrier.Subscriber, err error) {
	var errs [4]error
	s.IMSI, errs[0] = ident.ParseIMSI(imsi)
	s.IMEI, errs[1] = ident.ParseIMEI(imei)
	s.APN, errs[2] = ident.ParseAPN(apn)
	s.PLMN, errs[3] = ident.ParsePLMN(plmn)
	return s, errors.Join(errs[:]...)
}

// Stop ends everything.
func (l *Local) Stop() {
	for _, bad := range l.disks {
		bad.stop()
	}
	for _, p := range l.nodes {
		p.stop()
	}
	if l.server != nil {
		l.server.stop()
	}
	if l.claim != nil {
		_ = l.claim.Close()
	}
}

// alive tells which processes ended by themselves.
func (l *Local) alive() error {
	var errs []error
	for _, p := range l.nodes {
		if p.ended() {
			errs = append(errs, fmt.Errorf("%s ended:\n%s", p.name, p.lastWords()))
		}
	}
	return errors.Join(errs...)
}

func (l *Local) node(name string) (*process, error) {
	for i, n := range l.names {
		if n == name {
			return l.nodes[i], nil
		}
	}
	return nil, fmt.Errorf("there is no node %q; there are %s", name, strings.Join(l.names, ", "))
}
