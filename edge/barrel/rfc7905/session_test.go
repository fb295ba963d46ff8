package rfc7905

import (
	"context"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/dtls/v2"
	"github.com/pion/dtls/v2/pkg/protocol"
	"github.com/pion/dtls/v2/pkg/protocol/handshake"
	"github.com/pion/dtls/v2/pkg/protocol/recordlayer"
)

// watch notes every nonce that is encrypted or decrypted under, by key.
type watch struct {
	mu     sync.Mutex
	sealed map[string]int // guarded by mu: how often, by key and nonce
	opened map[string]int // guarded by mu
	keys   map[string]int // guarded by mu: records sealed, by key
}

func newWatch() *watch {
	return &watch{sealed: make(map[string]int), opened: make(map[string]int), keys: make(map[string]int)}
}

// suites are those of the package with every AEAD watched.
func (w *watch) suites() []dtls.CipherSuite {
	suites := Suites()
	for _, s := range suites {
		s := s.(*suite)
		fresh := s.newAEAD
		s.newAEAD = func(key []byte) (cipher.AEAD, error) {
			aead, err := fresh(key)
			return &watched{aead, string(key), w}, err
		}
	}
	return suites
}

type watched struct {
	cipher.AEAD
	key string
	w   *watch
}

func (a *watched) Seal(dst, nonce, plaintext, ad []byte) []byte {
	a.w.mu.Lock()
	a.w.sealed[a.key+string(nonce)]++
	a.w.keys[a.key]++
	a.w.mu.Unlock()
	return a.AEAD.Seal(dst, nonce, plaintext, ad)
}

func (a *watched) Open(dst, nonce, ciphertext, ad []byte) ([]byte, error) {
	out, err := a.AEAD.Open(dst, nonce, ciphertext, ad)
	if err == nil {
		a.w.mu.Lock()
		a.w.opened[a.key+string(nonce)]++
		a.w.mu.Unlock()
	}
	return out, err
}

func (w *watch) check(t *testing.T, associations int) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for k, n := range w.sealed {
		if n != 1 {
			t.Errorf("nonce %x encrypted under %d times with key %x…", k[32:], n, k[:4])
		}
	}
	for k := range w.opened {
		if w.sealed[k] == 0 {
			t.Errorf("nonce %x was opened but never sealed", k[32:])
		}
	}
	if want := 2 * associations; len(w.keys) != want {
		t.Errorf("%d keys for %d associations, want %d: two each, never shared", len(w.keys), associations, want)
	}
}

// pipe is a datagram connection in memory. drop, when not nil, is asked for
// every datagram written.
type pipe struct {
	net.Conn
	drop func(datagram []byte) bool
	tap  func(datagram []byte)
}

func (p *pipe) Write(b []byte) (int, error) {
	if p.tap != nil {
		p.tap(b)
	}
	if p.drop != nil && p.drop(b) {
		return len(b), nil
	}
	return p.Conn.Write(b)
}

const theIdentity = "barrel-1"

var theKey = []byte("0123456789abcdef0123456789abcdef")

func certificate(t testing.TB, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Unix(0, 0), NotAfter: time.Now().Add(100 * 365 * 24 * time.Hour),
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// configs are those of a server with both identities, and of a client that
// speaks one suite.
func configs(t testing.TB, id dtls.CipherSuiteID) (server, client *dtls.Config) {
	t.Helper()
	cert, pool := certificate(t, "gateway")
	server = Server(&dtls.Config{
		Certificates: []tls.Certificate{cert},
		ClientAuth:   dtls.VerifyClientCertIfGiven,
		ClientCAs:    pool,
		PSK: func(identity []byte) ([]byte, error) {
			if string(identity) != theIdentity {
				return nil, fmt.Errorf("unknown identity %q", identity)
			}
			return theKey, nil
		},
	})
	client = &dtls.Config{}
	if id == ECDHEECDSA {
		client.Certificates, client.RootCAs, client.ServerName = []tls.Certificate{cert}, pool, "gateway"
	} else {
		client.PSK = func([]byte) ([]byte, error) { return theKey, nil }
		client.PSKIdentityHint = []byte(theIdentity)
	}
	client = Client(client)
	client.CustomCipherSuites = only(id, Suites)
	return server, client
}

func only(id dtls.CipherSuiteID, suites func() []dtls.CipherSuite) func() []dtls.CipherSuite {
	return func() []dtls.CipherSuite {
		return slices.DeleteFunc(suites(), func(s dtls.CipherSuite) bool { return s.ID() != id })
	}
}

// connect carries out a handshake between two ends of a pipe.
func connect(t testing.TB, serverEnd, clientEnd net.Conn, serverConfig, clientConfig *dtls.Config) (server, client *dtls.Conn) {
	t.Helper()
	type result struct {
		conn *dtls.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		conn, err := dtls.ServerWithContext(t.Context(), serverEnd, serverConfig)
		done <- result{conn, err}
	}()
	client, err := dtls.ClientWithContext(t.Context(), clientEnd, clientConfig)
	if err != nil {
		t.Fatalf("client: %v", err)
	}
	r := <-done
	if r.err != nil {
		t.Fatalf("server: %v", r.err)
	}
	return r.conn, client
}

func echo(t testing.TB, from, to *dtls.Conn, text string) {
	t.Helper()
	buf := make([]byte, 2048)
	if _, err := from.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	n, err := to.Read(buf)
	if err != nil || string(buf[:n]) != text {
		t.Fatalf("read %q, %v, want %q", buf[:n], err, text)
	}
}

// A barrel that comes back again and again to the same server, over links that
// lose datagrams of the handshake, so that its last flights are encrypted
// again: no nonce is used twice with a key, and no key in two associations.
func TestNoncesNeverRepeat(t *testing.T) {
	for _, id := range []dtls.CipherSuiteID{ECDHEECDSA, ECDHEPSK, PSK} {
		t.Run(newName(id), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWatch()
				serverConfig, clientConfig := configs(t, id)
				serverConfig.CustomCipherSuites = w.suites
				clientConfig.CustomCipherSuites = only(id, w.suites)
				const rounds, messages = 4, 50
				retransmitted := 0
				for round := range rounds {
					a, b := net.Pipe()
					// In later rounds the first encrypted datagrams of a side are lost.
					lose := func(n int) func([]byte) bool {
						return func(d []byte) bool {
							if n > 0 && encrypted(d) {
								n--
								retransmitted++
								return true
							}
							return false
						}
					}
					serverEnd, clientEnd := &pipe{Conn: a}, &pipe{Conn: b}
					if round%2 == 1 {
						serverEnd.drop = lose(round)
					}
					if round >= 2 {
						clientEnd.drop = lose(2)
					}
					server, client := connect(t, serverEnd, clientEnd, serverConfig, clientConfig)
					for i := range messages {
						echo(t, client, server, fmt.Sprintf("up %d", i))
						echo(t, server, client, fmt.Sprintf("down %d", i))
					}
					drain(client, server)
				}
				w.check(t, rounds)
				if retransmitted == 0 {
					t.Error("no flight was lost: the test shows less than it should")
				}
				for key, n := range w.keys {
					if n < messages {
						t.Errorf("key %x… sealed %d records, want at least %d", key[:4], n, messages)
					}
				}
			})
		})
	}
}

// drain closes both ends while reading from each, since a pipe has no buffer
// for the close notifications.
func drain(conns ...*dtls.Conn) {
	var wg sync.WaitGroup
	for _, c := range conns {
		wg.Go(func() { _ = c.Close() })
	}
	wg.Wait()
}

// encrypted tells whether a datagram holds a record of epoch 1.
func encrypted(datagram []byte) bool {
	for len(datagram) >= header {
		if binary.BigEndian.Uint16(datagram[3:]) > 0 {
			return true
		}
		n := header + int(binary.BigEndian.Uint16(datagram[11:]))
		datagram = datagram[min(n, len(datagram)):]
	}
	return false
}

func newName(id dtls.CipherSuiteID) string {
	for _, s := range Suites() {
		if s.ID() == id {
			return s.String()
		}
	}
	return "?"
}

// Records altered, repeated or made up on the way are dropped without a word,
// and the association goes on.
func TestTamperedRecordsAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		serverConfig, clientConfig := configs(t, ECDHEPSK)
		a, b := net.Pipe()
		clientEnd := &pipe{Conn: b}
		server, client := connect(t, a, clientEnd, serverConfig, clientConfig)
		defer drain(client, server)
		echo(t, client, server, "before")

		var last []byte
		clientEnd.tap = func(d []byte) { last = slices.Clone(d) }
		clientEnd.drop = func([]byte) bool { return true }
		if _, err := client.Write([]byte("never arrives whole")); err != nil {
			t.Fatal(err)
		}
		sealed := last
		clientEnd.tap, clientEnd.drop = nil, nil
		for i := range sealed {
			bad := slices.Clone(sealed)
			bad[i] ^= 0x40
			if i == 3 || i == 4 || i == 11 || i == 12 {
				continue // epoch and length: the library drops these itself
			}
			if _, err := b.Write(bad); err != nil {
				t.Fatal(err)
			}
		}
		forgedCCS := rawRecord(protocol.ContentTypeChangeCipherSpec, 1, recordlayer.MaxSequenceNumber, []byte{1})
		forgedAlert := rawRecord(protocol.ContentTypeAlert, 1, recordlayer.MaxSequenceNumber, []byte{2, 0})
		for _, forged := range [][]byte{forgedCCS, forgedAlert} {
			if _, err := b.Write(forged); err != nil {
				t.Fatal(err)
			}
		}
		// The replay window must not have moved: the withheld record still counts,
		// once.
		for range 2 {
			if _, err := b.Write(sealed); err != nil {
				t.Fatal(err)
			}
		}
		buf := make([]byte, 100)
		if n, err := server.Read(buf); err != nil || string(buf[:n]) != "never arrives whole" {
			t.Fatalf("read %q, %v", buf[:n], err)
		}
		echo(t, client, server, "after")
		echo(t, server, client, "and back")
	})
}

// What is offered on the wire, read out of the datagrams themselves.
func TestOnlyTheseSuitesAreOffered(t *testing.T) {
	for _, tc := range []struct {
		name   string
		client dtls.CipherSuiteID // tells the identity
		want   []uint16
	}{
		{"certificate", ECDHEECDSA, []uint16{0xCCA9}},
		{"pre-shared key", PSK, []uint16{0xCCAC, 0xCCAB}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				serverConfig, clientConfig := configs(t, tc.client)
				clientConfig.CustomCipherSuites = Suites
				a, b := net.Pipe()
				hellos, answers := 0, 0
				clientEnd, serverEnd := &pipe{Conn: b}, &pipe{Conn: a}
				clientEnd.tap = func(d []byte) {
					if h, ok := message(d).(*handshake.MessageClientHello); ok {
						hellos++
						if !slices.Equal(h.CipherSuiteIDs, tc.want) {
							t.Errorf("client offers %#x, want %#x", h.CipherSuiteIDs, tc.want)
						}
					}
				}
				serverEnd.tap = func(d []byte) {
					if h, ok := message(d).(*handshake.MessageServerHello); ok {
						answers++
						if *h.CipherSuiteID != tc.want[0] {
							t.Errorf("server chose %#x, want %#x", *h.CipherSuiteID, tc.want[0])
						}
					}
				}
				server, client := connect(t, serverEnd, clientEnd, serverConfig, clientConfig)
				drain(client, server)
				if hellos != 2 || answers != 1 { // the second with the cookie
					t.Errorf("saw %d client hellos and %d server hellos, want 2 and 1", hellos, answers)
				}
			})
		})
	}
}

// A client that offers one of the library's own suites, and no other, is
// refused, whichever it is.
func TestBuiltInSuitesAreRefused(t *testing.T) {
	for _, builtin := range dtls.CipherSuites() {
		t.Run(builtin.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				id := dtls.CipherSuiteID(builtin.ID)
				serverConfig, clientConfig := configs(t, PSK)
				if !strings.Contains(builtin.Name, "PSK") {
					_, clientConfig = configs(t, ECDHEECDSA)
				}
				clientConfig.CustomCipherSuites = nil
				clientConfig.CipherSuites = []dtls.CipherSuiteID{id}
				a, b := net.Pipe()
				done := make(chan error, 1)
				go func() {
					_, err := dtls.ServerWithContext(t.Context(), a, serverConfig)
					_ = a.Close()
					done <- err
				}()
				if _, err := dtls.ClientWithContext(t.Context(), b, clientConfig); err == nil {
					t.Error("the client got a connection")
				}
				_ = b.Close()
				if err := <-done; err == nil {
					t.Error("the server gave a connection")
				}
			})
		})
	}
}

// Without it an altered handshake could go unnoticed: see Server.
func TestExtendedMasterSecretIsDemanded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		serverConfig, clientConfig := configs(t, PSK)
		clientConfig.ExtendedMasterSecret = dtls.DisableExtendedMasterSecret
		a, b := net.Pipe()
		done := make(chan error, 1)
		go func() {
			_, err := dtls.ServerWithContext(t.Context(), a, serverConfig)
			_ = a.Close()
			done <- err
		}()
		if _, err := dtls.ClientWithContext(t.Context(), b, clientConfig); err == nil {
			t.Error("the client got a connection")
		}
		_ = b.Close()
		if err := <-done; err == nil {
			t.Error("the server gave a connection")
		}
	})
}

// message parses the first handshake message of a datagram of epoch 0.
func message(datagram []byte) handshake.Message {
	var r recordlayer.RecordLayer
	records, err := recordlayer.UnpackDatagram(datagram)
	if err != nil || len(records) == 0 || r.Unmarshal(records[0]) != nil {
		return nil
	}
	h, ok := r.Content.(*handshake.Handshake)
	if !ok {
		return nil
	}
	return h.Message
}

func testTimeout(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}
