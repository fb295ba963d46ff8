package phone

import (
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/sealedge/sealedge/tools/sealsim/ipstack"
)

// Fallback is the WireGuard path into the same inner network. A phone either knows
// where the gateway is and its key, as an administrator issued it, or asks for a
// connection (RequestConnection).
type Fallback struct {
	PrivateKey [32]byte // the phone's, X25519

	// Requests are where connections are asked for, as host:port, and Credentials
	// what is shown there.
	Requests    []string
	Credentials Credentials

	GatewayKey   [32]byte // the gateway's public key; zero: a connection is asked for
	PresharedKey [32]byte // zero: none
	Gateway      netip.AddrPort
	// Address is the phone's inside the tunnel, for a phone that didn't get
	// one through the carrier before.
	Address netip.Addr
	// Bind opens the socket; nil means UDP on all addresses.
	Bind func() conn.Bind
}

// issued is what an administrator issued, nil if connections are asked for.
func (f *Fallback) issued() *lease {
	if f == nil || f.GatewayKey == [32]byte{} {
		return nil
	}
	return &lease{keys: [][32]byte{f.GatewayKey}, psk: f.PresharedKey, endpoints: []string{f.Gateway.String()}, address: f.Address}
}

// tunnel is a WireGuard device whose inner side is the phone.
type tunnel struct {
	device *device.Device
	tun    *inside

	mu  sync.Mutex
	key [32]byte // of the gateway, that the device talks to; guarded by mu
}

func newTunnel(cfg *Fallback, l *lease, deliver func([]byte), log *slog.Logger) (*tunnel, error) {
	bind := conn.NewDefaultBind()
	if cfg.Bind != nil {
		bind = cfg.Bind()
	}
	in := &inside{deliver: deliver, out: make(chan []byte, 512), events: make(chan tun.Event, 1), closed: make(chan struct{})}
	dev := device.NewDevice(in, bind, &device.Logger{
		Verbosef: device.DiscardLogf,
		Errorf:   func(format string, args ...any) { log.Warn("wireguard: " + fmt.Sprintf(format, args...)) },
	})
	t := &tunnel{device: dev, tun: in}
	err := dev.IpcSet("private_key=" + hex.EncodeToString(cfg.PrivateKey[:]) + "\n")
	if err == nil {
		err = t.configure(l, 0)
	}
	if err == nil {
		err = dev.Up()
	}
	if err != nil {
		dev.Close()
		return nil, fmt.Errorf("wireguard: %w", err)
	}
	return t, nil
}

// configure has the device talk to the gateway as a lease says. Keys take turns with
// the attempts, and endpoints, too.
func (t *tunnel) configure(l *lease, attempt int) error {
	key := l.keys[attempt%len(l.keys)]
	endpoint, err := resolve(l.endpoints[attempt/len(l.keys)%len(l.endpoints)])
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	text := ""
	if key != t.key {
		text = "replace_peers=true\n" // a session with another key is none
	}
	// A pre-shared key of zeros is none.
	text += fmt.Sprintf("public_key=%s\npreshared_key=%s\nendpoint=%s\npersistent_keepalive_interval=%d\nallowed_ip=0.0.0.0/0\n",
		hex.EncodeToString(key[:]), hex.EncodeToString(l.psk[:]), endpoint, l.keepalive)
	if err := t.device.IpcSet(text); err != nil {
		return errors.New("wireguard: the configuration is malformed") // without the keys
	}
	t.key = key
	return nil
}

// resolve is an endpoint as the device takes it.
func resolve(endpoint string) (netip.AddrPort, error) {
	at, err := net.ResolveUDPAddr("udp", endpoint)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("endpoint: %w", err)
	}
	a := at.AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
}

// shake makes a new handshake; the device makes none within five seconds of the last.
func (t *tunnel) shake() {
	t.mu.Lock()
	key := t.key
	t.mu.Unlock()
	if peer := t.device.LookupPeer(key); peer != nil {
		_ = peer.SendHandshakeInitiation(false) // what isn't sent isn't answered
	}
}

// send queues a packet for the device, which encrypts on goroutines of its
// own; when the queue is full the packet is lost.
func (t *tunnel) send(packet []byte) {
	select {
	case t.tun.out <- append([]byte(nil), packet...):
	default:
	}
}

func (t *tunnel) close() { t.device.Close() }

// inside is the device's side towards the phone, in place of a kernel TUN.
type inside struct {
	deliver func([]byte)
	out     chan []byte
	events  chan tun.Event
	closed  chan struct{}
	once    sync.Once
}

func (i *inside) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	select {
	case packet := <-i.out:
		sizes[0] = copy(bufs[0][offset:], packet)
		return 1, nil
	case <-i.closed:
		return 0, os.ErrClosed
	}
}

func (i *inside) Write(bufs [][]byte, offset int) (int, error) {
	for _, b := range bufs {
		i.deliver(b[offset:])
	}
	return len(bufs), nil
}

func (i *inside) Close() error {
	i.once.Do(func() {
		close(i.closed)
		close(i.events)
	})
	return nil
}

func (*inside) File() *os.File             { return nil }
func (*inside) MTU() (int, error)          { return ipstack.DefaultMTU, nil }
func (*inside) Name() (string, error)      { return "phone", nil }
func (i *inside) Events() <-chan tun.Event { return i.events }
func (*inside) BatchSize() int             { return 1 }
