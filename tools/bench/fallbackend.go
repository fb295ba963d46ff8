package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/sealedge/sealedge/edge/inner"
	"github.com/sealedge/sealedge/edge/wireguard"
)

// These make this program an end of the fallback path: the gateway's, the service
// behind plain wireguard-go, and the client's.
const (
	fallbackGatewayCommand = "fallback-gateway"
	fallbackSinkCommand    = "fallback-sink"
	fallbackLoadCommand    = "fallback-load"

	fallbackHandshakesCommand = "fallback-handshakes"
)

// Ports of the services, those of the phones' API and the barrels'.
const (
	streamPort   = 443
	datagramPort = 5684
)

// fallbackEnd is what a gateway's end needs to know.
type fallbackEnd struct {
	Driver inner.Driver
	Key    string // in hexadecimal digits
	Listen netip.AddrPort
	Own    netip.Addr
	Peers  []fallbackPeer
}

type fallbackPeer struct {
	Key     string
	Address netip.Addr
}

// runFallbackGateway is the gateway's endpoint and inner network, as the gateway
// puts them together, with services that measure.
func runFallbackGateway(file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var end fallbackEnd
	if err := json.Unmarshal(raw, &end); err != nil {
		return err
	}
	network, err := inner.New(inner.Config{Addresses: []netip.Addr{end.Own}, Driver: end.Driver})
	if err != nil {
		return err
	}
	defer network.Close()
	endpoint, err := wireguard.New(wireguard.Config{Uplink: network.DeliverAll})
	if err != nil {
		return err
	}
	defer endpoint.Close()
	key, err := keyOf(end.Key)
	if err != nil {
		return err
	}
	if err := endpoint.SetKeys(key); err != nil {
		return err
	}
	var peers []wireguard.Peer
	for _, p := range end.Peers {
		public, err := keyOf(p.Key)
		if err != nil {
			return err
		}
		peers = append(peers, wireguard.Peer{PublicKey: public, Address: p.Address, Active: true})
	}
	if err := endpoint.SetPeers(peers); err != nil {
		return err
	}
	for _, p := range peers {
		network.SetRoute(netip.PrefixFrom(p.Address, 32), endpoint)
	}
	tcp, err := network.ListenTCP(streamPort)
	if err != nil {
		return err
	}
	udp, err := network.ListenUDP(datagramPort)
	if err != nil {
		return err
	}
	if err := endpoint.Listen(context.Background(), end.Listen); err != nil {
		return err
	}
	ended, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ended, func() { tcp.Close() })
	err = serveFallback(tcp, udp)
	fmt.Fprintln(os.Stderr, "endpoint:", endpoint.Counters(), "inner network:", network.Counters()) // for the log, with -keep
	return err
}

func keyOf(digits string) (key [32]byte, err error) {
	b, err := hex.DecodeString(digits)
	if err != nil || len(b) != len(key) {
		return key, fmt.Errorf("a key of %d bytes: %w", len(b), err)
	}
	return [32]byte(b), nil
}

// runFallbackSink is the same services by the kernel, behind wireguard-go.
func runFallbackSink(own string) error {
	tcp, err := net.Listen("tcp4", net.JoinHostPort(own, strconv.Itoa(streamPort)))
	if err != nil {
		return err
	}
	udp, err := net.ListenPacket("udp4", net.JoinHostPort(own, strconv.Itoa(datagramPort)))
	if err != nil {
		return err
	}
	_ = udp.(*net.UDPConn).SetReadBuffer(socketBuffer)
	return serveFallback(tcp, udp)
}

// serveFallback takes or gives octets over TCP, as the first one asks, and answers
// datagrams that say so.
func serveFallback(tcp net.Listener, udp net.PacketConn) error {
	go func() {
		b := make([]byte, 65535)
		for n, taken := 0, uint64(0); ; {
			var from net.Addr
			var err error
			if n, from, err = udp.ReadFrom(b); err != nil {
				return
			}
			taken++
			if n >= 16 && b[0] == askAnswer {
				binary.BigEndian.PutUint64(b[8:], taken)
				_, _ = udp.WriteTo(b[:16], from) // a lost packet is counted where it is missed
			}
		}
	}()
	for {
		c, err := tcp.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			_ = serveStream(c) // the client says what is wrong
		}()
	}
}

// What a client asks for.
const (
	askUp     = 'u'
	askDown   = 'd'
	askAnswer = 'a' // of a datagram
)

func serveStream(c net.Conn) error {
	b := make([]byte, 256<<10)
	if _, err := io.ReadFull(c, b[:1]); err != nil {
		return err
	}
	if b[0] == askDown {
		for {
			if _, err := c.Write(b); err != nil {
				return err
			}
		}
	}
	total := uint64(0)
	for {
		n, err := c.Read(b)
		total += uint64(n)
		if errors.Is(err, io.EOF) {
			_, err := c.Write(binary.BigEndian.AppendUint64(nil, total))
			return err
		}
		if err != nil {
			return err
		}
	}
}

// carried is what a client's end found.
type carried struct {
	Amount  uint64 // octets or packets that arrived
	Lost    uint64 // packets
	Elapsed time.Duration
}

// runFallbackLoad sends for a time and prints a carried.
func runFallbackLoad(kind, to, long string) error {
	d, err := time.ParseDuration(long)
	if err != nil {
		return err
	}
	run := map[string]func(string, time.Duration) (carried, error){"up": loadUp, "down": loadDown, "packets": loadPackets}[kind]
	if run == nil {
		return fmt.Errorf("load %q: want up, down or packets", kind)
	}
	r, err := run(to, d)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

// dialFallback dials until the other end is up.
func dialFallback(to string) (net.Conn, error) {
	give := time.Now().Add(10 * time.Second)
	for {
		c, err := net.DialTimeout("tcp4", net.JoinHostPort(to, strconv.Itoa(streamPort)), 5*time.Second)
		if err == nil || time.Now().After(give) {
			return c, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func loadUp(to string, long time.Duration) (r carried, err error) {
	c, err := dialFallback(to)
	if err != nil {
		return r, err
	}
	defer c.Close()
	b := bytes.Repeat([]byte{askUp}, 256<<10)
	began := time.Now()
	for time.Since(began) < long {
		if _, err := c.Write(b); err != nil {
			return r, err
		}
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return r, err
	}
	_, err = io.ReadFull(c, b[:8])
	r.Amount, r.Elapsed = binary.BigEndian.Uint64(b), time.Since(began)
	return r, err
}

func loadDown(to string, long time.Duration) (r carried, err error) {
	c, err := dialFallback(to)
	if err != nil {
		return r, err
	}
	defer c.Close()
	b := make([]byte, 256<<10)
	b[0] = askDown
	began := time.Now()
	if _, err := c.Write(b[:1]); err != nil {
		return r, err
	}
	for time.Since(began) < long {
		n, err := c.Read(b)
		r.Amount += uint64(n)
		if err != nil {
			return r, err
		}
	}
	r.Elapsed = time.Since(began)
	return r, nil
}

// datagramSize is the payload of the datagrams that are counted, in bytes.
const datagramSize = 64

// loadPackets sends bursts of datagrams. The last of each asks for an answer,
// which lets another burst go.
func loadPackets(to string, long time.Duration) (r carried, err error) {
	conn, err := net.Dial("udp4", net.JoinHostPort(to, strconv.Itoa(datagramPort)))
	if err != nil {
		return r, err
	}
	defer conn.Close()
	_ = conn.(*net.UDPConn).SetReadBuffer(socketBuffer)
	w := newWindow(inFlight / burstSize)
	var taken atomic.Uint64 // that the other end has counted
	read := make(chan struct{})
	go func() {
		defer close(read)
		for b := make([]byte, 2048); ; {
			n, err := conn.Read(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if n >= 16 {
				taken.Store(binary.BigEndian.Uint64(b[8:]))
				w.returned()
			}
		}
	}()
	ask := make([]byte, datagramSize)
	ask[0] = askAnswer
	for tries := 0; taken.Load() == 0; tries++ {
		if tries == 100 {
			return r, errors.New("no datagram is answered")
		}
		if _, err := conn.Write(ask); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
			return r, err
		}
		select {
		case <-w.wake:
		case <-time.After(100 * time.Millisecond):
		}
	}
	before := taken.Load()
	batch := ipv4.NewPacketConn(conn.(*net.UDPConn))
	out := make([]ipv4.Message, burstSize)
	for i := range out {
		out[i].Buffers = [][]byte{make([]byte, datagramSize)}
	}
	out[burstSize-1].Buffers[0][0] = askAnswer
	sent, took, err := w.run(long, 1, func() error {
		for rest := out; len(rest) > 0; {
			n, err := batch.WriteBatch(rest, 0)
			if err != nil {
				return err
			}
			rest = rest[n:]
		}
		return nil
	})
	conn.Close()
	<-read
	r.Amount, r.Elapsed = taken.Load()-before, took
	r.Lost = uint64(sent)*burstSize - min(r.Amount, uint64(sent)*burstSize)
	return r, err
}
