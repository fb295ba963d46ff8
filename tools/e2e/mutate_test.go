package e2e

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/crypto/blake2s"
)

// rubbish makes bytes that nobody would send: noise, and messages that somebody
// sent, cut, bent and glued together. It has one owner.
type rubbish struct {
	*rand.Rand
	real [][]byte
}

// seed is E2E_SEED, or another one each time; it is in the log of the test.
func seed(t *testing.T) uint64 {
	t.Helper()
	if s, err := strconv.ParseUint(os.Getenv("E2E_SEED"), 10, 64); err == nil {
		return s
	}
	s := rand.Uint64()
	t.Logf("E2E_SEED=%d sends the same again", s)
	return s
}

func (r *rubbish) noise(most int) []byte {
	b := make([]byte, r.IntN(most)+1)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// next is the next piece of rubbish.
func (r *rubbish) next() []byte {
	if len(r.real) == 0 || r.IntN(10) == 0 {
		return r.noise(1500)
	}
	b := bytes.Clone(r.real[r.IntN(len(r.real))])
	for range r.IntN(4) + 1 {
		if len(b) == 0 {
			return b
		}
		at := r.IntN(len(b))
		switch r.IntN(7) {
		case 0:
			b = b[:at]
		case 1:
			b[at] ^= 1 << r.IntN(8)
		case 2:
			b[at] = byte(r.Uint32())
		case 3:
			b[at] = []byte{0, 1, 0x7f, 0x80, 0xff}[r.IntN(5)]
		case 4: // a length or a number, taken to an extreme
			if at+2 <= len(b) {
				binary.BigEndian.PutUint16(b[at:], []uint16{0, 1, 0x7fff, 0xffff, uint16(len(b))}[r.IntN(5)])
			}
		case 5: // a part twice
			end := at + r.IntN(len(b)-at)
			b = slices.Insert(b, at, b[at:end]...)
		case 6: // the end of another
			other := r.real[r.IntN(len(r.real))]
			b = append(b[:at], other[r.IntN(len(other)):]...)
		}
	}
	return b[:min(len(b), 8<<10)]
}

// mended makes an inner packet's checksums right, so that what is wrong with it
// is found out further inside.
func mended(p []byte) []byte {
	if len(p) < 20 || p[0] != 0x45 {
		return p
	}
	be := binary.BigEndian
	be.PutUint16(p[2:], uint16(len(p)))
	be.PutUint16(p[10:], 0)
	be.PutUint16(p[10:], checksum(p[:20]))
	switch body := p[20:]; {
	case p[9] == 1 && len(body) >= 4:
		be.PutUint16(body[2:], 0)
		be.PutUint16(body[2:], checksum(body))
	case p[9] == 17 && len(body) >= 8:
		be.PutUint16(body[4:], uint16(len(body)))
		be.PutUint16(body[6:], 0) // none
	case p[9] == 6 && len(body) >= 20:
		be.PutUint16(body[16:], 0)
		pseudo := append(bytes.Clone(p[12:20]), 0, 6)
		be.PutUint16(body[16:], checksum(append(be.AppendUint16(pseudo, uint16(len(body))), body...)))
	}
	return p
}

// syn is a TCP segment that opens a connection (RFC 9293 3.1).
func syn(from, to netip.AddrPort) []byte {
	p := packet(from, to, make([]byte, 12)) // the ports are where UDP has them
	p[9] = 6
	copy(p[24:], []byte{1, 2, 3, 4, 0, 0, 0, 0, 5 << 4, 2, 0xff, 0xff, 0, 0, 0, 0})
	return mended(p)
}

// clientHello is the first that a TLS client says.
func clientHello(name string) []byte {
	mine, theirs := net.Pipe()
	go func() {
		_ = tls.Client(mine, &tls.Config{ServerName: name, MinVersion: tls.VersionTLS13}).Handshake() // nobody answers
		_ = mine.Close()
	}()
	_ = theirs.SetReadDeadline(time.Now().Add(patience))
	head := make([]byte, 5)
	_, _ = io.ReadFull(theirs, head)
	body := make([]byte, binary.BigEndian.Uint16(head[3:]))
	_, _ = io.ReadFull(theirs, body)
	_ = theirs.Close()
	return append(head, body...)
}

// initiation is a WireGuard handshake initiation of nobody, with a mac1 that
// makes the gateway look at the rest (the WireGuard paper, 5.4.4).
func (r *rubbish) initiation(gateway []byte) []byte {
	m := r.noise(1 << 20)[:0]
	m = append(m, 1, 0, 0, 0)
	for len(m) < 116 {
		m = append(m, byte(r.Uint32()))
	}
	key := blake2s.Sum256(append([]byte("mac1----"), gateway...))
	mac, _ := blake2s.New128(key[:]) // the key has a right length
	_, _ = mac.Write(m)
	return append(mac.Sum(m), make([]byte, 16)...)
}
