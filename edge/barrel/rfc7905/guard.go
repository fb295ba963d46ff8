package rfc7905

import (
	"encoding/binary"
	"net"
	"sync"

	"github.com/pion/dtls/v2"
	"github.com/pion/dtls/v2/pkg/protocol"
	"github.com/pion/dtls/v2/pkg/protocol/handshake"
)

// maxUnprotected bounds the unprotected bytes that an association accepts in
// all. A handshake with certificate chains, every flight sent ten times, stays
// below. The library would buffer 2 MB of fragments, and any number of empty
// ones.
const maxUnprotected = 64 << 10

// Guard wraps the datagram connection under an association of the library, at
// either end, and drops inbound records that the library must not see:
//
//   - a ClientKeyExchange or ServerKeyExchange of ECDHE_PSK (RFC 5489 2) that
//     isn't whole or lacks its public key: the library reads past its end, on a
//     goroutine of its own, which ends the process;
//   - unprotected records once the handshake is over: the library would act on
//     an unprotected alert, and keep unprotected handshake fragments for ever.
//     What a peer repeats of its last flight has a protected record among it,
//     so that nothing is lost;
//   - unprotected records beyond 64 KiB.
//
// RFC 6347 4.1.2.7 lets a receiver drop invalid records silently.
func Guard(c net.Conn) net.Conn { return &guarded{Conn: c} }

type guarded struct {
	net.Conn

	mu          sync.Mutex
	suite       dtls.CipherSuiteID // guarded by mu: of the first ServerHello in either direction; 0 before
	server      bool               // guarded by mu: the ServerHello was ours
	over        bool               // guarded by mu: the handshake is
	unprotected int                // guarded by mu: bytes accepted so far
}

// Read returns the next datagram of which anything is left.
func (g *guarded) Read(p []byte) (int, error) {
	for {
		n, err := g.Conn.Read(p)
		if err != nil {
			return n, err
		}
		if n = g.inbound(p[:n]); n > 0 {
			return n, nil
		}
	}
}

// Write notes how far the handshake is and writes.
func (g *guarded) Write(p []byte) (int, error) {
	g.outbound(p)
	return g.Conn.Write(p)
}

// inbound moves the records to keep to the front of the datagram and returns
// their length.
func (g *guarded) inbound(datagram []byte) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	kept := 0
	for rest := datagram; len(rest) > 0; {
		record, tail, ok := cutRecord(rest)
		if !ok {
			return 0 // the library drops the datagram as a whole, too
		}
		if epoch(record) > 0 || g.admit(record) {
			kept += copy(datagram[kept:], record)
		}
		rest = tail
	}
	return kept
}

// admit tells whether an unprotected record may pass. g.mu is held.
func (g *guarded) admit(record []byte) bool {
	if g.over || g.unprotected+len(record) > maxUnprotected {
		return false
	}
	ok := true
	eachMessage(record, func(kind handshake.Type, body []byte, whole bool) {
		switch kind {
		case handshake.TypeServerHello:
			// It comes first in its flight and is short: nobody needs to split it.
			// A second one that chose another suite is somebody else's.
			suite, parsed := chosenSuite(body)
			if ok = ok && whole && parsed && (g.suite == 0 || g.suite == suite); ok {
				g.suite = suite
			}
		case handshake.TypeServerKeyExchange, handshake.TypeClientKeyExchange:
			// Which parser takes it depends on the suite, so it can't come before.
			switch g.suite {
			case 0:
				ok = false
			case ECDHEPSK:
				ok = ok && whole && keyExchangeIsWhole(kind, body)
			}
		}
	})
	if ok {
		g.unprotected += len(record)
	}
	return ok
}

func (g *guarded) outbound(datagram []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for rest := datagram; !g.over && len(rest) > 0; {
		record, tail, ok := cutRecord(rest)
		if !ok {
			return
		}
		if epoch(record) > 0 {
			// A server sends under its keys when it has seen the client's Finished; a
			// client knows that the server's has come when it sends data.
			g.over = g.server || protocol.ContentType(record[0]) == protocol.ContentTypeApplicationData
		} else {
			eachMessage(record, func(kind handshake.Type, body []byte, whole bool) {
				if suite, ok := chosenSuite(body); kind == handshake.TypeServerHello && whole && ok {
					g.suite, g.server = suite, true
				}
			})
		}
		rest = tail
	}
}

// cutRecord takes the first record off a datagram.
func cutRecord(b []byte) (record, rest []byte, ok bool) {
	if len(b) <= header {
		return nil, nil, false
	}
	n := header + int(binary.BigEndian.Uint16(b[header-2:]))
	if n > len(b) {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

func epoch(record []byte) uint16 { return binary.BigEndian.Uint16(record[3:]) }

// eachMessage goes through the handshake messages of an unprotected record just
// as the library's fragment buffer does: by the length of the message, also
// where the record holds only a fragment of it.
func eachMessage(record []byte, visit func(kind handshake.Type, body []byte, whole bool)) {
	if protocol.ContentType(record[0]) != protocol.ContentTypeHandshake {
		return
	}
	for b := record[header:]; len(b) >= handshake.HeaderLength; {
		var h handshake.Header
		if h.Unmarshal(b) != nil {
			return
		}
		end := min(handshake.HeaderLength+int(h.Length), len(b))
		body := b[handshake.HeaderLength:end]
		visit(h.Type, body, h.FragmentOffset == 0 && h.FragmentLength == h.Length && len(body) == int(h.Length))
		b = b[end:]
	}
}

// chosenSuite reads the suite out of a ServerHello: version, random, session id
// (RFC 5246 7.4.1.3).
func chosenSuite(body []byte) (dtls.CipherSuiteID, bool) {
	const fixed = 2 + handshake.RandomLength
	if len(body) <= fixed {
		return 0, false
	}
	after := fixed + 1 + int(body[fixed])
	if len(body) < after+2 {
		return 0, false
	}
	return dtls.CipherSuiteID(binary.BigEndian.Uint16(body[after:])), true
}

// keyExchangeIsWhole checks the key exchange of ECDHE_PSK: an identity or hint
// after its length of two bytes, then, of a server only, the type of curve and
// the curve, then a public key after its length of one byte, and no more.
func keyExchangeIsWhole(kind handshake.Type, body []byte) bool {
	if len(body) < 2 {
		return false
	}
	offset := 2 + int(binary.BigEndian.Uint16(body))
	if kind == handshake.TypeServerKeyExchange {
		offset += 3
	}
	return offset < len(body) && body[offset] > 0 && offset+1+int(body[offset]) == len(body)
}
