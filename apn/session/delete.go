package session

import (
	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/cluster/command"
)

// delete carries out a Delete Session Request (TS 29.274 7.2.9.1): it closes
// the path through the carrier. The session itself lives on as long as the
// terminal is attached over the fallback path.
func (d *deciding) delete(m *gtp.DeleteSessionRequest) Outcome {
	return d.detach(m.LinkedEBI, m.Sender, func(teid uint32) []byte {
		r := gtp.DeleteSessionResponse{TEID: teid, Seq: m.Seq, Cause: gtp.CauseAccepted, Recovery: d.restartCounter()}
		return r.Marshal()
	})
}

// deletePDP carries out a Delete PDP Context Request (TS 29.060 7.3.5). There is
// one context only, so that it goes with the teardown indication or without.
func (d *deciding) deletePDP(m *gtp.DeletePDPContextRequest) Outcome {
	return d.detach(m.NSAPI, gtp.FTEID{}, func(teid uint32) []byte {
		r := gtp.DeletePDPContextResponse{Header: gtp.Header{Version: 1, TEID: teid, Seq: m.Seq}, Cause: gtp.CauseAccepted}
		return r.Marshal()
	})
}

// detach closes the path whose bearer is named; answer makes the response to the
// TEID given.
func (d *deciding) detach(bearer uint8, sender gtp.FTEID, answer func(teid uint32) []byte) Outcome {
	finish := func(r *command.Result) Answer {
		var closed command.Closed
		if a, ok := d.unwrap(r, &closed, d.peerTEID()); !ok {
			return a
		}
		return Answer{Response: answer(closed.GetSession().GetGtp().GetPeerC().GetTeid()), Cause: gtp.CauseAccepted}
	}
	// The session of a duplicate is gone already; its answer isn't.
	if r := d.State.Answered(ClientID, d.requestID()); r != nil {
		if a := finish(r); !a.Again {
			return Outcome{Response: a.Response, Cause: a.Cause}
		}
	}
	s := d.find(gtp.FTEID{})
	if s == nil && d.left(sender) {
		return d.refuse(Outcome{}, &invalidPeer, sender.TEID)
	}
	if s == nil {
		return d.refuse(Outcome{}, &notFound, 0)
	}
	o := Outcome{IMSI: s.GetImsi(), APN: s.GetApn()}
	if uint32(bearer) != s.GetGtp().GetEbi() {
		return d.refuse(o, &notFound, s.GetGtp().GetPeerC().GetTeid())
	}
	if superseded(s, sender) {
		return d.refuse(o, &invalidPeer, s.GetGtp().GetPeerC().GetTeid())
	}
	return d.propose(o, &command.ClosePath{
		Session: s.GetId(), Path: command.PathKind_GTP, LocalTeidC: s.GetGtp().GetLocalTeidC(), Reason: "detached by the carrier",
	}, finish)
}

// other refuses what failed a check or isn't offered. A request that belongs to
// a session is answered to that session's peer; when there is no such session,
// that is the answer.
func (d *deciding) other(why *gtp.Error) Outcome {
	if teid := gtp.SenderTEID(d.message); !d.head.NamesSession() {
		return d.refuse(Outcome{}, why, teid)
	}
	var sender gtp.FTEID
	switch m := d.message.(type) {
	case *gtp.Faulty:
		sender = m.Sender
	case *gtp.Other:
		sender = m.Sender
	}
	s := d.find(sender)
	if s == nil {
		return d.refuse(Outcome{}, &notFound, 0)
	}
	return d.refuse(Outcome{IMSI: s.GetImsi(), APN: s.GetApn()}, why, d.peerTEID())
}

// peerTEID is the TEID to answer to: the one that the request brought, else the
// one of the session that it names, else 0 (TS 29.274 5.5.2).
func (d *deciding) peerTEID() uint32 {
	if teid := gtp.SenderTEID(d.message); teid != 0 {
		return teid
	}
	return d.State.SessionByTEIDC(d.head.TEID).GetGtp().GetPeerC().GetTeid()
}
