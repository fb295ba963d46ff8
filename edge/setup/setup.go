// Package setup makes all that a cluster needs to run for the first time
// ("sealedge init"): a CA and certificates, keys, a configuration for each node,
// a first policy, and the files of the seal server and of the operator. They
// run as they are, on loopback.
//
// The CA is valid for ten years, all other certificates for 825 days: as long
// as common clients accept them. Who holds pki/ca-key.pem can make nodes and
// operators; it belongs off the machine once the cluster runs.
//
// Each party is known by a URI SAN in its certificate:
//
//	sealedge://node/NAME       a node, towards the other nodes
//	sealedge://gateway/NAME    the gateway, towards the seal server
//	sealedge://seal-server     the seal server, towards the gateway
//	sealedge://operator/NAME   a person; the roles are in the OU
package setup

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/bundle"
	"github.com/sealedge/sealedge/policy/ident"
)

// MaxNodes bounds a cluster: a write waits for the majority.
const MaxNodes = 9

// Options say what to make. A zero field takes the value in its comment.
type Options struct {
	Nodes      int            // 1
	Hosts      []netip.Addr   // of each node; 127.0.1.1, 127.0.1.2, ...
	Gateway    netip.Addr     // 127.0.10.1: GTP and WireGuard, it moves with the leadership
	Carriers   []netip.Prefix // 127.0.20.0/24: who may speak GTP
	APN        ident.APN      // seal.corp
	Inner      netip.Addr     // 10.90.0.1: the gateway inside the tunnel
	Pool       netip.Prefix   // 10.90.0.0/16: addresses of terminals
	Inner6     netip.Addr     // the gateway inside the tunnel in IPv6; the zero Addr: no IPv6
	Pool6      netip.Prefix   // of which terminals get a /64 each; goes with Inner6
	SealServer netip.AddrPort // 127.0.2.1:8443
	Kubernetes Kubernetes     // none: the nodes are processes, at Hosts
	// Names are further DNS names and addresses by which callers know the listeners
	// admin, intranet and fallback, such as those of a load balancer.
	Names map[string][]string
	Now   time.Time // required: when the certificates begin to be valid
}

// Layout tells where things are.
type Layout struct {
	Nodes      []string // a configuration for each node; none in Kubernetes
	Secret     string   // in Kubernetes: the manifest of what the nodes hold
	Policy     string
	SealServer string // the seal server's configuration
	Context    string // the operator's, for sealctl
	GrantKey   string // the public half, for barrels
}

// Ports of a node, and the name of the gateway's address.
const (
	clusterPort  = 7000
	adminPort    = 7443
	intranetPort = 7444
	fallbackPort = 7448 // where terminals ask for the fallback path
	gatewayName  = "gw1"
	innerName    = "gateway.seal.internal" // of the gateway inside the tunnel
	sealName     = "sealserver.seal.internal"
)

func (o Options) complete() (Options, error) {
	if o.Now.IsZero() {
		return o, errors.New("setup: the time is missing")
	}
	if o.Nodes == 0 {
		o.Nodes = max(1, len(o.Hosts))
	}
	if o.Nodes < 1 || o.Nodes > MaxNodes {
		return o, fmt.Errorf("%d nodes; make 1 to %d, best 3", o.Nodes, MaxNodes)
	}
	if len(o.Hosts) == 0 {
		for n := range o.Nodes {
			o.Hosts = append(o.Hosts, netip.AddrFrom4([4]byte{127, 0, 1, byte(n + 1)}))
		}
	}
	if len(o.Hosts) != o.Nodes {
		return o, fmt.Errorf("%d hosts for %d nodes; give each node one", len(o.Hosts), o.Nodes)
	}
	for i, h := range o.Hosts {
		if !h.IsValid() || h.IsUnspecified() || slices.Contains(o.Hosts[:i], h) {
			return o, fmt.Errorf("host %s: give each node an address of its own", h)
		}
	}
	orElse(&o.Gateway, netip.AddrFrom4([4]byte{127, 0, 10, 1}))
	orElse(&o.Inner, netip.AddrFrom4([4]byte{10, 90, 0, 1}))
	orElse(&o.Pool, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 90, 0, 0}), 16))
	orElse(&o.SealServer, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 2, 1}), 8443))
	if o.Inner6.IsValid() != o.Pool6.IsValid() {
		return o, errors.New("IPv6 inside the tunnel takes both an address of the gateway and a range for terminals; give both or none")
	}
	for listener, names := range o.Names {
		if !slices.Contains(listeners, listener) {
			return o, fmt.Errorf("no listener is called %q", listener)
		}
		for _, name := range names {
			if _, err := netip.ParseAddr(name); err != nil && !hostnames.MatchString(name) {
				return o, fmt.Errorf("%q: write a DNS name or an address, such as gateway.example.com", name)
			}
		}
	}
	if len(o.Carriers) == 0 {
		o.Carriers = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{127, 0, 20, 0}), 24)}
	}
	return o, nil
}

func orElse[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

// file is one file to be written. private ones only the owner can read.
type file struct {
	name    string // below the directory
	content []byte
	private bool
}

// Init fills dir, which must be empty or not exist. If it fails, what it made
// is gone again.
func Init(dir string, o Options) (*Layout, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	policyDoc := bundle.Default(bundle.Params{
		APN: o.APN, Gateway: o.Inner, Pool: o.Pool, Gateway6: o.Inner6, Pool6: o.Pool6,
		Server: policy.Server{Host: o.SealServer.Addr().String(), Port: o.SealServer.Port()},
	})
	if _, _, err := bundle.Parse("policy.yaml", policyDoc); err != nil {
		return nil, err // the options don't fit together
	}
	files := []file{{name: "policy.yaml", content: policyDoc}}
	for _, part := range []func(Options) ([]file, error){identities, keys, configurations} {
		more, err := part(o)
		if err != nil {
			return nil, err
		}
		files = append(files, more...)
	}
	if o.Kubernetes.used() {
		files = append(files, o.secret(files))
	}
	if err := write(dir, []string{"pki", "data"}, files); err != nil {
		return nil, err
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	l := &Layout{
		Policy: at("policy.yaml"), SealServer: at("sealserver.yaml"), Context: at("sealctl.yaml"),
		GrantKey: at("pki/grant-public.pem"),
	}
	if o.Kubernetes.used() {
		l.Secret = at("secret.yaml")
		return l, nil
	}
	for _, p := range o.places() {
		l.Nodes = append(l.Nodes, at(p.name+".yaml"))
	}
	return l, nil
}

// write makes the files, and before them the private directories that they are in,
// in an empty directory: all or none.
func write(dir string, private []string, files []file) (err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s is not empty: it has %s; name an empty or a new directory", dir, entries[0].Name())
	}
	var made []string
	defer func() {
		if err != nil {
			for _, name := range slices.Backward(made) {
				os.Remove(name)
			}
		}
	}()
	for _, sub := range private {
		path := filepath.Join(dir, sub)
		if err := os.Mkdir(path, 0o700); err != nil {
			return err
		}
		made = append(made, path)
	}
	for _, f := range files {
		mode := os.FileMode(0o644)
		if f.private {
			mode = 0o600
		}
		path := filepath.Join(dir, f.name)
		w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if err != nil {
			return err
		}
		made = append(made, path)
		_, err = w.Write(f.content)
		if err = errors.Join(err, w.Close()); err != nil {
			return err
		}
	}
	return nil
}
