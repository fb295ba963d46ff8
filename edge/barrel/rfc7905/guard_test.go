package rfc7905

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/dtls/v2"
	"github.com/pion/dtls/v2/pkg/protocol"
	"github.com/pion/dtls/v2/pkg/protocol/handshake"
)

// If this fails, the library was mended, and half of Guard can go.
func TestLibraryPanicsAtKeyExchangeWithoutKey(t *testing.T) {
	for name, raw := range map[string][]byte{
		"client": shake(handshake.TypeClientKeyExchange, 0, []byte("\x00\x08barrel-1")),
		"server": shake(handshake.TypeServerKeyExchange, 0, []byte("\x00\x04hint")),
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("the library survived a key exchange without a key")
				}
			}()
			h := handshake.Handshake{KeyExchangeAlgorithm: ecdhePSK.exchange}
			_ = h.Unmarshal(raw)
		})
	}
}

// A client that gets as far as the key exchange and then leaves its public key
// out: without Guard this ends the process.
func TestKeyExchangeWithoutKey(t *testing.T) {
	for _, tc := range []struct {
		name string
		cut  func(body []byte) []byte
	}{
		{"no key", func(b []byte) []byte { return b[:2+len(theIdentity)] }},
		{"empty key", func(b []byte) []byte { return append(b[:2+len(theIdentity)], 0) }},
		{"half a key", func(b []byte) []byte { return b[:len(b)-16] }},
		{"identity beyond the end", func(b []byte) []byte { return slices.Concat([]byte{0xff, 0xff}, b[2:]) }},
		{"one byte", func(b []byte) []byte { return b[:1] }},
		{"nothing", func([]byte) []byte { return nil }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				serverConfig, clientConfig := configs(t, ECDHEPSK)
				a, b := net.Pipe()
				seen := 0
				clientEnd := &rewriter{Conn: b, rewrite: func(d []byte) []byte {
					return eachRecord(d, func(record []byte) []byte {
						if protocol.ContentType(record[0]) != protocol.ContentTypeHandshake || epoch(record) > 0 {
							return record
						}
						var h handshake.Header
						if h.Unmarshal(record[header:]) != nil || h.Type != handshake.TypeClientKeyExchange {
							return record
						}
						seen++
						body := tc.cut(slices.Clone(record[header+handshake.HeaderLength:]))
						message := shake(handshake.TypeClientKeyExchange, h.MessageSequence, body)
						out := append(slices.Clone(record[:header]), message...)
						binary.BigEndian.PutUint16(out[header-2:], uint16(len(message)))
						return out
					})
				}}
				done := make(chan error, 1)
				go func() {
					ctx, cancel := testTimeout(t, 10*time.Second)
					defer cancel()
					_, err := dtls.ServerWithContext(ctx, Guard(a), serverConfig)
					_ = a.Close()
					done <- err
				}()
				if _, err := dtls.ClientWithContext(t.Context(), clientEnd, clientConfig); err == nil {
					t.Error("the client got a connection")
				}
				_ = b.Close()
				if err := <-done; err == nil {
					t.Error("the server gave a connection")
				}
				if seen == 0 {
					t.Error("no key exchange went by")
				}
			})
		})
	}
}

// The handshakes of all suites pass, and the unprotected alert that follows
// them does not.
func TestGuardedAssociationOutlivesForgedAlert(t *testing.T) {
	for _, id := range []dtls.CipherSuiteID{ECDHEECDSA, ECDHEPSK, PSK} {
		t.Run(newName(id), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				serverConfig, clientConfig := configs(t, id)
				a, b := net.Pipe()
				server, client := connect(t, Guard(a), Guard(b), serverConfig, clientConfig)
				defer drain(client, server)
				echo(t, client, server, "before")
				forged := rawRecord(protocol.ContentTypeAlert, 0, 99, []byte{2, 40})
				for _, end := range []net.Conn{a, b} {
					if _, err := end.Write(forged); err != nil {
						t.Fatal(err)
					}
				}
				echo(t, client, server, "after")
				echo(t, server, client, "and back")
			})
		})
	}
}

// A server whose last flight is lost sends it again when the client repeats
// its own, of which Guard passes the protected part.
func TestGuardLetsLastFlightBeRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		serverConfig, clientConfig := configs(t, ECDHEPSK)
		a, b := net.Pipe()
		lost := 0
		serverEnd := &pipe{Conn: a, drop: func(d []byte) bool {
			if encrypted(d) && lost < 2 {
				lost++
				return true
			}
			return false
		}}
		server, client := connect(t, Guard(serverEnd), Guard(b), serverConfig, clientConfig)
		defer drain(client, server)
		echo(t, client, server, "hello")
		if lost != 2 {
			t.Errorf("%d last flights were lost, want 2", lost)
		}
	})
}

func TestGuardBoundsUnprotectedBytes(t *testing.T) {
	g := Guard(nil).(*guarded)
	hello := rawRecord(protocol.ContentTypeHandshake, 0, 0, shake(handshake.TypeClientHello, 0, make([]byte, 1000)))
	accepted := 0
	for range 1000 {
		accepted += g.inbound(slices.Clone(hello))
	}
	if accepted > maxUnprotected || accepted < maxUnprotected-len(hello) {
		t.Errorf("accepted %d unprotected bytes, want at most %d", accepted, maxUnprotected)
	}
	sealed := rawRecord(protocol.ContentTypeApplicationData, 1, 0, make([]byte, 100))
	if g.inbound(slices.Clone(sealed)) != len(sealed) {
		t.Error("a protected record was held back")
	}
}

// What Guard lets through, the library's parsers survive, whatever the suite.
func FuzzGuard(f *testing.F) {
	f.Add([]byte{byte(PSK & 0xff)}, rawRecord(protocol.ContentTypeHandshake, 0, 1, shake(handshake.TypeClientKeyExchange, 0, []byte("\x00\x08barrel-1"))))
	f.Add([]byte{byte(ECDHEPSK & 0xff)}, rawRecord(protocol.ContentTypeHandshake, 0, 1, shake(handshake.TypeClientKeyExchange, 0, []byte("\x00\x08barrel-1"))))
	f.Add([]byte{byte(ECDHEPSK & 0xff)}, rawRecord(protocol.ContentTypeHandshake, 0, 1, shake(handshake.TypeServerKeyExchange, 0, []byte("\x00\x04hint\x03\x00\x1d\x01x"))))
	f.Add([]byte{byte(ECDHEECDSA & 0xff)}, rawRecord(protocol.ContentTypeHandshake, 0, 1, shake(handshake.TypeClientHello, 0, make([]byte, 60))))
	f.Add([]byte{0}, rawRecord(protocol.ContentTypeAlert, 0, 1, []byte{1, 0}))
	f.Fuzz(func(t *testing.T, suite, datagram []byte) {
		if len(suite) == 0 {
			return
		}
		g := Guard(nil).(*guarded)
		g.suite = 0xCC00 | dtls.CipherSuiteID(suite[0])
		n := g.inbound(datagram)
		if n > len(datagram) {
			t.Fatalf("%d bytes became %d", len(datagram), n)
		}
		var exchange dtls.CipherSuiteKeyExchangeAlgorithm
		for _, s := range Suites() {
			if s.ID() == g.suite {
				exchange = s.KeyExchangeAlgorithm()
			}
		}
		for rest := datagram[:n]; len(rest) > 0; {
			record, tail, ok := cutRecord(rest)
			if !ok {
				t.Fatalf("kept %x, which is no record", rest)
			}
			rest = tail
			if epoch(record) > 0 {
				continue
			}
			eachMessage(record, func(kind handshake.Type, body []byte, _ bool) {
				h := handshake.Handshake{KeyExchangeAlgorithm: exchange}
				_ = h.Unmarshal(shake(kind, 0, body))
			})
		}
	})
}

// shake is a whole handshake message.
func shake(kind handshake.Type, sequence uint16, body []byte) []byte {
	h := handshake.Header{
		Type: kind, Length: uint32(len(body)), MessageSequence: sequence, FragmentLength: uint32(len(body)),
	}
	b, err := h.Marshal()
	if err != nil {
		panic(err)
	}
	return append(b, body...)
}

// rewriter changes what is written.
type rewriter struct {
	net.Conn
	rewrite func([]byte) []byte
}

func (r *rewriter) Write(b []byte) (int, error) {
	if _, err := r.Conn.Write(r.rewrite(b)); err != nil && !errors.Is(err, io.ErrClosedPipe) && !errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, err
	}
	return len(b), nil
}

func eachRecord(datagram []byte, change func(record []byte) []byte) (out []byte) {
	for rest := datagram; len(rest) > 0; {
		record, tail, ok := cutRecord(rest)
		if !ok {
			return append(out, rest...)
		}
		out, rest = append(out, change(record)...), tail
	}
	return out
}
