package barrel

import (
	"crypto/sha256"
	"crypto/tls"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/dtls/v2"
	"github.com/plgd-dev/go-coap/v3/message/codes"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/barrel/rfc7905"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
)

func at(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(usetest.Address(usetest.Terminal), port)
}

func (w *world) certConfig(cert tls.Certificate) *dtls.Config {
	return rfc7905.Client(&dtls.Config{
		Certificates: []tls.Certificate{cert}, RootCAs: w.ca.pool, ServerName: "gateway",
	})
}

// pin makes a barrel one with a certificate.
func (w *world) pin(barrel string, cert tls.Certificate) {
	sum := sha256.Sum256(cert.Certificate[0])
	var b *command.Barrel
	w.View(func(m *state.Machine) { b = m.Barrel(barrel) })
	w.Do(&command.PutBarrel{AnyVersion: true, Barrel: &command.Barrel{
		Id: b.Id, Mac: b.Mac, DtlsCertSha256: sum[:], SealType: b.SealType,
		ReceiptPublicKey: b.ReceiptPublicKey, State: command.DeviceState_ACTIVE,
	}})
}

func TestIdentities(t *testing.T) {
	stranger := newAuthority(t)
	for _, tc := range []struct {
		name   string
		config func(w *world) *dtls.Config
		ok     bool
	}{
		{"pre-shared key", func(*world) *dtls.Config { return pskConfig(usetest.Barrel) }, true},
		{"wrong pre-shared key", func(*world) *dtls.Config {
			c := pskConfig(usetest.Barrel)
			c.PSK = func([]byte) ([]byte, error) { return pskOf(usetest.OtherBarrel), nil }
			return c
		}, false},
		{"unknown identity", func(*world) *dtls.Config { return pskConfig("SB-9999") }, false},
		{"empty identity", func(*world) *dtls.Config { return pskConfig("") }, false},
		{"revoked", func(w *world) *dtls.Config {
			w.Do(&command.RevokeBarrel{Id: usetest.Barrel, Reason: "lost"})
			return pskConfig(usetest.Barrel)
		}, false},
		{"certificate", func(w *world) *dtls.Config {
			cert := w.ca.issue(w.t, "barrel")
			w.pin(usetest.Barrel, cert)
			return w.certConfig(cert)
		}, true},
		{"certificate of the same authority, not pinned", func(w *world) *dtls.Config {
			w.pin(usetest.Barrel, w.ca.issue(w.t, "barrel"))
			return w.certConfig(w.ca.issue(w.t, "barrel"))
		}, false},
		{"pinned certificate of another authority", func(w *world) *dtls.Config {
			cert := stranger.issue(w.t, "barrel")
			w.pin(usetest.Barrel, cert)
			return w.certConfig(cert)
		}, false},
		{"certificate suite without a certificate", func(w *world) *dtls.Config {
			c := w.certConfig(tls.Certificate{})
			c.Certificates = nil
			return c
		}, false},
		{"key of a barrel that has a certificate now", func(w *world) *dtls.Config {
			w.pin(usetest.Barrel, w.ca.issue(w.t, "barrel"))
			return pskConfig(usetest.Barrel)
		}, false},
		{"library suites only", func(*world) *dtls.Config {
			c := pskConfig(usetest.Barrel)
			c.CustomCipherSuites, c.CipherSuites = nil, []dtls.CipherSuiteID{dtls.TLS_PSK_WITH_AES_128_GCM_SHA256}
			return c
		}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			play(t, func(t *testing.T, w *world) {
				d, err := w.try(tc.config(w), at(40001))
				if err == nil {
					// The client may have what it needs before the server refuses.
					d.send([]byte{0x40, 0, 0, 1})
					select {
					case <-d.done:
						d = nil
					case <-d.answers: // the Reset that answers a ping
					}
				}
				if got := err == nil && d != nil && len(w.server.associations()) == 1; got != tc.ok {
					t.Errorf("connected %v (%v), want %v; counters %v", got, err, tc.ok, w.server.Counters())
				}
				if tc.ok {
					wantCode(t, d.beat(idle), codes.Changed, "")
				}
			})
		})
	}
}

// A barrel that is revoked while connected takes its lock and is cut off.
func TestRevokedLater(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		d := w.connect(usetest.Barrel, usetest.Terminal, 40001)
		other := w.connect(usetest.OtherBarrel, usetest.Other, 40001)
		d.beat(idle)
		w.Do(&command.RevokeBarrel{Id: usetest.Barrel, Reason: "lost"})
		synctest.Wait()
		time.Sleep(2 * settleTime)
		if w.server.Alive(usetest.Barrel) {
			t.Error("alive after it was revoked")
		}
		if l := d.obey(); l.ID == 0 || l.Reason == "" {
			t.Errorf("told to lock by %+v", l)
		}
		if !w.endsWithin(usetest.Barrel, 3*time.Second) {
			t.Error("not cut off after it locked")
		}
		var left *command.Lock
		w.View(func(m *state.Machine) { left = m.LockOfBarrel(usetest.Barrel) })
		if left != nil {
			t.Errorf("lock %v isn't acknowledged", left)
		}
		if _, err := w.try(pskConfig(usetest.Barrel), at(40002)); err == nil {
			t.Error("connected again")
		}
		wantCode(t, other.beat(idle), codes.Changed, "")
	})
}

// One that doesn't answer is cut off all the same.
func TestRevokedAndSilent(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		d := w.connect(usetest.Barrel, usetest.Terminal, 40001)
		w.Do(&command.RevokeBarrel{Id: usetest.Barrel, Reason: "lost"})
		if _, ok := d.request(time.Second); !ok {
			t.Error("no lock came")
		}
		wantCode(t, d.beat(idle), codes.Forbidden, wire.CodeBarrelRevoked)
		if !w.endsWithin(usetest.Barrel, revokedGrace+2*lookAgain) {
			t.Error("not cut off")
		}
	})
}

// A new key in the record ends the association that the old one made.
func TestNewKeyEndsAssociation(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		w.connect(usetest.Barrel, usetest.Terminal, 40001)
		w.pin(usetest.Barrel, w.ca.issue(t, "barrel"))
		if !w.endsWithin(usetest.Barrel, 3*time.Second) {
			t.Error("still connected")
		}
	})
}

// mutated changes one of the datagrams that a client sends.
type mutated struct {
	*link
	which, n int
	change   func([]byte) []byte
}

func (m *mutated) Write(b []byte) (int, error) {
	out := slices.Clone(b)
	if m.n == m.which {
		out = m.change(out)
	}
	m.n++
	if _, err := m.link.Write(out); err != nil {
		return 0, err
	}
	return len(b), nil
}

// FuzzHandshake: one datagram of a handshake is altered, cut or lengthened. The
// server survives it, and serves the next barrel.
func FuzzHandshake(f *testing.F) {
	// Where the key exchange of ECDHE_PSK would lose its public key.
	f.Add(uint8(2), uint16(13), []byte{0x10, 0, 0, 10}, uint16(0), false)
	f.Add(uint8(0), uint16(20), []byte{0xff}, uint16(0), true)
	f.Add(uint8(2), uint16(0), []byte{}, uint16(30), true)
	ca := newAuthority(f)
	f.Fuzz(func(t *testing.T, which uint8, offset uint16, put []byte, cut uint16, withCert bool) {
		synctest.Test(t, func(t *testing.T) {
			w := &world{World: usetest.New(t, time.Now), t: t, ca: ca}
			w.open(Limits{})
			defer w.close()
			config := pskConfig(usetest.Barrel)
			if withCert {
				cert := ca.issue(t, "barrel")
				w.pin(usetest.OtherBarrel, cert)
				config = w.certConfig(cert)
			}
			l := &mutated{link: w.net.dial(at(40001)), which: int(which % 6), change: func(b []byte) []byte {
				if len(b) > 0 {
					copy(b[int(offset)%len(b):], put)
				}
				return b[:max(0, len(b)-int(cut))]
			}}
			if d, err := connectOver(t, l, config); err != nil {
				_ = l.Close()
			} else {
				d.close()
			}
			wantCode(t, w.connect(usetest.Barrel, usetest.Terminal, 40002).beat(idle), codes.Changed, "")
		})
	})
}
