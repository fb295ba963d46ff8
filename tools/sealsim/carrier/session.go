package carrier

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/sealedge/sealedge/policy/ident"
)

// RAT is a radio access technology (TS 29.274 8.17; TS 29.060 7.7.50 numbers
// them alike).
type RAT uint8

// The technologies that simulated phones use.
const (
	UTRAN  RAT = 1
	GERAN  RAT = 2
	WLAN   RAT = 3
	EUTRAN RAT = 6
	NBIoT  RAT = 8
	NR     RAT = 10
)

// Subscriber is who attaches, from where, how and to what.
type Subscriber struct {
	IMSI   ident.IMSI
	MSISDN ident.MSISDN // zero: not told to the gateway
	IMEI   ident.IMEI   // zero: the handset isn't told to the gateway
	APN    ident.APN    // sent with the operator identifier of the home network
	PLMN   ident.PLMN   // the serving network
	GTPv1  bool         // attaches at the SGSN, with Create PDP Context
	RAT    RAT          // zero: EUTRAN, at the SGSN UTRAN
	EBI    uint8        // EPS bearer identity, NSAPI; zero: 5
	TAC    uint16       // tracking area; location area and service area of an SGSN
	Cell   uint32       // E-UTRAN cell identity, 28 bits

	PDNType       PDNType // zero: IPv4
	SingleAddress bool    // the network has no bearers of two families: no dual address flag
	Login         Login   // zero: none
	IPCP          bool    // asks for name servers in IPCP too
	AMBR          AMBR    // that the subscription allows; zero: 50 Mbit/s up, 150 down
	QoS           QoS     // zero: QCI 9, ARP 9; at the SGSN interactive traffic, ARP 2
	// ConnectionSet is what the session fails together with (CSID of the
	// SGW, TS 29.274 8.62); zero: not told. See DeleteConnectionSet.
	ConnectionSet uint16
}

// Login is what a terminal is configured with for an access point that asks.
type Login struct {
	User, Password string
	CHAP           bool // in CHAP, not PAP
}

// Attach opens a PDN connection (Create Session, TS 29.274 7.2.1) or PDP context
// (Create PDP Context, TS 29.060 7.3.1) and returns its default bearer. A
// refusal is a *RefusedError; silence is ErrNoAnswer.
func (c *Carrier) Attach(ctx context.Context, who Subscriber) (*Bearer, error) {
	who = who.complete()
	if who.IMSI.IsZero() || who.APN.IsZero() || who.PLMN.IsZero() {
		return nil, errors.New("attach: a subscriber needs IMSI, APN and serving PLMN")
	}
	if len(who.Login.User)+len(who.Login.Password) > maxLogin {
		return nil, errors.New("attach: the login is longer than a PCO container")
	}
	b := newBearer(who)
	own := c.register(b)
	open := c.createSession
	if who.GTPv1 {
		open = c.createPDPContext
	}
	control, user, g, err := open(ctx, who, own)
	if err != nil {
		b.end(err)
		return nil, fmt.Errorf("attach: %w", err)
	}
	b.granted.Store(g)
	b.follow(path{carrier: c, v1: who.GTPv1, control: control, user: user})
	return b, nil
}

// complete puts in what is left out.
func (who Subscriber) complete() Subscriber {
	rat, qos := EUTRAN, QoS{QCI: 9, ARP: 9}
	if who.GTPv1 {
		// Interactive, 8640 kbit/s (TS 24.008 10.5.6.5).
		rat, qos = UTRAN, QoS{ARP: 2, Profile: "\x0b\x92\x1f\x93\x96\xfe\xfe\x74\xf9\xff\xff\x11\x01\x01"}
	}
	if who.RAT == 0 {
		who.RAT = rat
	}
	if who.QoS == (QoS{}) {
		who.QoS = qos
	}
	if who.EBI == 0 {
		who.EBI = 5
	}
	if who.PDNType == 0 {
		who.PDNType = IPv4
	}
	if who.AMBR == (AMBR{}) {
		who.AMBR = AMBR{Up: 50_000, Down: 150_000}
	}
	return who
}

// operatorAPN adds the operator identifier of the home network, as serving
// nodes do (TS 23.003 9.1.2). The home network's code is taken to be as long
// as the serving network's.
func operatorAPN(who Subscriber) string {
	imsi, n := who.IMSI.String(), len(who.PLMN.MNC())
	return fmt.Sprintf("%s.mnc%03s.mcc%s.gprs", who.APN, imsi[3:3+n], imsi[:3])
}

// Detach closes the session (Delete Session, TS 29.274 7.2.9; Delete PDP
// Context, TS 29.060 7.3.5). The bearer is gone afterwards even if the gateway
// refuses or stays silent; the error tells that it did.
func (b *Bearer) Detach(ctx context.Context) error {
	b.procedure.Lock()
	defer b.procedure.Unlock()
	if err := b.Err(); err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	defer b.end(ErrDetached)
	p := b.path.Load()
	remove := p.deleteSession
	if p.v1 {
		remove = p.deletePDPContext
	}
	if err := remove(ctx, b.who); err != nil {
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
	// NewTunnel makes this a handover between serving nodes of the same
	// address: new TEIDs of ours in both planes.
	NewTunnel bool
	// To is another serving node, with another address. NewTunnel is
	// implied.
	To *Carrier
}

// ModifyBearer tells the gateway of a handover, or with an empty Move that the
// subscriber is reachable again (TS 29.274 7.2.7). A PDP context becomes a PDN
// connection of an SGW by it, with a new tunnel (TS 23.401 annex D). On a
// refusal the bearer stays as it was, unless the gateway doesn't know it: then
// it is gone.
func (b *Bearer) ModifyBearer(ctx context.Context, move Move) error {
	if err := b.move(ctx, move, false); err != nil {
		return fmt.Errorf("modify bearer: %w", err)
	}
	return nil
}

// UpdatePDPContext tells the gateway of a routing area update or another radio
// access technology (TS 29.060 7.3.3). A PDN connection becomes a PDP context
// of an SGSN by it, with a new tunnel (TS 23.401 annex D); its Move says the
// RAT. Refusals are as with ModifyBearer.
func (b *Bearer) UpdatePDPContext(ctx context.Context, move Move) error {
	if err := b.move(ctx, move, true); err != nil {
		return fmt.Errorf("update PDP context: %w", err)
	}
	return nil
}

func (b *Bearer) move(ctx context.Context, move Move, v1 bool) error {
	b.procedure.Lock()
	defer b.procedure.Unlock()
	if err := b.Err(); err != nil {
		return err
	}
	was := b.path.Load()
	is, who := *was, b.who.after(move)
	is.v1, who.GTPv1 = v1, v1
	if move.To != nil {
		is.carrier = move.To
	}
	if v1 && who.QoS.Profile == "" || !v1 && who.QoS.QCI == 0 {
		who.QoS = QoS{}
		who = who.complete()
	}
	renewed := move.NewTunnel || is.carrier != was.carrier || is.v1 != was.v1
	if renewed {
		is.carrier.register(b)
	}
	g, own := b.Granted(), b.newest()
	var err error
	if v1 {
		err = is.updatePDPContext(ctx, who, own, &g)
	} else {
		err = is.modifyBearer(ctx, who, own, renewed, &g)
	}
	if renewed {
		b.retire(err == nil)
	}
	if err != nil {
		if notFound(err) {
			b.end(ErrContextNotFound)
		}
		return err
	}
	b.who = who
	b.granted.Store(&g)
	b.follow(is)
	return nil
}

// after is the subscriber where he went.
func (who Subscriber) after(move Move) Subscriber {
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
	return who
}

// peer is the gateway's control plane as it is known before a session.
func (c *Carrier) peer() netip.AddrPort { return netip.AddrPortFrom(c.cfg.Gateway, ControlPort) }
