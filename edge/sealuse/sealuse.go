// Package sealuse is the seal-use machine: what happens between a terminal's
// request and the settled use. It is pure. It takes the records of the
// replicated state, the rules, what others said and the time, and gives the
// command to propose, the message to answer, or the refusal with its reasons.
//
// The way of one use:
//
//	Parse     the request makes sense
//	Screen    it is fit to be put to the seal server, or was carried out before
//	Permit    the seal server's answer is within policy: ReserveUses
//	Granted   the reservation is made: the grant, signed
//	Receipt   the barrel's word for a stamping: RecordReceipt
//	Evidence  the seal server stored the image: RecordEvidence
//	Statement the barrel's final count: SettleUse
//	Expired   uses whose grant ran out without a settlement: ExpireUse
//	Overdue   images that are due and missing: MarkOverdue
//	Disconnect, LocksFor, Acknowledge: locks, until carried out
//
// Nothing is kept here. A grant is made again out of the Use record, byte for
// byte, so that a repeated request is answered alike by any node, and nobody
// need store it.
package sealuse

import (
	"fmt"
	"net/netip"
	"regexp"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy/ident"
)

// Ask is a seal-use request whose parts make sense each by itself.
type Ask struct {
	RequestID       string
	TerminalAddress netip.Addr
	ServerAddress   string
	Time            time.Time
	Order           ident.OrderNo
	Barrel          ident.BarrelID
	Count           uint32 // stampings wanted; 0: all that the order has left
}

var requestID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Parse checks the form of a request. What is wrong is a problem of
// CodeBadRequest with the field and what it should be.
func Parse(req wire.UseRequest) (Ask, *wire.Problem) {
	ask := Ask{RequestID: req.RequestID, ServerAddress: req.ServerAddress, Time: req.Time, Count: req.Count}
	if !requestID.MatchString(req.RequestID) {
		return Ask{}, bad("request_id: want 1 to 64 letters, digits, dashes or underscores, new for each use.")
	}
	var err error
	if ask.TerminalAddress, err = netip.ParseAddr(req.TerminalAddress); err != nil || ask.TerminalAddress.Zone() != "" {
		return Ask{}, bad("terminal_address: want the terminal's own inner IP address.")
	}
	ask.TerminalAddress = ask.TerminalAddress.Unmap()
	if len(req.ServerAddress) == 0 || len(req.ServerAddress) > 255 {
		return Ask{}, bad("server_address: want the seal server's host and port.")
	}
	if req.Time.IsZero() {
		return Ask{}, bad("time: want the terminal's clock, RFC 3339.")
	}
	if ask.Order, err = ident.ParseOrderNo(req.Order); err != nil {
		return Ask{}, bad(fmt.Sprintf("order: %v.", err))
	}
	if ask.Barrel, err = ident.ParseBarrelID(req.Barrel); err != nil {
		return Ask{}, bad(fmt.Sprintf("barrel: %v.", err))
	}
	return ask, nil
}

func bad(detail string) *wire.Problem { return wire.NewProblem(wire.CodeBadRequest, detail) }
