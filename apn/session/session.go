// Package session holds the procedures of PDN sessions, as pure functions: a
// GTP-C request, the replicated state and the policy in, an answer or a command
// to propose out; then the command's result in, and the answer out.
//
// The same request with the same result gives the same bytes, on any node. A
// duplicate that reaches another node after a failover finds the result that
// the state remembers under the request's id and gets the same answer without
// being decided again.
//
// Nothing here waits, keeps state, reads a clock or draws random numbers. The
// causes that refusals end with, and why, are in docs/causes.md.
package session

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/policy"
)

// ClientID is the client id of every command that comes out of GTP-C.
const ClientID = "gtpc"

// Gateway is what the procedures know of the gateway itself. It is the same on
// every node.
type Gateway struct {
	Name  string     // of the gateway address in the replicated state
	Outer netip.Addr // that address: it goes into our F-TEIDs
	// Scope tells apart what a peer asks of several gateway addresses: it may number
	// the requests of each by themselves. Empty for the first.
	Scope string
	// Secret keys the derivation of TEIDs, at least 16 octets. All nodes share
	// it, so that a request decided twice is one command; nobody else knows it,
	// so that TEIDs can't be guessed.
	Secret []byte
}

// View is what a decision is made upon: one moment of the replicated state, and
// the rules compiled out of its policy. Rules may be nil, which admits nobody.
type View struct {
	State *state.Machine
	Rules *policy.Rules
	// Authentication is what Authenticate made of the request; the zero value
	// for requests that have nothing to be checked.
	Authentication Authentication
	// Now is the node's clock; zero: the cluster's is all that is known.
	Now time.Time
	// NoTakeover: whoever doesn't hold a session doesn't get it now, see
	// Outcome.Astray.
	NoTakeover bool
}

// Outcome is what came of a request. With Command nil, Response is the answer;
// a nil Response then means that the request's type has none. Else the command
// is to be proposed and Finish or Fail gives the answer.
type Outcome struct {
	Response []byte
	Command  *command.Command
	// Update is sent instead of a response to a command (TS 29.274 7.2.14): a
	// request with the command's own sequence number, which the peer answers.
	Update *gtp.UpdateBearerRequest
	// Stale: the subscriber's record changed since View.Authentication was made.
	// Authenticate anew and decide again; nothing else is set.
	Stale bool
	// Restart: the request says that its peer has restarted. Who sent it is as
	// sure as the source address of a datagram.
	Restart *Restart
	// Astray: the sender says that a session is its own now, which isn't there or
	// not for it to have. Handovers go astray now and then; who guesses at TEIDs
	// does so all the time.
	Astray   bool
	Cause    gtp.Cause        // of Response
	Decision *policy.Decision // when policy was asked; nil otherwise
	Record   *command.Command // an audit record of a refusal, to be proposed without waiting; or nil
	IMSI     string           // whom it is about, for logs; may be empty
	APN      string

	finish func(*command.Result) Answer
	refuse func(gtp.Cause) []byte
}

// Answer is what a command's result leads to.
type Answer struct {
	Response []byte
	Cause    gtp.Cause
	Session  *command.Session         // as it is after the command; nil when there is none
	Update   *gtp.UpdateBearerRequest // as in Outcome, instead of Response
	// Again: what the decision was based on had changed. Decide once more, with
	// the next attempt number and a fresh view.
	Again bool
	// More: the command did a part of the work. Decide and propose again, with
	// the next attempt number, however often it takes.
	More bool
}

// Restart is a peer's restart counter that is newer than the one on record
// (TS 23.007 18): the peer has lost the sessions that were made before.
type Restart struct {
	Peer    netip.Addr // of its control plane
	Counter uint8
}

// Finish turns the command's result into the answer.
func (o Outcome) Finish(r *command.Result) Answer { return o.finish(r) }

// Fail gives the answer when the command could not be proposed, or deciding
// again came to no end.
func (o Outcome) Fail(cause gtp.Cause) Answer {
	return Answer{Response: o.refuse(cause), Cause: cause}
}

// Decide carries out a request of either version that is not Echo. A message
// that is no request gets the zero Outcome. peer is where it came from; attempt counts from 0 the times
// that this request was decided.
func (g Gateway) Decide(m gtp.Message, peer netip.AddrPort, v View, attempt int) Outcome {
	d := deciding{Gateway: g, View: v, peer: peer, head: m.Head(), message: m, attempt: attempt}
	o := d.decide()
	o.Astray = d.astray
	return o
}

func (d *deciding) decide() Outcome {
	switch m := d.message.(type) {
	case *gtp.CreateSessionRequest:
		return d.create(m)
	case *gtp.ModifyBearerRequest:
		return d.modify(m)
	case *gtp.DeleteSessionRequest:
		return d.delete(m)
	case *gtp.CreatePDPContextRequest:
		return d.createPDP(m)
	case *gtp.UpdatePDPContextRequest:
		return d.updatePDP(m)
	case *gtp.DeletePDPContextRequest:
		return d.deletePDP(m)
	case *gtp.ModifyBearerCommand:
		return d.modifyQoS(m)
	case *gtp.ChangeNotificationRequest:
		return d.changeNotification(m)
	case *gtp.SuspendNotification:
		return d.suspension(m.Sender, command.Suspension_SUSPEND_PATH, func(teid uint32) []byte {
			return (&gtp.SuspendAcknowledge{TEID: teid, Seq: m.Seq, Cause: gtp.CauseAccepted}).Marshal()
		})
	case *gtp.ResumeNotification:
		return d.suspension(m.Sender, command.Suspension_RESUME_PATH, func(teid uint32) []byte {
			return (&gtp.ResumeAcknowledge{TEID: teid, Seq: m.Seq, Cause: gtp.CauseAccepted}).Marshal()
		})
	case *gtp.DeletePDNConnectionSetRequest:
		return d.deleteSets(m)
	case *gtp.Faulty:
		return d.other(m.Err)
	case *gtp.Other:
		// Dedicated bearers, and whatever else no seal needs, are not offered. A
		// peer that gets this cause keeps the session as it is.
		return d.other(&gtp.Error{Cause: gtp.CauseServiceNotSupported, Reason: "not-supported"})
	}
	return Outcome{}
}

// deciding is one decision being made.
type deciding struct {
	Gateway
	View
	peer    netip.AddrPort
	head    gtp.Header
	message gtp.Message
	attempt int
	astray  bool // see Outcome
}

// requestID identifies the request for the replicated de-duplication: equal for
// its retransmissions, on whichever node they arrive, and different for
// everything else, as TS 29.274 7.6 has a retransmission equal to the bit.
func (d *deciding) requestID() string {
	h := sha256.New()
	peer, _ := d.peer.MarshalBinary() // of a valid AddrPort it can't fail
	var n [13]byte
	n[0] = d.head.Type
	binary.BigEndian.PutUint32(n[1:], d.head.Seq)
	binary.BigEndian.PutUint64(n[5:], uint64(d.attempt))
	h.Write(n[:])
	h.Write(d.head.Digest[:])
	h.Write(peer)
	h.Write([]byte(d.Scope))
	return hex.EncodeToString(h.Sum(nil))[:32]
}

// entropy derives the 16 octets that TEIDs are made of.
func (d *deciding) entropy(requestID string) []byte {
	h := hmac.New(sha256.New, d.Secret)
	h.Write([]byte(requestID))
	return h.Sum(nil)[:16]
}

// propose makes an outcome out of a command.
func (d *deciding) propose(o Outcome, payload proto.Message, finish func(*command.Result) Answer) Outcome {
	o.finish = finish
	o.refuse = func(c gtp.Cause) []byte { return d.refusal(c, d.peerTEID()) }
	o.Command = command.New(ClientID, d.requestID(), d.actor(), payload)
	return o
}

// refuse ends the decision with a cause, answered to the TEID given.
func (d *deciding) refuse(o Outcome, why *gtp.Error, teid uint32) Outcome {
	o.Cause = why.Cause
	o.Response = d.answerNo(why, teid)
	return o
}

func (d *deciding) refusal(c gtp.Cause, teid uint32) []byte {
	return d.answerNo(&gtp.Error{Cause: c, Reason: "refused"}, teid)
}

// answerNo makes a refusal. It tells our restart counter where its message can:
// it may be the first that the peer hears of us.
func (d *deciding) answerNo(why *gtp.Error, teid uint32) []byte {
	counter := d.restartCounter()
	return gtp.Refusal{TEID: teid, Reason: why, Recovery: &counter}.Marshal(d.message)
}

// unwrap reads an accepted result into payload. Otherwise ok is false and the
// answer is made: to decide again, or to refuse with the result's cause.
func (d *deciding) unwrap(r *command.Result, payload proto.Message, teid uint32) (a Answer, ok bool) {
	if r.GetCode() == command.Code_CONFLICT {
		return Answer{Again: true}, false
	}
	c := causeOfResult(r)
	if c == gtp.CauseAccepted && r.Into(payload) != nil {
		c = gtp.CauseSystemFailure
	}
	if c == gtp.CauseAccepted {
		return Answer{}, true
	}
	if c == gtp.CauseContextNotFound {
		teid = 0
	}
	return Answer{Response: d.refusal(c, teid), Cause: c}, false
}

// restartCounter is the one of our address (TS 23.007 18): one octet on the
// wire, wider in the state.
func (d *deciding) restartCounter() uint8 {
	return uint8(d.State.Address(d.Name).GetRestartCounter())
}

func (d *deciding) actor() string { return "carrier:" + d.peer.Addr().String() }
