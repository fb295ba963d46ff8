package carrier

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/wmnsk/go-gtp/gtpv2/ie"
	"github.com/wmnsk/go-gtp/gtpv2/message"

	"github.com/sealedge/sealedge/policy/ident"
)

// Why a bearer ended, as Bearer.Err tells.
var (
	ErrDetached         = errors.New("detached")
	ErrDeletedByGateway = errors.New("the gateway deleted the bearer")
	ErrErrorIndication  = errors.New("the gateway does not know the tunnel (error indication)")
	ErrGatewayRestarted = errors.New("the gateway restarted and lost its sessions")
	ErrContextNotFound  = errors.New("the gateway does not know the session (context not found)")
)

// queued is how many downlink packets wait for Recv before they are dropped.
const queued = 256

// Bearer is the default bearer of a PDN connection: an inner address and a
// tunnel that carries its packets.
type Bearer struct {
	carrier *Carrier
	given   granted     // by the gateway; written once, under the carrier's tables
	own     []tunnelEnd // ours; the last is current; guarded by the carrier's tables

	procedure sync.Mutex // one GTP-C procedure at a time; guards who
	who       Subscriber

	handler atomic.Pointer[func([]byte)]
	queue   chan []byte

	once sync.Once
	done chan struct{}
	err  error // written before done is closed
}

func newBearer(c *Carrier, who Subscriber) *Bearer {
	return &Bearer{carrier: c, who: who, queue: make(chan []byte, queued), done: make(chan struct{})}
}

// Address is the inner IPv4 address that the gateway gave.
func (b *Bearer) Address() netip.Addr { return b.given.address }

// DNS lists the name servers that the gateway gave.
func (b *Bearer) DNS() []netip.Addr { return b.given.dns }

// MTU is the inner link's, in bytes; 0 if the gateway didn't say.
func (b *Bearer) MTU() int { return b.given.mtu }

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
		b.carrier.unregister(b)
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

// Detach closes the PDN connection (Delete Session, TS 29.274 7.2.9). The
// bearer is gone afterwards even if the gateway refuses or stays silent; the
// error tells that it did.
func (b *Bearer) Detach(ctx context.Context) error {
	b.procedure.Lock()
	defer b.procedure.Unlock()
	if err := b.Err(); err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	defer b.end(ErrDetached)
	answer, err := b.carrier.request(ctx, b.gateway(), message.MsgTypeDeleteSessionRequest, b.given.control.teid,
		ie.NewEPSBearerID(b.who.EBI), location(b.who.PLMN, b.who.TAC, b.who.Cell))
	if err == nil {
		err = accepted(answer)
	}
	if err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	return nil
}

// Move says where the subscriber went. Zero fields stay as they were.
type Move struct {
	PLMN ident.PLMN
	RAT  RAT
	TAC  uint16
	Cell uint32
	// NewTunnel makes this a handover between serving gateways: new TEIDs
	// of ours in both planes.
	NewTunnel bool
}

// ModifyBearer tells the gateway of a handover, or with an empty Move that the
// subscriber is reachable again (TS 29.274 7.2.7). On a refusal the bearer
// stays as it was, unless the gateway doesn't know it: then it is gone.
func (b *Bearer) ModifyBearer(ctx context.Context, move Move) error {
	b.procedure.Lock()
	defer b.procedure.Unlock()
	if err := b.Err(); err != nil {
		return fmt.Errorf("modify bearer: %w", err)
	}
	who := b.who
	if !move.PLMN.IsZero() {
		who.PLMN = move.PLMN
	}
	if move.RAT != 0 {
		who.RAT = move.RAT
	}
	if move.TAC != 0 {
		who.TAC = move.TAC
	}
	if move.Cell != 0 {
		who.Cell = move.Cell
	}
	c := b.carrier
	ies := []*ie.IE{
		location(who.PLMN, who.TAC, who.Cell),
		ie.NewServingNetwork(who.PLMN.MCC(), who.PLMN.MNC()),
		ie.NewRATType(uint8(who.RAT)),
	}
	if move.NewTunnel {
		own := c.register(b)
		ies = append(ies,
			c.fteid(ifS5SGWControl, own.control),
			ie.NewBearerContext(ie.NewEPSBearerID(who.EBI), c.fteid(ifS5SGWUser, own.user).WithInstance(1)),
		)
	}
	answer, err := c.request(ctx, b.gateway(), message.MsgTypeModifyBearerRequest, b.given.control.teid,
		append(ies, ie.NewRecovery(c.cfg.RestartCounter))...)
	if err == nil {
		err = modified(answer, who.EBI)
	}
	if move.NewTunnel {
		c.retire(b, err == nil)
	}
	if err != nil {
		var refused *RefusedError
		if errors.As(err, &refused) && refused.Cause == causeContextNotFound {
			b.end(ErrContextNotFound)
		}
		return fmt.Errorf("modify bearer: %w", err)
	}
	b.who = who
	return nil
}

// modified reads a Modify Bearer Response (TS 29.274 table 7.2.8-1).
func modified(answer *message.Generic, ebi uint8) error {
	if err := accepted(answer); err != nil {
		return err
	}
	if context := find(answer.IEs, ie.BearerContext, 0); context != nil {
		return bearerAccepted(context, ebi)
	}
	return nil
}

// gateway is where requests for this session go.
func (b *Bearer) gateway() netip.AddrPort {
	return netip.AddrPortFrom(b.given.control.addr, ControlPort)
}
