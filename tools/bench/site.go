package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/config"
	"github.com/sealedge/sealedge/edge/setup"
)

// Where everything is: loopback, beside the addresses of "sealedge init", so
// that a demo that is running is left alone. The ports are the protocols'.
var (
	gatewayAddress = netip.MustParseAddr("127.1.10.1")
	carrierNet     = netip.MustParsePrefix("127.1.20.0/24")
	carrierAddress = netip.MustParseAddr("127.1.20.1")
	peerAddress    = netip.MustParseAddrPort("127.1.30.1:2152") // of the yardstick beside the user plane
	sealServer     = netip.MustParseAddrPort("127.1.2.1:8443")
	innerGateway   = netip.MustParseAddr("10.90.0.1")
	// innerPool has room for more than 100,000 terminals.
	innerPool = netip.MustParsePrefix("10.64.0.0/10")
)

func nodeHost(n int) netip.Addr { return netip.AddrFrom4([4]byte{127, 1, 1, byte(n + 1)}) }

// site is a cluster of real processes in a directory of its own.
type site struct {
	dir    string
	bin    string
	layout *setup.Layout
	cfgs   []*config.Config
	nodes  []*process
	admin  *admin
	holder *process // of the gateway address, as of the last await
	epoch  uint64   // of that holding: it rises with every move
}

// newSite makes what a cluster needs; nothing runs yet.
func newSite(dir, bin string, nodes int) (*site, error) {
	var hosts []netip.Addr
	for n := range nodes {
		hosts = append(hosts, nodeHost(n))
	}
	layout, err := setup.Init(dir, setup.Options{
		Hosts: hosts, Gateway: gatewayAddress, Carriers: []netip.Prefix{carrierNet},
		Inner: innerGateway, Pool: innerPool, SealServer: sealServer, Now: time.Now(),
	})
	if err != nil {
		return nil, err
	}
	s := &site{dir: dir, bin: bin, layout: layout, nodes: make([]*process, nodes)}
	for _, file := range layout.Nodes {
		cfg, err := config.Load(file, nil)
		if err != nil {
			return nil, err
		}
		s.cfgs = append(s.cfgs, cfg)
	}
	operator, err := s.client("operator")
	if err != nil {
		return nil, err
	}
	s.admin = newAdmin(operator)
	for _, cfg := range s.cfgs {
		s.admin.addresses = append(s.admin.addresses, string(cfg.Admin.Listen))
	}
	return s, nil
}

// identity is one of the certificates of the directory, and the CA.
func (s *site) identity(name string) (tls.Certificate, *x509.CertPool, error) {
	file := func(name string) config.Path { return config.Path(filepath.Join(s.dir, "pki", name)) }
	pair, err := config.Pair(file(name+".pem"), file(name+"-key.pem"))
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	roots, err := file("ca.pem").Pool()
	return *pair, roots, err
}

// client is the TLS configuration of a caller.
func (s *site) client(name string) (*tls.Config, error) {
	pair, roots, err := s.identity(name)
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, RootCAs: roots}, err
}

// The limits on Creates of all peers together, and on an operator's requests, are
// out of the way: it is the gateway that is measured.
const (
	creates   = "gateway.gtp.creates_per_second=1000000"
	unlimited = "admin.requests_per_second=0"
)

// patientDisk keeps a node from stopping when others keep the disk busy: what that
// costs is in the figures.
const patientDisk = "cluster.disk_stall=10s"

// launch starts the nodes and waits until the gateway address is held.
func (s *site) launch(ctx context.Context) error {
	for n, file := range s.layout.Nodes {
		p, err := start(s.dir, fmt.Sprintf("node%d", n+1), filepath.Join(s.bin, "sealedge"), "run", "--set", creates, "--set", unlimited, "--set", patientDisk, file)
		if err != nil {
			return err
		}
		s.nodes[n] = p
	}
	return s.await(ctx)
}

// await waits until the cluster has a leader that holds the gateway address.
func (s *site) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		var status adminapi.Status
		err := s.admin.call(ctx, "GET", "/v1/status", nil, &status)
		if err == nil && status.Holder != "" && status.Holder == status.Leader {
			for n, cfg := range s.cfgs {
				if string(cfg.Node.Name) == status.Holder {
					s.holder, s.epoch = s.nodes[n], status.Epoch
					s.admin.prefer(string(cfg.Admin.Listen))
				}
			}
			return nil
		}
		if err := s.alive(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(errors.New("the cluster did not begin to serve"), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// alive fails when a process has ended by itself.
func (s *site) alive() error {
	var errs []error
	for _, p := range s.nodes {
		if p != nil {
			errs = append(errs, p.ended())
		}
	}
	return errors.Join(errs...)
}

// applyPolicy puts the first policy in force.
func (s *site) applyPolicy(ctx context.Context) error {
	doc, err := os.ReadFile(s.layout.Policy)
	if err != nil {
		return err
	}
	return s.admin.call(ctx, "PUT", "/v1/policy", adminapi.Policy{Document: string(doc)}, nil)
}

// cpu is the processor time of the holder, and of all nodes.
func (s *site) cpu() (holder, all time.Duration, err error) {
	for _, p := range s.nodes {
		t, err := p.cpu()
		if err != nil {
			return 0, 0, errors.Join(err, p.ended())
		}
		if all += t; p == s.holder {
			holder = t
		}
	}
	return holder, all, nil
}

// stop ends all nodes.
func (s *site) stop() {
	for n, p := range s.nodes {
		if p != nil {
			p.stop()
			s.nodes[n] = nil
		}
	}
}
