package config

import (
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sealedge/sealedge/edge/bind"
)

// Check loads the configuration as Load does, and if that succeeds looks at all
// the files that it names: whether they are there, hold what they should, are
// valid at now, fit together, and are kept from others; and for the interface, if
// one is named. It changes nothing. nil
// means that a node can start with this.
func Check(path string, flags map[string]string, now time.Time) Problems {
	raw, err := readFile(path)
	if err != nil {
		var ps Problems
		errors.As(err, &ps)
		return ps
	}
	cfg, l := load(path, raw, flags)
	if all := l.problems(); len(all) > 0 {
		return all
	}
	c := checker{l, now}
	c.dataDir(cfg.Node.DataDir)

	node := c.pair("tls", cfg.TLS.Cert, cfg.TLS.Key, x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth)
	c.issued("tls", node, c.pool("tls", cfg.TLS.CA))
	c.named("tls.cert", node, "sealedge://node/"+string(cfg.Node.Name))
	c.pair("admin", cfg.Admin.Cert, cfg.Admin.Key, x509.ExtKeyUsageServerAuth)
	c.pool("admin", cfg.Admin.CA)
	c.pair("intranet", cfg.Intranet.Cert, cfg.Intranet.Key, x509.ExtKeyUsageServerAuth)
	c.pool("intranet", cfg.Intranet.CA)
	c.pair("upstream", cfg.Upstream.Cert, cfg.Upstream.Key, x509.ExtKeyUsageClientAuth)
	c.pool("upstream", cfg.Upstream.CA)

	if f := cfg.Fallback; f.Enabled() {
		c.pair("fallback", f.Cert, f.Key, x509.ExtKeyUsageServerAuth)
	}

	c.traces(cfg.Telemetry.Traces)

	inner := cfg.Inner
	phone := c.pair("inner.phone_api", inner.PhoneAPI.Cert, inner.PhoneAPI.Key, x509.ExtKeyUsageServerAuth)
	barrel := c.pair("inner.barrel_api", inner.BarrelAPI.Cert, inner.BarrelAPI.Key, x509.ExtKeyUsageServerAuth)
	for _, a := range inner.Addresses {
		if phone != nil && phone.VerifyHostname(a.String()) != nil {
			c.l.mistake("inner.phone_api.cert", "have one issued with this address as an IP SAN", "the certificate doesn't name inner address %s, so phones will refuse it", a)
		}
	}
	if barrel != nil {
		if _, ok := barrel.PublicKey.(*ecdsa.PublicKey); !ok {
			c.l.mistake("inner.barrel_api.cert", "have one issued for an ECDSA key", "barrels' cipher suites need an ECDSA certificate, this one is %s", barrel.PublicKeyAlgorithm)
		}
	}

	if name := cfg.Gateway.Interface; name != "" {
		if _, err := net.InterfaceByName(name); err != nil {
			c.l.mistake("gateway.interface", "name one that \"ip link\" lists", "this machine has no interface %q", name)
		}
	}
	for _, a := range cfg.Node.ListenAt {
		if _, err := bind.Interfaces(a); err != nil {
			c.l.mistake("node.listen_at", "name those that \"ip address\" lists", "%v", err)
		}
	}
	if a := cfg.Gateway.Bind; a.IsValid() {
		// Found out here rather than when this node is to take over.
		s, err := net.ListenPacket("udp4", netip.AddrPortFrom(a, 0).String())
		if err != nil {
			c.l.mistake("gateway.bind", "name one that \"ip address\" lists", "this machine can't open sockets at %s: %v", a, err)
		} else {
			s.Close()
		}
	}
	if _, err := os.Stat("/dev/net/tun"); cfg.Inner.Driver == "tun" && err != nil {
		c.l.mistake("inner.driver", "load the module tun, in a container give it the device, or take netstack", "%v", err)
	}
	c.keyFile("grant.key_file", cfg.Grant.KeyFile, func() error { _, err := cfg.Grant.Ed25519(); return err })
	c.keyFile("secrets.key_file", cfg.Secrets.KeyFile, func() error { _, err := cfg.Secrets.Secret(); return err })
	if w := cfg.Gateway.WireGuard; w.PrivateKeyFile != "" {
		c.keyFile("gateway.wireguard.private_key_file", w.PrivateKeyFile, func() error { _, err := w.PrivateKey(); return err })
	}
	return l.problems()
}

type checker struct {
	l   *loader
	now time.Time
}

// pair checks a certificate with its key, and returns the certificate when it
// can be read.
func (c checker) pair(section string, cert, key Path, usages ...x509.ExtKeyUsage) *x509.Certificate {
	c.secrecy(section+".key", key)
	loaded, err := Pair(cert, key)
	if err != nil {
		at := section + ".cert"
		if _, missing := os.Stat(string(key)); missing != nil {
			at = section + ".key"
		}
		c.l.mistake(at, "", "%v", err)
		return nil
	}
	leaf := loaded.Leaf
	switch {
	case c.now.Before(leaf.NotBefore):
		c.l.mistake(section+".cert", "see that this machine's clock is right", "%s is valid only from %s", cert, leaf.NotBefore.Format(time.RFC3339))
	case c.now.After(leaf.NotAfter):
		c.l.mistake(section+".cert", "have a new one issued", "%s expired on %s", cert, leaf.NotAfter.Format(time.RFC3339))
	}
	for _, u := range usages {
		if !slices.Contains(leaf.ExtKeyUsage, u) && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny) {
			c.l.mistake(section+".cert", "have one issued with it", "%s may not be used for %s authentication", cert, map[x509.ExtKeyUsage]string{x509.ExtKeyUsageServerAuth: "server", x509.ExtKeyUsageClientAuth: "client"}[u])
		}
	}
	return leaf
}

func (c checker) pool(section string, ca Path) *x509.CertPool {
	pool, err := ca.Pool()
	if err != nil {
		c.l.mistake(section+".ca", "", "%v", err)
	}
	return pool
}

// issued checks that the CA vouches for the certificate.
func (c checker) issued(section string, cert *x509.Certificate, roots *x509.CertPool) {
	if cert == nil || roots == nil || c.now.After(cert.NotAfter) || c.now.Before(cert.NotBefore) {
		return
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: c.now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		c.l.mistake(section+".cert", "have it issued by the CA of "+section+".ca", "the CA doesn't vouch for it: %v", err)
	}
}

// named checks that the certificate is of the party.
func (c checker) named(key string, cert *x509.Certificate, uri string) {
	if cert == nil {
		return
	}
	for _, u := range cert.URIs {
		if u.String() == uri {
			return
		}
	}
	c.l.mistake(key, "use the certificate of this node, or mend node.name", "the certificate lacks the URI SAN %s; it has %v", uri, cert.URIs)
}

func (c checker) keyFile(key string, path Path, read func() error) {
	c.secrecy(key, path)
	if err := read(); err != nil {
		c.l.mistake(key, "", "%v", err)
	}
}

// secrecy checks that not everyone on the machine can read a key. A group may:
// that is how a platform hands secrets to a service.
func (c checker) secrecy(key string, path Path) {
	if info, err := os.Stat(string(path)); err == nil && info.Mode().Perm()&0o007 != 0 {
		c.l.mistake(key, fmt.Sprintf("chmod 600 %s", path), "everyone can read %s (mode %04o)", path, info.Mode().Perm())
	}
}

// dataDir checks that the directory is one, or can be made.
func (c checker) dataDir(path Path) {
	for dir := string(path); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		switch {
		case err == nil && info.IsDir():
			return
		case err == nil:
			c.l.mistake("node.data_dir", "name another", "%s is no directory", dir)
			return
		case !errors.Is(err, os.ErrNotExist) || filepath.Dir(dir) == dir:
			c.l.mistake("node.data_dir", "", "%v", err)
			return
		}
	}
}
