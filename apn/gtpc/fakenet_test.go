package gtpc

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

var (
	sgw     = netip.MustParseAddrPort("127.0.20.1:2123")
	another = netip.MustParseAddrPort("127.0.20.2:2123")
	foreign = netip.MustParseAddrPort("192.0.2.1:2123")
)

// datagram is one on the fake network.
type datagram struct {
	peer netip.AddrPort
	b    []byte
}

// fakeConn is a socket whose other end is the test.
type fakeConn struct {
	in     chan any // datagram or error
	out    chan datagram
	once   sync.Once
	closed chan struct{}
	broken bool // writes fail
}

func newFakeConn() *fakeConn {
	return &fakeConn{in: make(chan any, 1024), out: make(chan datagram, 1024), closed: make(chan struct{})}
}

func (c *fakeConn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	select {
	case v := <-c.in:
		if err, ok := v.(error); ok {
			return 0, netip.AddrPort{}, err
		}
		d := v.(datagram)
		return copy(b, d.b), d.peer, nil
	case <-c.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

func (c *fakeConn) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	if c.broken {
		return 0, errors.New("network is unreachable")
	}
	// Handlers of tests answer in plain words, which nobody needs to dissect.
	if len(b) >= 8 && (b[0]>>5 == 1 || b[0]>>5 == 2) {
		gtptest.Sent(gtptest.ControlPort, b)
	}
	c.out <- datagram{to, bytes.Clone(b)}
	return len(b), nil
}

func (c *fakeConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

// sent takes what the server has sent, once nothing moves any more.
func (c *fakeConn) sent() []datagram {
	synctest.Wait()
	var all []datagram
	for {
		select {
		case d := <-c.out:
			all = append(all, d)
		default:
			return all
		}
	}
}

// handlerFunc is a Handler.
type handlerFunc func(ctx context.Context, peer netip.AddrPort, m gtp.Message) Reply

func (f handlerFunc) Handle(ctx context.Context, peer netip.AddrPort, m gtp.Message) Reply {
	return f(ctx, peer, m)
}

// answering is a Handler that says the same to everybody.
func answering(answer string) Handler {
	return handlerFunc(func(context.Context, netip.AddrPort, gtp.Message) Reply {
		return Reply{Datagram: []byte(answer), Cause: gtp.CauseAccepted}
	})
}

// logged collects log lines.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) lines() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Count(l.b.Bytes(), []byte("\n"))
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// rig is a server on a fake network, within a synctest bubble.
type rig struct {
	*Server
	conn *fakeConn
	log  *logged
	stop func() error // ends Serve and returns what it returned
}

func (r *rig) from(peer netip.AddrPort, b []byte) { r.conn.in <- datagram{peer, b} }

func (r *rig) count(reason string) uint64 { return r.Counters()[reason] }

// inBubble runs a test with a server in a synctest bubble, which fails when
// Serve leaves a goroutine behind.
func inBubble(t *testing.T, cfg Config, h Handler, test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, cfg, h)
		test(t, r)
		if err := r.stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

// newRig makes a server and serves. Where the handler has channels, rig and
// handler have to be made in the same bubble.
func newRig(t *testing.T, cfg Config, h Handler) *rig {
	log := new(logged)
	cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
	cfg.AllowedPeers = []netip.Prefix{netip.MustParsePrefix("127.0.20.0/24")}
	cfg.RestartCounter = three
	r := &rig{Server: New(cfg, h), log: log}
	r.serve(t)
	return r
}

// three is a restart counter.
func three() uint8 { return 3 }

// serve starts Serve on a fresh conn.
func (r *rig) serve(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	conn := newFakeConn()
	r.conn = conn
	go func() { done <- r.Serve(ctx, conn) }()
	var once sync.Once
	var err error
	r.stop = func() error {
		once.Do(func() {
			cancel()
			err = <-done
		})
		return err
	}
	t.Cleanup(func() { r.stop() })
	synctest.Wait()
}

// never is a Handler that must not be called.
func never(t *testing.T) Handler {
	return handlerFunc(func(_ context.Context, _ netip.AddrPort, m gtp.Message) Reply {
		t.Errorf("the handler got a %T", m)
		return Reply{}
	})
}

func after(d time.Duration) {
	time.Sleep(d) // in a bubble: moves its clock
	synctest.Wait()
}
