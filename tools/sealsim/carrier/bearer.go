package carrier

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
)

// Why a bearer ended, as Bearer.Err tells.
var (
	ErrDetached         = errors.New("detached")
	ErrDeletedByGateway = errors.New("the gateway deleted the bearer")
	ErrErrorIndication  = errors.New("the gateway does not know the tunnel (error indication)")
	ErrGatewayRestarted = errors.New("the gateway restarted and lost its sessions")
	ErrContextNotFound  = errors.New("the gateway does not know the session (context not found)")
	ErrSetLost          = errors.New("the serving node lost the sessions of the connection set")
)

// queued is how many downlink packets wait for Recv before they are dropped.
const queued = 256

// Bearer is the default bearer of a PDN connection: inner addresses and a
// tunnel that carries their packets.
type Bearer struct {
	identity uint8                // EBI, NSAPI
	set      uint16               // connection set
	path     atomic.Pointer[path] // nil before the gateway answered; written under mu
	granted  atomic.Pointer[Granted]

	procedure sync.Mutex // one GTP-C procedure at a time; guards who
	who       Subscriber

	mu   sync.Mutex // before the tables of a carrier
	own  []ownEnd   // the last is current; guarded by mu
	gone bool       // no more ends; guarded by mu

	terminal terminal
	handler  atomic.Pointer[func([]byte)]
	queue    chan []byte

	once sync.Once
	done chan struct{}
	err  error // written before done is closed
}

// path is where the bearer's packets and requests go, and from where.
type path struct {
	carrier       *Carrier
	v1            bool   // as a PDP context
	control, user remote // the gateway's ends
}

// gateway is where requests for this session go.
func (p *path) gateway() netip.AddrPort {
	return netip.AddrPortFrom(p.control.addr, ControlPort)
}

func newBearer(who Subscriber) *Bearer {
	return &Bearer{identity: who.EBI, set: who.ConnectionSet, who: who, queue: make(chan []byte, queued), done: make(chan struct{})}
}

// Granted is what the gateway gave, and has changed since.
func (b *Bearer) Granted() Granted { return *b.granted.Load() }

// Address is the inner IPv4 address that the gateway gave; the zero Addr if it
// gave none.
func (b *Bearer) Address() netip.Addr { return b.granted.Load().Address }

// DNS lists the name servers that the gateway gave.
func (b *Bearer) DNS() []netip.Addr { return b.granted.Load().DNS }

// MTU is the inner link's, in bytes; 0 if the gateway didn't say.
func (b *Bearer) MTU() int { return b.granted.Load().MTU }

// UserPlane is the gateway's address in the user plane.
func (b *Bearer) UserPlane() netip.Addr { return b.path.Load().user.addr }

// GTPv1 tells whether the session is a PDP context now.
func (b *Bearer) GTPv1() bool { return b.path.Load().v1 }

// Done is closed when the bearer is gone; Err tells why.
func (b *Bearer) Done() <-chan struct{} { return b.done }

// Err returns why the bearer ended, nil while it is up.
func (b *Bearer) Err() error {
	select {
	case <-b.done:
		return b.err
	default:
		return nil
	}
}

// end takes the bearer out of the carrier's tables.
func (b *Bearer) end(why error) {
	b.once.Do(func() {
		b.unregister()
		b.err = why
		close(b.done)
	})
}

// Handle makes fn receive every downlink packet from now on, on the carrier's
// reading goroutine: fn must be quick and must not keep the slice. Nil goes
// back to the queue of Recv.
func (b *Bearer) Handle(fn func(packet []byte)) {
	if fn == nil {
		b.handler.Store(nil)
		return
	}
	b.handler.Store(&fn)
}

// Recv waits for the next downlink packet. Packets wait in a short queue and
// are dropped when nobody takes them.
func (b *Bearer) Recv(ctx context.Context) ([]byte, error) {
	select {
	case packet := <-b.queue:
		return packet, nil
	default:
	}
	select {
	case packet := <-b.queue:
		return packet, nil
	case <-b.done:
		return nil, b.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// deliver hands a downlink packet over; packet is only valid during the call.
func (b *Bearer) deliver(packet []byte) bool {
	if b.terminal.hears(packet) {
		return true
	}
	if fn := b.handler.Load(); fn != nil {
		(*fn)(packet)
		return true
	}
	select {
	case b.queue <- append([]byte(nil), packet...):
		return true
	default:
		return false
	}
}
