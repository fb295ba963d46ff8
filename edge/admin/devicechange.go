package admin

import (
	"fmt"
	"net/http"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/policy"
)

// verdict is what the policy says of a change of the allow-list.
type verdict struct {
	needed   uint32 // other people
	control  policy.ChangeControl
	revision uint64 // of the policy; 0: there is none
	under    uint64 // revision, or 0 while some node doesn't heed that precondition
}

// deviceApprovals asks the policy in force, as the whole cluster has it.
func (s *Server) deviceApprovals(r *http.Request) (verdict, *problem) {
	if p := s.linearize(r); p != nil {
		return verdict{}, p
	}
	p, rules := s.current()
	v := verdict{control: controlOf(rules), revision: p.GetRevision()}
	v.needed = v.control.Needed([]policy.Touch{policy.TouchDevices})
	s.cfg.Cluster.View(func(m *state.Machine) {
		if m.Level() >= command.UnderLevel {
			v.under = v.revision
		}
	})
	return v, nil
}

// changeDevices changes the allow-list. When nobody else is needed, each row is
// carried out for itself; otherwise all of them are one change that waits for
// others, or with ?break_glass=true is carried out all the same. Check-ins alone
// never wait.
func (s *Server) changeDevices(r *http.Request, c Caller, reason string, batch *command.PutDevices) (*command.DevicesPut, *adminapi.Change, *problem) {
	v, p := s.deviceApprovals(r)
	if p != nil {
		return nil, nil, p
	}
	if checkIns := onlyCheckIns(batch); v.needed == 0 || checkIns {
		if checkIns {
			v.under = 0 // whatever the policy says
		}
		put := new(command.DevicesPut)
		// Each row can be repeated without harm, so the answer need not be remembered.
		if _, p := s.proposeUnder(r, c, v.under, "", batch, put); p != nil {
			return nil, nil, p
		}
		return put, nil, nil
	}
	change, p := s.proposeDevices(r, c, reason, batch, v)
	return nil, change, p
}

func onlyCheckIns(batch *command.PutDevices) bool {
	for _, d := range batch.GetChanges() {
		if d.GetCheckIn() == nil {
			return false
		}
	}
	return true
}

func (s *Server) proposeDevices(r *http.Request, c Caller, reason string, batch *command.PutDevices, v verdict) (*adminapi.Change, *problem) {
	if q := r.URL.Query().Get("reason"); reason == "" {
		reason = q
	}
	id := "change:" + requestID(r)
	if again, p := s.changeAgain(c, id); again != nil || p != nil {
		return again, p // wrapped secrets are others each time, so it can't be compared
	}
	effects := []string{}
	if n := len(batch.Changes); n > 1 {
		effects = append(effects, fmt.Sprintf("%d devices", n))
	} else {
		effects = append(effects, deviceWords(batch.Changes[0]))
	}
	return s.proposeChange(r, c, id, &command.ProposeChange{
		Devices: batch, Reason: reason, Touches: []string{string(policy.TouchDevices)}, Effects: effects,
		Needed: v.needed, BreakGlass: r.URL.Query().Get("break_glass") == "true", PolicyRevision: v.revision,
	}, v.control)
}

// changeDevice is changeDevices of one device. When nobody else is needed it is done
// in its own way, under a revision of the policy: see proposeUnder. now is the answer
// when glass was broken for it.
func (s *Server) changeDevice(r *http.Request, c Caller, d *command.DeviceChange, alone func(under uint64) (any, *problem), now func(*state.Machine) any) (answer any, _ *problem) {
	v, p := s.deviceApprovals(r)
	if p != nil {
		return nil, p
	}
	if v.needed == 0 {
		return alone(v.under)
	}
	change, p := s.proposeDevices(r, c, d.GetResume().GetReason(), &command.PutDevices{Changes: []*command.DeviceChange{d}}, v)
	if p != nil || change.State == adminapi.ChangePending {
		return s.answerChange(change, p)
	}
	s.cfg.Cluster.View(func(m *state.Machine) { answer = now(m) })
	return answer, nil
}

// resume takes a suspension back.
func (s *Server) resume(r *http.Request, c Caller, d *command.ResumeDevice) (any, *problem) {
	reason, p := reasonOf(r)
	if p != nil {
		return nil, p
	}
	d.Reason = reason
	return s.changeDevice(r, c, &command.DeviceChange{Change: &command.DeviceChange_Resume{Resume: d}}, func(under uint64) (any, *problem) {
		_, p := s.proposeUnder(r, c, under, requestID(r), d, nil)
		return nil, p
	}, func(*state.Machine) any { return nil })
}

func (s *Server) resumeTerminal(r *http.Request, c Caller) (any, *problem) {
	return s.resume(r, c, &command.ResumeDevice{Imsi: r.PathValue("imsi")})
}

func (s *Server) resumeBarrel(r *http.Request, c Caller) (any, *problem) {
	return s.resume(r, c, &command.ResumeDevice{Barrel: r.PathValue("id")})
}

// changeSummary is what of changes belongs into the status.
func changeSummary(m *state.Machine, v *adminapi.Status) {
	for c := range m.Changes() {
		switch {
		case m.Waits(c, m.Clock()):
			v.ChangesPending++
		case c.BreakGlass && c.ReviewedBy == "":
			v.GlassBroken++
			if m.Clock().UnixNano() >= c.ReviewDue {
				v.ReviewsOverdue++
			}
		}
	}
}
