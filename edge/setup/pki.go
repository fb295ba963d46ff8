package setup

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"time"
)

// How long certificates are valid, from Options.Now on.
const (
	caDays   = 3652 // ten years
	leafDays = 825
)

// backdate lets a machine whose clock is a little behind accept them at once.
const backdate = time.Hour

// identity is a certificate to be issued.
type identity struct {
	name   string // of the files
	common string
	units  []string
	uri    string
	dns    []string
	ips    []netip.Addr
	usages []x509.ExtKeyUsage
}

var (
	server = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	client = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	both   = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
)

// listeners are those of a node that have certificates of their own.
var listeners = []string{"admin", "intranet", "fallback"}

// hostnames are DNS names, of at least one label.
var hostnames = regexp.MustCompile(`^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$`)

// parties are all who have a certificate.
func parties(o Options) []identity {
	inner, seal := []netip.Addr{o.Inner}, []netip.Addr{o.SealServer.Addr()}
	if o.Inner6.IsValid() {
		inner = append(inner, o.Inner6) // phones verify the address that they dial
	}
	all := []identity{
		{name: "gateway", common: "gateway " + gatewayName, uri: "sealedge://gateway/" + gatewayName, usages: client},
		{name: "phone-api", common: innerName, dns: []string{innerName}, ips: inner, usages: server},
		{name: "barrel-api", common: innerName, dns: []string{innerName}, ips: inner, usages: server},
		{name: "seal-server", common: sealName, dns: []string{sealName}, ips: seal, usages: server},
		{name: "seal-server-client", common: "seal server", uri: "sealedge://seal-server", usages: client},
		{
			// The first operator may do everything; further ones need not.
			name: firstOperator, common: firstOperator, uri: "sealedge://operator/" + firstOperator, usages: client,
			units: Roles,
		},
	}
	for _, p := range o.places() {
		listener := func(part string) identity {
			id := identity{name: p.name + "-" + part, common: p.name, dns: slices.Concat(p.dns, p.services(part)), ips: slices.Clone(p.ips), usages: server}
			for _, name := range o.Names[part] {
				if a, err := netip.ParseAddr(name); err == nil {
					id.ips = append(id.ips, a)
				} else {
					id.dns = append(id.dns, name)
				}
			}
			return id
		}
		all = append(all,
			identity{name: p.name, common: p.name, uri: "sealedge://node/" + p.name, dns: p.dns, ips: p.ips, usages: both},
			listener("admin"), listener("intranet"), listener("fallback"),
		)
	}
	return all
}

// identities makes the CA and issues all certificates, with a key each.
//
// Keys and signatures draw from the system's random source; crypto/ecdsa takes
// no other.
func identities(o Options) ([]file, error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	ca := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "sealedge CA", Organization: []string{"sealedge"}},
		NotBefore: o.Now.Add(-backdate), NotAfter: o.Now.AddDate(0, 0, caDays),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	files, err := signed("ca", ca, ca, caKey, caKey)
	if err != nil {
		return nil, err
	}
	for _, id := range parties(o) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		pair, err := issue(id, ca, key, caKey, o.Now)
		if err != nil {
			return nil, err
		}
		files = append(files, pair...)
	}
	return files, nil
}

// template is the certificate of an identity before it is signed.
func (id identity) template(now time.Time) (*x509.Certificate, error) {
	cert := &x509.Certificate{
		Subject:   pkix.Name{CommonName: id.common, Organization: []string{"sealedge"}, OrganizationalUnit: id.units},
		NotBefore: now.Add(-backdate), NotAfter: now.AddDate(0, 0, leafDays),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: id.usages, BasicConstraintsValid: true,
		DNSNames: id.dns,
	}
	for _, a := range id.ips {
		cert.IPAddresses = append(cert.IPAddresses, net.IP(a.AsSlice()))
	}
	if id.uri != "" {
		u, err := url.Parse(id.uri)
		if err != nil {
			return nil, err
		}
		cert.URIs = []*url.URL{u}
	}
	return cert, nil
}

// signed signs a certificate and gives it and its key as files of the pki directory.
func signed(name string, cert, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) ([]file, error) {
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, key.Public(), signer)
	if err != nil {
		return nil, err
	}
	secret, err := privatePEM(key)
	if err != nil {
		return nil, err
	}
	return []file{
		{name: "pki/" + name + ".pem", content: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})},
		{name: "pki/" + name + "-key.pem", content: secret, private: true},
	}, nil
}

func privatePEM(key any) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
