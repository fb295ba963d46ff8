package admin

import (
	"fmt"
	"net/http"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/policy"
)

// deviceApprovals is how many other people a change of the allow-list needs.
func (s *Server) deviceApprovals() (needed uint32, control policy.ChangeControl, revision uint64) {
	p, rules := s.current()
	control = controlOf(rules)
	return control.Needed([]policy.Touch{policy.TouchDevices}), control, p.GetRevision()
}

// changeDevices changes the allow-list. When nobody else is needed, each row is
// carried out for itself; otherwise all of them are one change that waits for
// others, or with ?break_glass=true is carried out all the same. Check-ins alone
// never wait.
func (s *Server) changeDevices(r *http.Request, c Caller, reason string, batch *command.PutDevices) (*command.DevicesPut, *adminapi.Change, *problem) {
	needed, control, revision := s.deviceApprovals()
	if needed == 0 || onlyCheckIns(batch) {
		put := new(command.DevicesPut)
		// Each row can be repeated without harm, so the answer need not be remembered.
		if p := s.proposeAs(r, c, "", batch, put); p != nil {
			return nil, nil, p
		}
		return put, nil, nil
	}
	change, p := s.proposeDevices(r, c, reason, batch, needed, control, revision)
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

func (s *Server) proposeDevices(r *http.Request, c Caller, reason string, batch *command.PutDevices, needed uint32, control policy.ChangeControl, revision uint64) (*adminapi.Change, *problem) {
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
		Needed: needed, BreakGlass: r.URL.Query().Get("break_glass") == "true", PolicyRevision: revision,
	}, control)
}

// changeDevice is changeDevices of one device that isn't changed in another way: ok
// is false when nobody else is needed.
func (s *Server) changeDevice(r *http.Request, c Caller, d *command.DeviceChange) (answer any, p *problem, ok bool) {
	needed, control, revision := s.deviceApprovals()
	if needed == 0 {
		return nil, nil, false
	}
	if p := s.linearize(r); p != nil {
		return nil, p, true
	}
	needed, control, revision = s.deviceApprovals()
	if needed == 0 {
		return nil, nil, false
	}
	answer, p = s.answerChange(s.proposeDevices(r, c, d.GetResume().GetReason(), &command.PutDevices{Changes: []*command.DeviceChange{d}}, needed, control, revision))
	return answer, p, true
}

// resume takes a suspension back.
func (s *Server) resume(r *http.Request, c Caller, d *command.ResumeDevice) (any, *problem) {
	reason, p := reasonOf(r)
	if p != nil {
		return nil, p
	}
	d.Reason = reason
	if v, p, ok := s.changeDevice(r, c, &command.DeviceChange{Change: &command.DeviceChange_Resume{Resume: d}}); ok {
		return v, p
	}
	return nil, s.propose(r, c, d, nil)
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
