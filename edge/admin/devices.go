package admin

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"net/http"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/wire"
)

// samePath refuses a document about another object than the path names.
func samePath(r *http.Request, name, inBody string) *problem {
	if r.PathValue(name) != inBody {
		return badRequest(fmt.Errorf("%s: the path says %q, the document %q", name, r.PathValue(name), inBody))
	}
	return nil
}

func (s *Server) barrels(r *http.Request, _ Caller) (any, *problem) {
	p, bad := pageOf(r, textKey)
	if bad != nil {
		return nil, bad
	}
	f, bad := deviceFilterOf(r)
	if bad != nil {
		return nil, bad
	}
	var list adminapi.List[adminapi.Barrel]
	f.view(s.cfg.Cluster, func(m *state.Machine) {
		list = show(p, f.barrels(m, m.BarrelsAfter(p.after)), (*command.Barrel).GetId, func(b *command.Barrel) adminapi.Barrel {
			return adminapi.BarrelOf(b, s.cfg.Alive(b.Id))
		})
	})
	return list, nil
}

func (s *Server) barrel(r *http.Request, _ Caller) (any, *problem) {
	var rec *command.Barrel
	s.cfg.Cluster.View(func(m *state.Machine) { rec = m.Barrel(r.PathValue("id")) })
	if rec == nil {
		return nil, notFound("barrel " + r.PathValue("id"))
	}
	return adminapi.BarrelOf(rec, s.cfg.Alive(rec.Id)), nil
}

func (s *Server) putBarrel(r *http.Request, c Caller) (any, *problem) {
	var b adminapi.Barrel
	if p := read(r, &b); p != nil {
		return nil, p
	}
	rec, err := b.Record()
	if err != nil {
		return nil, badRequest(err)
	}
	if p := samePath(r, "id", rec.Id); p != nil {
		return nil, p
	}
	if rec.Psk != nil {
		if p := s.wrap(r, rec); p != nil {
			return nil, p
		}
	}
	put := &command.PutBarrel{Barrel: rec, BaseVersion: b.Version, AnyVersion: b.Version == 0}
	return s.changeDevice(r, c, &command.DeviceChange{Change: &command.DeviceChange_Barrel{Barrel: put}}, func(under uint64) (any, *problem) {
		return s.barrelChange(r, c, under, put)
	}, s.barrelNow(rec.Id))
}

// wrap replaces the pre-shared key of a barrel's record by its wrapped form. That
// is another one each time, so one that is stored already is taken: a repeated
// request has to be the same command.
func (s *Server) wrap(r *http.Request, rec *command.Barrel) *problem {
	if p := s.linearize(r); p != nil {
		return p
	}
	var stored []byte
	s.cfg.Cluster.View(func(m *state.Machine) { stored = m.Barrel(rec.Id).GetPsk() })
	wrapped, err := s.wrapped(rec.Id, rec.Psk, stored)
	if err != nil {
		return wire.NewProblem(wire.CodeInternal, err.Error())
	}
	rec.Psk = wrapped
	return nil
}

// wrapped is the wrapped form of a barrel's key: the stored one, if that is it.
func (s *Server) wrapped(id string, psk, stored []byte) ([]byte, error) {
	if now, err := s.cfg.Secrets.Unwrap(id, stored); err == nil && subtle.ConstantTimeCompare(now, psk) == 1 {
		return stored, nil
	}
	return s.cfg.Secrets.Wrap(id, psk, rand.Reader)
}

func (s *Server) checkOut(r *http.Request, c Caller) (any, *problem) {
	var b adminapi.CheckOut
	if p := read(r, &b); p != nil {
		return nil, p
	}
	out := &command.CheckOut{Barrel: r.PathValue("id"), Imsi: b.IMSI}
	return s.changeDevice(r, c, &command.DeviceChange{Change: &command.DeviceChange_CheckOut{CheckOut: out}}, func(under uint64) (any, *problem) {
		return s.barrelChange(r, c, under, out)
	}, s.barrelNow(out.Barrel))
}

func (s *Server) barrelNow(id string) func(*state.Machine) any {
	return func(m *state.Machine) any { return adminapi.BarrelOf(m.Barrel(id), s.cfg.Alive(id)) }
}

func (s *Server) barrelChange(r *http.Request, c Caller, under uint64, cmd proto.Message) (any, *problem) {
	out := new(command.Barrel)
	if _, p := s.proposeUnder(r, c, under, requestID(r), cmd, out); p != nil {
		return nil, p
	}
	return adminapi.BarrelOf(out, s.cfg.Alive(out.Id)), nil
}

func (s *Server) checkIn(r *http.Request, c Caller) (any, *problem) {
	return s.barrelChange(r, c, 0, &command.CheckIn{Barrel: r.PathValue("id")})
}

// pushFor sends a lock to a barrel before anything is committed: what revokes
// never waits for a quorum.
func (s *Server) pushFor(barrel, reason string) {
	var b *command.Barrel
	s.cfg.Cluster.View(func(m *state.Machine) { b = m.Barrel(barrel) })
	if b != nil {
		s.cfg.Push(&command.Lock{Barrel: b.Id, Imsi: b.CheckedOutTo, Reason: reason})
	}
}

func (s *Server) lockBarrel(r *http.Request, c Caller) (any, *problem) {
	reason, p := reasonOf(r)
	if p != nil {
		return nil, p
	}
	id := r.PathValue("id")
	s.pushFor(id, reason)
	// A use that is open is stopped with its order; otherwise only the barrel
	// is locked. The source makes a repeat give the same lock, though by then the
	// use is stopped and the command therefore another.
	cmd := &command.Disconnect{SourceId: "admin:" + c.Name + ":" + requestID(r), Barrel: id, Reason: reason}
	s.cfg.Cluster.View(func(m *state.Machine) {
		if u := m.OpenUseOfBarrel(id); u != nil {
			cmd.Use, cmd.Order = u.Id, u.Order
		}
	})
	out := new(command.Lock)
	if p := s.proposeAs(r, c, rand.Text(), cmd, out); p != nil {
		return nil, p
	}
	return map[string]uint64{"lock": out.Id}, nil
}
