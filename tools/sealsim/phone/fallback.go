package phone

import (
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/sealedge/sealedge/tools/sealsim/ipstack"
)

// Fallback is the WireGuard path into the same inner network.
type Fallback struct {
	PrivateKey [32]byte // the phone's, X25519
	GatewayKey [32]byte // the gateway's public key
	Gateway    netip.AddrPort
	// Address is the phone's inside the tunnel, for a phone that didn't get
	// one through the carrier before.
	Address netip.Addr
	// Bind opens the socket; nil means UDP on all addresses.
	Bind func() conn.Bind
}

// tunnel is a WireGuard device whose inner side is the phone.
type tunnel struct {
	device *device.Device
	tun    *inside
}

func newTunnel(cfg *Fallback, deliver func([]byte), log *slog.Logger) (*tunnel, error) {
	bind := conn.NewDefaultBind()
	if cfg.Bind != nil {
		bind = cfg.Bind()
	}
	in := &inside{deliver: deliver, out: make(chan []byte, 512), events: make(chan tun.Event, 1), closed: make(chan struct{})}
	dev := device.NewDevice(in, bind, &device.Logger{
		Verbosef: device.DiscardLogf,
		Errorf:   func(format string, args ...any) { log.Warn("wireguard: " + fmt.Sprintf(format, args...)) },
	})
	err := dev.IpcSet(fmt.Sprintf("private_key=%s\npublic_key=%s\nendpoint=%s\nallowed_ip=0.0.0.0/0\n",
		hex.EncodeToString(cfg.PrivateKey[:]), hex.EncodeToString(cfg.GatewayKey[:]), cfg.Gateway))
	if err == nil {
		err = dev.Up()
	}
	if err != nil {
		dev.Close()
		return nil, fmt.Errorf("wireguard: %w", err)
	}
	return &tunnel{device: dev, tun: in}, nil
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
