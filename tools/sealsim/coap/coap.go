// Package coap is the simulators' end of CoAP (RFC 7252) over datagrams: it
// asks and it answers, over one socket with many peers (a barrel's port on the
// hotspot) or over a connection with one (DTLS to the gateway).
//
// It does what these need: confirmable requests with retransmission,
// piggybacked and separate responses, and de-duplication, so that a repeated
// request is carried out once. Messages fit a datagram: there is no block-wise
// transfer and no observing.
package coap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
)

// Methods and response codes, under their names of RFC 7252 12.1.
const (
	GET    = codes.GET
	POST   = codes.POST
	PUT    = codes.PUT
	DELETE = codes.DELETE

	Created            = codes.Created
	Changed            = codes.Changed
	Content            = codes.Content
	BadRequest         = codes.BadRequest
	Forbidden          = codes.Forbidden
	NotFound           = codes.NotFound
	MethodNotAllowed   = codes.MethodNotAllowed
	ServiceUnavailable = codes.ServiceUnavailable
)

// Code is a method or a response code.
type Code = codes.Code

// Errors of Do.
var (
	ErrClosed   = errors.New("coap: closed")
	ErrNoAnswer = errors.New("coap: no answer")
	ErrReset    = errors.New("coap: the peer reset the message")
)

// Request asks something of a peer.
type Request struct {
	Method  Code
	Path    string
	Query   []string
	Format  uint16 // content format of the payload, if there is one
	Payload []byte
	Peer    net.Addr // who asks; set on requests that a Handler gets
}

// Response is the answer to a Request.
type Response struct {
	Code    Code
	Format  uint16
	Payload []byte
}

// Handler answers requests. It runs on a goroutine of its own.
type Handler func(ctx context.Context, r Request) Response

// PacketConn is the socket below; every net.PacketConn is one.
type PacketConn interface {
	ReadFrom(b []byte) (int, net.Addr, error)
	WriteTo(b []byte, to net.Addr) (int, error)
	Close() error
}

// Config sets an Endpoint up.
type Config struct {
	Handler Handler // nil answers 4.04
	// AckTimeout is the time before the first retransmission, which doubles
	// with each; MaxRetransmit is how many there are (RFC 7252 4.8). Zero
	// means 2 s and 4.
	AckTimeout    time.Duration
	MaxRetransmit int
	Logger        *slog.Logger
}

// maxMessage is the longest datagram read.
const maxMessage = 16 << 10

// Endpoint is one end of CoAP.
type Endpoint struct {
	conn   PacketConn
	cfg    Config
	ctx    context.Context // of handlers; ends with Close
	stop   context.CancelFunc
	tasks  sync.WaitGroup
	closed chan struct{}

	mu      sync.Mutex
	nextMID uint16
	pending map[string]*exchange // by peer and token; guarded by mu
	recent  recent               // guarded by mu
	once    sync.Once
}

// exchange is a request that waits for its answer.
type exchange struct {
	mid      uint16
	acked    chan struct{} // closed by an acknowledgement or an answer
	ackOnce  sync.Once
	response chan Response
	failed   chan error
}

func (x *exchange) ack() { x.ackOnce.Do(func() { close(x.acked) }) }

// NewEndpoint serves a socket until Close.
func NewEndpoint(conn PacketConn, cfg Config) *Endpoint {
	if cfg.AckTimeout <= 0 {
		cfg.AckTimeout = 2 * time.Second
	}
	if cfg.MaxRetransmit <= 0 {
		cfg.MaxRetransmit = 4
	}
	if cfg.Handler == nil {
		cfg.Handler = func(context.Context, Request) Response { return Response{Code: NotFound} }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Endpoint{
		conn: conn, cfg: cfg, closed: make(chan struct{}),
		nextMID: uint16(rand.Uint32()), pending: make(map[string]*exchange),
	}
	e.ctx, e.stop = context.WithCancel(context.Background())
	e.tasks.Go(e.read)
	return e
}

// NewConn serves a connection to one peer, such as a DTLS one. Its Do takes a
// nil peer.
func NewConn(conn net.Conn, cfg Config) *Endpoint { return NewEndpoint(single{conn}, cfg) }

// single makes a socket of a connection.
type single struct{ net.Conn }

// thePeer stands for the only peer that there is: a connection that was closed
// may have no remote address any more.
type thePeer struct{}

func (thePeer) Network() string { return "conn" }
func (thePeer) String() string  { return "peer" }

func (s single) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := s.Read(b)
	return n, thePeer{}, err
}

func (s single) WriteTo(b []byte, _ net.Addr) (int, error) { return s.Write(b) }

// Done is closed when the endpoint is closed, also by an error of the socket.
func (e *Endpoint) Done() <-chan struct{} { return e.closed }

// Close ends the endpoint, its socket and its handlers.
func (e *Endpoint) Close() error {
	err := e.shut()
	e.tasks.Wait()
	return err
}

func (e *Endpoint) shut() (err error) {
	e.once.Do(func() {
		e.stop()
		close(e.closed)
		err = e.conn.Close()
	})
	return err
}

// Do sends a confirmable request and waits for the response. It gives up when
// the message isn't acknowledged after MaxRetransmit repetitions, and waits for
// a separate response as long as ctx allows.
func (e *Endpoint) Do(ctx context.Context, peer net.Addr, r Request) (Response, error) {
	if peer == nil {
		peer = thePeer{}
	}
	token := make(message.Token, 8)
	for i := range token {
		token[i] = byte(rand.Uint32())
	}
	x := &exchange{acked: make(chan struct{}), response: make(chan Response, 1), failed: make(chan error, 1)}
	key := exchangeKey(peer, token)
	e.mu.Lock()
	e.nextMID++
	x.mid = e.nextMID
	e.pending[key] = x
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.pending, key)
		e.mu.Unlock()
	}()
	wire, err := encode(message.Confirmable, r.Method, x.mid, token, r.Path, r.Query, r.Format, r.Payload)
	if err != nil {
		return Response{}, fmt.Errorf("coap: encoding %s %s: %w", r.Method, r.Path, err)
	}
	response, err := e.exchange(ctx, x, wire, peer)
	if err != nil {
		return Response{}, fmt.Errorf("%s %s: %w", r.Method, r.Path, err)
	}
	return response, nil
}

// exchange repeats a message until it is acknowledged, then waits.
func (e *Endpoint) exchange(ctx context.Context, x *exchange, wire []byte, peer net.Addr) (Response, error) {
	// The first timeout is drawn from ACK_TIMEOUT to 1.5 times it
	// (RFC 7252 4.2).
	timeout := e.cfg.AckTimeout + rand.N(e.cfg.AckTimeout/2)
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	acked := x.acked
	for try := 0; ; try++ {
		// What the network doesn't take is lost, and repeated.
		_, _ = e.conn.WriteTo(wire, peer)
	wait:
		for {
			select {
			case response := <-x.response:
				return response, nil
			case err := <-x.failed:
				return Response{}, err
			case <-acked:
				// The response comes separately: no more repetitions.
				acked = nil
				timer.Stop()
			case <-timer.C:
				break wait
			case <-ctx.Done():
				return Response{}, context.Cause(ctx)
			case <-e.closed:
				return Response{}, ErrClosed
			}
		}
		if try == e.cfg.MaxRetransmit {
			return Response{}, ErrNoAnswer
		}
		timeout *= 2
		timer.Reset(timeout)
	}
}

func exchangeKey(peer net.Addr, token message.Token) string {
	return peer.String() + "\x00" + string(token)
}
