package coap

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// addr is the name of a socket in a fake network.
type addr string

func (a addr) Network() string { return "fake" }
func (a addr) String() string  { return string(a) }

type fakeNet struct {
	mu      sync.Mutex
	sockets map[addr]*socket
	drop    func(to addr, b []byte) bool
}

type socket struct {
	net    *fakeNet
	at     addr
	in     chan packet
	closed chan struct{}
	once   sync.Once
}

type packet struct {
	from addr
	b    []byte
}

func newNet() *fakeNet { return &fakeNet{sockets: make(map[addr]*socket)} }

func (n *fakeNet) open(at addr) *socket {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := &socket{net: n, at: at, in: make(chan packet, 64), closed: make(chan struct{})}
	n.sockets[at] = s
	return s
}

func (s *socket) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case p := <-s.in:
		return copy(b, p.b), p.from, nil
	case <-s.closed:
		return 0, nil, net.ErrClosed
	}
}

func (s *socket) WriteTo(b []byte, to net.Addr) (int, error) {
	s.net.mu.Lock()
	defer s.net.mu.Unlock()
	peer := s.net.sockets[to.(addr)]
	if peer != nil && (s.net.drop == nil || !s.net.drop(peer.at, b)) {
		peer.in <- packet{s.at, bytes.Clone(b)}
	}
	return len(b), nil
}

func (s *socket) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// pair is a client and a server that counts what it carries out.
func pair(t *testing.T, n *fakeNet, handler Handler) *Endpoint {
	t.Helper()
	server := NewEndpoint(n.open("server"), Config{Handler: handler})
	client := NewEndpoint(n.open("client"), Config{AckTimeout: time.Second, MaxRetransmit: 3})
	t.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
	})
	return client
}

func bubble(t *testing.T, fn func(t *testing.T, n *fakeNet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { fn(t, newNet()) })
}

func TestRequestAndResponse(t *testing.T) {
	bubble(t, func(t *testing.T, n *fakeNet) {
		var got Request
		client := pair(t, n, func(_ context.Context, r Request) Response {
			got = r
			return Response{Code: Content, Format: 60, Payload: []byte("pong")}
		})
		response, err := client.Do(t.Context(), addr("server"), Request{
			Method: POST, Path: "/receipts/x", Query: []string{"use=7", "a=b"}, Format: 18, Payload: []byte("ping"),
		})
		if err != nil || response.Code != Content || response.Format != 60 || string(response.Payload) != "pong" {
			t.Fatalf("%+v, %v", response, err)
		}
		if got.Method != POST || got.Path != "/receipts/x" || len(got.Query) != 2 || got.Query[0] != "use=7" ||
			got.Format != 18 || string(got.Payload) != "ping" || got.Peer != addr("client") {
			t.Errorf("the handler got %+v", got)
		}
	})
}

func TestLossBothWaysAndOnceOnly(t *testing.T) {
	bubble(t, func(t *testing.T, n *fakeNet) {
		var carried atomic.Int32
		client := pair(t, n, func(context.Context, Request) Response {
			carried.Add(1)
			return Response{Code: Changed}
		})
		sent := 0
		n.drop = func(to addr, _ []byte) bool {
			sent++
			// Lost: the request, then twice the answer.
			return sent == 1 || to == "client" && sent < 6
		}
		if _, err := client.Do(t.Context(), addr("server"), Request{Method: PUT, Path: "/lock"}); err != nil {
			t.Fatal(err)
		}
		if carried.Load() != 1 {
			t.Errorf("carried out %d times", carried.Load())
		}
	})
}

func TestSilenceIsGivenUp(t *testing.T) {
	bubble(t, func(t *testing.T, n *fakeNet) {
		client := pair(t, n, nil)
		requests := 0
		n.drop = func(addr, []byte) bool { requests++; return true }
		began := time.Now()
		_, err := client.Do(t.Context(), addr("server"), Request{Method: GET, Path: "/"})
		if !errors.Is(err, ErrNoAnswer) || requests != 4 {
			t.Errorf("%v after %d requests", err, requests)
		}
		// 1+2+4+8 times a first timeout of 1 to 1.5 s.
		if took := time.Since(began); took < 15*time.Second || took > 22500*time.Millisecond {
			t.Errorf("gave up after %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := client.Do(ctx, addr("server"), Request{Method: GET, Path: "/"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a deadline: %v", err)
		}
	})
}

// raw is a peer that speaks message by message.
type raw struct {
	t *testing.T
	s *socket
}

func (r raw) read() message.Message {
	b := make([]byte, maxMessage)
	n, _, err := r.s.ReadFrom(b)
	if err != nil {
		r.t.Fatal(err)
	}
	m, err := decode(b[:n])
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

func (r raw) send(kind message.Type, code Code, mid uint16, token message.Token, payload string) {
	wire, err := encode(kind, code, mid, token, "", nil, 0, []byte(payload))
	if err != nil {
		r.t.Fatal(err)
	}
	_, _ = r.s.WriteTo(wire, addr("client"))
}

func TestSeparateResponse(t *testing.T) {
	bubble(t, func(t *testing.T, n *fakeNet) {
		client := NewEndpoint(n.open("client"), Config{AckTimeout: time.Second})
		defer func() { _ = client.Close() }()
		peer := raw{t, n.open("server")}
		go func() {
			m := peer.read()
			peer.send(message.Acknowledgement, codes.Empty, uint16(m.MessageID), nil, "")
			<-time.After(time.Minute) // of the bubble, far beyond all repetitions
			peer.send(message.Confirmable, Content, 77, m.Token, "late")
			if ack := peer.read(); ack.Type != message.Acknowledgement || ack.MessageID != 77 {
				t.Errorf("the separate response was answered with %v", ack.String())
			}
		}()
		response, err := client.Do(t.Context(), addr("server"), Request{Method: GET, Path: "/slow"})
		if err != nil || string(response.Payload) != "late" {
			t.Errorf("%+v, %v", response, err)
		}
		synctest.Wait()
	})
}

func TestMessagesThatGetAReset(t *testing.T) {
	bubble(t, func(t *testing.T, n *fakeNet) {
		client := NewEndpoint(n.open("client"), Config{})
		defer func() { _ = client.Close() }()
		peer := raw{t, n.open("server")}
		for _, c := range []struct {
			name string
			send func()
		}{
			{"ping", func() { peer.send(message.Confirmable, codes.Empty, 1, nil, "") }},
			{"response that nobody asked for", func() { peer.send(message.Confirmable, Content, 1, message.Token("x"), "") }},
			{"options cut short", func() { _, _ = peer.s.WriteTo([]byte{0x40, 1, 0, 1, 0xb5, 'a'}, addr("client")) }},
			{"token too long", func() { _, _ = peer.s.WriteTo([]byte{0x4f, 1, 0, 1}, addr("client")) }},
		} {
			c.send()
			if m := peer.read(); m.Type != message.Reset || m.MessageID != 1 {
				t.Errorf("%s was answered with %v", c.name, m.String())
			}
		}
	})
}

func TestResetFailsTheRequest(t *testing.T) {
	bubble(t, func(t *testing.T, n *fakeNet) {
		client := NewEndpoint(n.open("client"), Config{})
		defer func() { _ = client.Close() }()
		peer := raw{t, n.open("server")}
		go func() { peer.send(message.Reset, codes.Empty, uint16(peer.read().MessageID), nil, "") }()
		if _, err := client.Do(t.Context(), addr("server"), Request{Method: GET, Path: "/"}); !errors.Is(err, ErrReset) {
			t.Errorf("got %v", err)
		}
	})
}

// An answer must have the token, the message id and the sender of the request.
func TestForeignAnswersAreIgnored(t *testing.T) {
	bubble(t, func(t *testing.T, n *fakeNet) {
		client := NewEndpoint(n.open("client"), Config{})
		defer func() { _ = client.Close() }()
		peer, stranger := raw{t, n.open("server")}, raw{t, n.open("stranger")}
		go func() {
			m := peer.read()
			mid := uint16(m.MessageID)
			stranger.send(message.Acknowledgement, Content, mid, m.Token, "stranger")
			stranger.send(message.Reset, codes.Empty, mid, nil, "")
			peer.send(message.Acknowledgement, Content, mid, message.Token("other"), "token")
			peer.send(message.Acknowledgement, Content, mid+1, m.Token, "id")
			peer.send(message.Acknowledgement, Content, mid, m.Token, "right")
		}()
		if response, err := client.Do(t.Context(), addr("server"), Request{Method: GET, Path: "/"}); err != nil || string(response.Payload) != "right" {
			t.Errorf("%q, %v", response.Payload, err)
		}
	})
}

func TestCloseEndsRequestsAndHandlers(t *testing.T) {
	bubble(t, func(t *testing.T, n *fakeNet) {
		server := NewEndpoint(n.open("server"), Config{Handler: func(ctx context.Context, _ Request) Response {
			<-ctx.Done()
			return Response{}
		}})
		client := NewEndpoint(n.open("client"), Config{})
		result := make(chan error, 1)
		go func() {
			_, err := client.Do(t.Context(), addr("server"), Request{Method: GET, Path: "/"})
			result <- err
		}()
		synctest.Wait()
		_ = server.Close()
		_ = client.Close()
		if err := <-result; !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	var r recent
	for i := range 10 * remembered {
		r.put(messageID{"peer", uint16(i)}, nil)
		r.put(messageID{"peer", uint16(i)}, []byte{1})
	}
	if len(r.wires) != remembered || len(r.order) != remembered {
		t.Errorf("%d and %d remembered", len(r.wires), len(r.order))
	}
}

func FuzzReceive(f *testing.F) {
	n := newNet()
	n.drop = func(addr, []byte) bool { return true }
	n.open("peer")
	e := NewEndpoint(n.open("client"), Config{Handler: func(_ context.Context, r Request) Response {
		return Response{Code: Content, Payload: r.Payload}
	}})
	f.Cleanup(func() { _ = e.Close() })
	for _, m := range []struct {
		kind message.Type
		code Code
	}{{message.Confirmable, GET}, {message.Acknowledgement, Content}, {message.Reset, codes.Empty}} {
		wire, err := encode(m.kind, m.code, 1, nil, "/hb", []string{"use=1"}, 60, []byte{1})
		if m.code == codes.Empty {
			wire, err = encode(m.kind, m.code, 1, nil, "", nil, 0, nil)
		}
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	f.Fuzz(func(_ *testing.T, b []byte) { e.receive(bytes.Clone(b), addr("peer")) })
}
