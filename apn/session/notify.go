package session

import (
	"bytes"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/cluster/command"
)

// changeNotification takes over where the terminal is (TS 29.274 7.3.14, over
// GTPv1 TS 29.060 7.5B.1).
func (d *deciding) changeNotification(m *gtp.ChangeNotificationRequest) Outcome {
	s := d.find(gtp.FTEID{})
	if d.head.TEID == 0 {
		if s = d.named(m); s == nil {
			return Outcome{} // an unknown IMSI is passed over in silence (7.3.15)
		}
	}
	if s == nil {
		return d.refuse(Outcome{}, &notFound, 0)
	}
	path := s.GetGtp()
	o := Outcome{IMSI: s.GetImsi(), APN: s.GetApn()}
	teid := path.GetPeerC().GetTeid()
	if m.LinkedEBI != 0 && uint32(m.LinkedEBI) != path.GetEbi() {
		return d.refuse(o, &notFound, teid)
	}
	c := &command.ModifySession{Session: s.GetId(), LocalTeidC: path.GetLocalTeidC()}
	if d.relocate(&o, s, &move{rat: uint32(m.RAT), version: uint32(m.Version), location: m.UserLocation}, c, teid) {
		return o
	}
	changed := c.RatType != 0
	if len(m.UserLocation) > 0 && !bytes.Equal(m.UserLocation, path.GetUserLocation()) {
		c.UserLocation, changed = m.UserLocation, true
	}
	return d.change(o, s, c, changed, teid, func(*command.Session) []byte {
		r := gtp.ChangeNotificationResponse{
			Version: m.Version, TEID: teid, Seq: m.Seq, Cause: gtp.CauseAccepted, IMSI: m.IMSI, MEI: m.MEI, EBI: m.LinkedEBI,
		}
		return r.Marshal()
	})
}

// named finds the session of a notification that older implementations send
// without a TEID (TS 29.274 7.3.14): by subscriber and default bearer.
func (d *deciding) named(m *gtp.ChangeNotificationRequest) *command.Session {
	from := d.peer.Addr().Unmap()
	for s := range d.State.SessionsByIMSI(m.IMSI.String()) {
		path := s.GetGtp()
		if bytes.Equal(path.GetPeerC().GetAddress(), from.AsSlice()) && (m.LinkedEBI == 0 || uint32(m.LinkedEBI) == path.GetEbi()) {
			return s
		}
	}
	return nil
}

// suspension carries out a Suspend or Resume Notification (TS 29.274 7.4): while
// a path is suspended its terminal gets nothing.
func (d *deciding) suspension(sender gtp.FTEID, to command.Suspension, acknowledge func(teid uint32) []byte) Outcome {
	s := d.find(gtp.FTEID{})
	if s == nil {
		return d.refuse(Outcome{}, &notFound, 0)
	}
	path := s.GetGtp()
	o := Outcome{IMSI: s.GetImsi(), APN: s.GetApn()}
	teid := path.GetPeerC().GetTeid()
	if superseded(s, sender) {
		return d.refuse(o, &invalidPeer, teid)
	}
	c := &command.ModifySession{Session: s.GetId(), LocalTeidC: path.GetLocalTeidC(), Suspension: to}
	changed := path.GetSuspended() != (to == command.Suspension_SUSPEND_PATH)
	return d.change(o, s, c, changed, teid, func(*command.Session) []byte { return acknowledge(teid) })
}

// deleteSets releases the sessions that a partial failure of the peer took
// (TS 29.274 7.9.1, TS 23.007): those that depend on one of the sets named. Only
// sessions that the sender holds are touched.
func (d *deciding) deleteSets(m *gtp.DeletePDNConnectionSetRequest) Outcome {
	c := &command.ReleasePaths{Peer: d.peer.Addr().Unmap().AsSlice(), Csids: m.CSIDs, Reason: "the peer has lost connection sets"}
	response := gtp.DeletePDNConnectionSetResponse{Seq: m.Seq, Cause: gtp.CauseAccepted, Recovery: d.restartCounter()}
	if lost, _ := d.State.Lost(c); len(lost) == 0 { // nothing that is worth an entry of the log
		return Outcome{Response: response.Marshal(), Cause: gtp.CauseAccepted}
	}
	return d.propose(Outcome{}, c, func(r *command.Result) Answer {
		var released command.Released
		if a, ok := d.unwrap(r, &released, 0); !ok {
			return a
		}
		if released.GetMore() {
			return Answer{More: true}
		}
		return Answer{Response: response.Marshal(), Cause: gtp.CauseAccepted}
	})
}
