package admin

import (
	"errors"
	"net/http"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/wire"
)

// terminalOf shows a subscriber with its leases, in the order of its APNs.
func terminalOf(m *state.Machine, s *command.Subscriber) adminapi.Terminal {
	var leases []*command.AddressLease
	for _, apn := range s.Apns {
		for l := range m.LeasesByIMSI(s.Imsi) {
			if l.Apn == apn {
				leases = append(leases, l)
			}
		}
	}
	return adminapi.TerminalOf(s, leases...)
}

func (s *Server) terminals(r *http.Request, _ Caller) (any, *problem) {
	p, bad := pageOf(r, textKey)
	if bad != nil {
		return nil, bad
	}
	f, bad := deviceFilterOf(r)
	if bad != nil {
		return nil, bad
	}
	var list adminapi.List[adminapi.Terminal]
	f.view(s.cfg.Cluster, func(m *state.Machine) {
		list = show(p, f.subscribers(m, m.SubscribersAfter(p.after)), (*command.Subscriber).GetImsi, func(s *command.Subscriber) adminapi.Terminal {
			return terminalOf(m, s)
		})
	})
	return list, nil
}

func (s *Server) terminal(r *http.Request, _ Caller) (any, *problem) {
	var t adminapi.Terminal
	found := false
	s.cfg.Cluster.View(func(m *state.Machine) {
		if rec := m.Subscriber(r.PathValue("imsi")); rec != nil {
			t, found = terminalOf(m, rec), true
		}
	})
	if !found {
		return nil, notFound("terminal with IMSI " + r.PathValue("imsi"))
	}
	return t, nil
}

// putTerminal adds or replaces a terminal. ?new=true only adds. A document with
// the version it was read at must not overwrite a newer one; without a version it
// replaces whatever is there, except for the credentials that it doesn't name.
func (s *Server) putTerminal(r *http.Request, c Caller) (any, *problem) {
	var t adminapi.Terminal
	if p := read(r, &t); p != nil {
		return nil, p
	}
	rec, err := t.Record()
	if err != nil {
		return nil, badRequest(err)
	}
	if p := samePath(r, "imsi", rec.Imsi); p != nil {
		return nil, p
	}
	onlyNew := r.URL.Query().Get("new") == "true"
	if onlyNew && t.Version != 0 {
		return nil, badRequest(errors.New("version: a new terminal has none"))
	}
	// What is kept of credentials is part of the command, so it is decided upon
	// one version of the record, and once more when somebody else was faster.
	const attempts = 5
	id := requestID(r)
	for n := 1; ; n++ {
		if p := s.linearize(r); p != nil {
			return nil, p
		}
		var now *command.Subscriber
		var answered *command.Result
		s.cfg.Cluster.View(func(m *state.Machine) {
			now = m.Subscriber(rec.Imsi)
			answered = m.Answered(clientOf(c), id)
		})
		if answered != nil {
			return s.terminalAgain(rec, t.Credentials, answered)
		}
		if onlyNew && now != nil {
			return nil, refuse(http.StatusConflict, wire.CodeConflict, "There is a terminal with this IMSI already.", "", "Change it with 'sealctl device update'.")
		}
		base := t.Version
		if base == 0 {
			base = now.GetVersion()
		}
		var p *problem
		if rec.Credentials, p = s.credentials(rec.Imsi, t.Credentials, now.GetCredentials()); p != nil {
			return nil, p
		}
		put := &command.PutSubscriber{Subscriber: rec, BaseVersion: base}
		var code command.Code
		answer, p := s.changeDevice(r, c, &command.DeviceChange{Change: &command.DeviceChange_Subscriber{Subscriber: put}}, func(under uint64) (any, *problem) {
			out := new(command.Subscriber)
			var p *problem
			if code, p = s.proposeUnder(r, c, under, id, put, out); p != nil {
				return nil, p
			}
			return adminapi.TerminalOf(out), nil
		}, func(m *state.Machine) any { return adminapi.TerminalOf(m.Subscriber(rec.Imsi)) })
		if code == command.Code_CONFLICT && t.Version == 0 && n < attempts {
			continue
		}
		return answer, p
	}
}

// terminalAgain answers a repeated request as it was answered first. The command
// can't be made again: its salts and nonces are random and the record's version is
// another by now. So what it made is compared with what is asked for.
func (s *Server) terminalAgain(rec *command.Subscriber, want *adminapi.Credentials, answered *command.Result) (any, *problem) {
	if answered.Code != command.Code_OK {
		return nil, problemOfResult(answered)
	}
	made := new(command.Subscriber)
	if err := answered.Into(made); err != nil {
		return nil, wire.NewProblem(wire.CodeInternal, err.Error())
	}
	creds, p := s.credentials(rec.Imsi, want, made.Credentials)
	if p != nil {
		return nil, p
	}
	rec.Credentials, rec.Version = creds, made.Version
	if !proto.Equal(rec, made) {
		return nil, refuse(http.StatusUnprocessableEntity, wire.CodeBadRequest, "The change was refused.", "The Idempotency-Key was used for another request.", "Take a new one.")
	}
	return adminapi.TerminalOf(made), nil
}
