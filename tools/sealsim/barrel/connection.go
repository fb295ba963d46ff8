package barrel

import (
	"context"
	"fmt"
	"sync"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/tools/sealsim/coap"
	"github.com/sealedge/sealedge/tools/sealsim/ipstack"
	"github.com/sealedge/sealedge/tools/sealsim/wifi"
)

// connection is what the barrel has on a Wi-Fi network: an IP stack, a CoAP
// server for the terminal, and a session with the gateway.
type connection struct {
	life  *life
	link  *wifi.Link
	stack *ipstack.Stack
	local *coap.Endpoint
	ctx   context.Context // ends with the link
	end   context.CancelFunc
	once  sync.Once
	gone  chan struct{} // closed when the machine knows that the link ended
	woken chan struct{} // something is in the outbox

	mu    sync.Mutex
	locks []uint64 // carried out, to be acknowledged; guarded by mu
}

// connect sets up what runs on a link.
func (l *life) connect(link *wifi.Link) (*connection, error) {
	stack, err := ipstack.New(link.Address(), 0)
	if err != nil {
		return nil, err
	}
	link.Handle(stack.Deliver)
	stack.SetLink(link.Send)
	socket, err := stack.ListenUDP(wire.LocalPort)
	if err != nil {
		stack.Close()
		return nil, fmt.Errorf("local API: %w", err)
	}
	c := &connection{life: l, link: link, stack: stack, gone: make(chan struct{}), woken: make(chan struct{}, 1)}
	c.ctx, c.end = context.WithCancel(l.ctx)
	c.local = coap.NewEndpoint(socket, coap.Config{Handler: c.serveTerminal, Logger: l.b.log})
	return c, nil
}

// serve keeps a session with the gateway until the link ends.
func (c *connection) serve() {
	var session sync.WaitGroup
	session.Go(c.talk)
	select {
	case <-c.link.Done():
	case <-c.ctx.Done():
	}
	c.end()
	session.Wait()
}

// close ends the link and what runs on it.
func (c *connection) close() {
	c.once.Do(func() {
		c.end()
		c.link.Leave()
		_ = c.local.Close()
		c.stack.Close()
	})
}

func (c *connection) wake() {
	select {
	case c.woken <- struct{}{}:
	default:
	}
}

func (c *connection) acknowledge(ids []uint64) {
	c.mu.Lock()
	c.locks = append(c.locks, ids...)
	c.mu.Unlock()
	c.wake()
}
