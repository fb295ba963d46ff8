package e2e

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/edge/adminapi"
)

// The runbooks of the alerts, followed to the letter on a cluster at work: a node dies,
// comes back and is replaced, a certificate ends, a carrier's node restarts. At the end
// seals are used as before.
func TestAlertRunbooks(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"openssl", "jq"} {
		needs(t, tool)
	}
	s := newSite(t, 3)
	s.startServer()
	office := s.office()
	c, _ := s.carrier(1)
	w := s.worker(1, c)
	order := office.Order("WO-1", 4)
	w.stampOnce(order)

	members := func() (ids []string) {
		s.until("three members vote", func() bool {
			var all []adminapi.Member
			if n := s.holding(); n < 0 || askAll(s, n, "/v1/cluster/members", &all) != nil {
				return false
			}
			ids = nil
			for _, m := range all {
				if m.State == adminapi.MemberVotes {
					ids = append(ids, m.ID)
				}
			}
			return len(ids) == 3 && len(all) == 3
		})
		slices.Sort(ids)
		return ids
	}
	before := members()
	s.follow("dead-node.md")
	if after := members(); len(after) != 3 || slices.Equal(before, after) {
		t.Errorf("the members were %q, and are %q: none was replaced", before, after)
	}
	w.stampOnce(order)

	s.happens = map[string]func([]string){
		"certificate": func(words []string) { s.endCertificate(words[1], 1) },
		"configuration": func([]string) {
			raw, err := os.ReadFile(s.layout.Nodes[1])
			if err != nil {
				t.Fatal(err)
			}
			s.write(s.layout.Nodes[1], strings.Replace(string(raw), "\ncluster:\n", "\ncluster:\n  apply_timeout: 4s\n", 1))
			s.until("node 2 says that it waits for a restart", func() bool { return s.nodes[1].said("takes a restart.*cluster.apply_timeout") })
		},
		"carrier": func([]string) {
			c.SetRestartCounter(7)
			s.attach(c, s.enlist(2)) // by which the gateway hears of it
			s.until("the sessions of before the restart are gone", func() bool { return len(s.sessions(imsi(1))) == 0 })
			s.until("it is counted, by which the alert knows", func() bool {
				var restarts uint64
				for n := range s.nodes {
					var all map[string]uint64
					if s.ask(n, "/v1/counters?stale=true", &all) == nil {
						restarts += all["restoration.peers-restarted"]
					}
				}
				return restarts > 0
			})
		},
	}
	s.follow("expired-certificate.md")
	s.until("node 2 answers with the renewed certificate", func() bool { return s.ask(1, "/v1/status", new(adminapi.Status)) == nil })
	for _, book := range []string{"configuration.md", "gateway-address.md", "not-scraped.md", "unsteady.md", "audit-gaps.md", "attaches.md", "seal-uses.md", "full-disk.md", "clock.md"} {
		s.until("a node holds the gateway address", func() bool { return s.holder() != nil })
		s.follow(book)
	}
	s.until("a node holds the gateway address", func() bool { return s.holder() != nil })
	s.follow("carrier-restart.md")
	w.barrel.Leave()
	w = s.out(1, s.attach(c, s.sim(1)), w.barrel)
	w.stampOnce(order)
	if n := w.barrel.Impressions(); n != 3 {
		t.Errorf("%d impressions on paper, want 3", n)
	}
}

// needs ends a test that can't do without a program.
func needs(t *testing.T, tool string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		lacking(t, tool+" is missing")
	}
}

// endCertificate puts one that ended yesterday in the place of a node's, which nobody
// takes from then on.
func (s *site) endCertificate(name string, node int) {
	s.Helper()
	read := func(name string) []byte {
		raw, err := os.ReadFile(s.file("pki", name+".pem"))
		if err != nil {
			s.Fatal(err)
		}
		block, _ := pem.Decode(raw)
		return block.Bytes
	}
	cert := must(x509.ParseCertificate(read(name)))
	ca := must(x509.ParseCertificate(read("ca")))
	key := must(x509.ParsePKCS8PrivateKey(read("ca-key"))).(*ecdsa.PrivateKey)
	cert.NotBefore, cert.NotAfter = time.Now().AddDate(0, -1, 0), time.Now().AddDate(0, 0, -1)
	der, err := x509.CreateCertificate(rand.Reader, cert, ca, cert.PublicKey, key)
	if err != nil {
		s.Fatal(err)
	}
	s.write(s.file("pki", name+".pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	s.admin.Transport.(*http.Transport).CloseIdleConnections()
	var expired *tls.CertificateVerificationError
	s.until("the certificate that has ended isn't taken", func() bool {
		err := s.ask(node, "/v1/status", new(adminapi.Status))
		return errors.As(err, &expired) && strings.Contains(err.Error(), "expired")
	})
}
