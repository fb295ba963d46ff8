package main

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// handshakePeers is how many terminals shake hands in turn: a server answers one
// of them 50 times a second at most.
const handshakePeers = 512

// handshakesUnderWay is how many wait for their answer at the same time. Servers
// that have more than 128 waiting answer with cookies.
const handshakesUnderWay = 32

// crowd is a server and peers of it that only shake hands.
type crowd struct {
	Server  string   // its public key, in hexadecimal digits
	Listen  string   // where it listens
	Clients []string // private keys, in hexadecimal digits
}

// newHandshakers makes the peers' keys.
func newHandshakers(n int) ([]*ecdh.PrivateKey, error) {
	keys := make([]*ecdh.PrivateKey, n)
	for i := range keys {
		k, err := ecdh.X25519().GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		keys[i] = k
	}
	return keys, nil
}

// handshaker is the inner address of one of them.
func (l *lane) handshaker(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(90 + l.number), byte(1 + i/256), byte(i)})
}

// admit tells wireguard-go of the handshakers.
func (f *fallbackPath) admit(ctx context.Context, l *lane) error {
	var b strings.Builder
	for i, k := range l.crowd {
		fmt.Fprintf(&b, "[Peer]\nPublicKey = %s\nAllowedIPs = %s/32\n", base64.StdEncoding.EncodeToString(k.PublicKey().Bytes()), l.handshaker(i))
	}
	file := filepath.Join(f.dir, "crowd.conf")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		return err
	}
	_, err := f.gateway.output(ctx, "wg", "addconf", l.device("g"), file)
	return err
}

// handshakes measures one round with a lane's server.
func (f *fallbackPath) handshakes(ctx context.Context, l *lane, long time.Duration) (carried, error) {
	c := crowd{Server: hex.EncodeToString(l.key.PublicKey().Bytes()), Listen: l.listen().String()}
	for _, k := range l.crowd {
		c.Clients = append(c.Clients, hex.EncodeToString(k.Bytes()))
	}
	raw, err := json.Marshal(c)
	if err != nil {
		return carried{}, err
	}
	file := filepath.Join(f.dir, l.name+"-crowd.json")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		return carried{}, err
	}
	out, err := f.client.output(ctx, f.self, fallbackHandshakesCommand, file, long.String())
	if err != nil {
		return carried{}, fmt.Errorf("%s: %w", l.name, err)
	}
	var r carried
	return r, json.Unmarshal(out, &r)
}

// runHandshakes is the client's end of it. Messages are made before any is sent.
func runHandshakes(file, long string) error {
	d, err := time.ParseDuration(long)
	if err != nil {
		return err
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var c crowd
	if err := json.Unmarshal(raw, &c); err != nil {
		return err
	}
	server, err := hex.DecodeString(c.Server)
	if err != nil {
		return err
	}
	public, err := ecdh.X25519().NewPublicKey(server)
	if err != nil {
		return err
	}
	// To make one costs the machine about as much as to answer it: a fast server is
	// done before the time is over.
	msgs := make([][]byte, min(int(d.Seconds()*5_000), 10*len(c.Clients)))
	began := time.Now()
	for i := range msgs {
		digits, err := hex.DecodeString(c.Clients[i%len(c.Clients)])
		if err != nil {
			return err
		}
		key, err := ecdh.X25519().NewPrivateKey(digits)
		if err != nil {
			return err
		}
		// A server takes each client's times in their order only, and no two within
		// 20 ms, for which it looks at its own clock.
		if msgs[i], err = initiation(key, public, uint32(i), began.Add(time.Duration(i)*time.Millisecond)); err != nil {
			return err
		}
	}
	r, err := shakeHands(c.Listen, msgs, d)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// shakeHands sends initiations, some at a time, and counts the answers. Amount is
// of handshakes, Lost of what was answered with a cookie or not at all.
func shakeHands(to string, msgs [][]byte, long time.Duration) (r carried, err error) {
	conn, err := net.Dial("udp4", to)
	if err != nil {
		return r, err
	}
	defer conn.Close()
	began := time.Now()
	b := make([]byte, 2048)
	sent, waiting := 0, 0
	for time.Since(began) < long && (sent < len(msgs) || waiting > 0) {
		for ; sent < len(msgs) && waiting < handshakesUnderWay; sent, waiting = sent+1, waiting+1 {
			if _, err := conn.Write(msgs[sent]); err != nil {
				return r, err
			}
		}
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			return r, err
		}
		n, err := conn.Read(b)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			r.Lost += uint64(waiting)
			waiting = 0
		case err != nil:
			return r, err
		case n > 0 && b[0] == messageResponse:
			r.Amount++
			waiting--
		case n > 0 && b[0] == messageCookie:
			r.Lost++
			waiting--
		}
	}
	r.Elapsed = time.Since(began)
	return r, nil
}
