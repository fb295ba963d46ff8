package admin

import (
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/adminapi"
)

func (s *Server) orders(r *http.Request, _ Caller) (any, *problem) {
	p, bad := pageOf(r, textKey)
	if bad != nil {
		return nil, bad
	}
	number := r.URL.Query().Get("number")
	var list adminapi.List[adminapi.Order]
	s.cfg.Cluster.View(func(m *state.Machine) {
		orders := m.OrdersAfter(p.after)
		if number != "" {
			orders = func(yield func(*command.Order) bool) {
				if o := m.Order(number); o != nil && number > p.after {
					yield(o)
				}
			}
		}
		list = show(p, orders, (*command.Order).GetNumber, adminapi.OrderOf)
	})
	return list, nil
}

// An order's number may hold slashes, so it travels in the query.
func orderNumber(r *http.Request) (string, *problem) {
	n := r.URL.Query().Get("number")
	if n == "" {
		return "", badRequest(fmt.Errorf("number: missing: name the order with ?number="))
	}
	return n, nil
}

func (s *Server) suspendOrder(r *http.Request, c Caller) (any, *problem) {
	return s.orderChange(r, c, func(n, reason string) proto.Message { return &command.SuspendOrder{Order: n, Reason: reason} })
}

func (s *Server) resumeOrder(r *http.Request, c Caller) (any, *problem) {
	return s.orderChange(r, c, func(n, reason string) proto.Message { return &command.ResumeOrder{Order: n, Reason: reason} })
}

func (s *Server) orderChange(r *http.Request, c Caller, change func(number, reason string) proto.Message) (any, *problem) {
	n, p := orderNumber(r)
	if p != nil {
		return nil, p
	}
	reason, p := reasonOf(r)
	if p != nil {
		return nil, p
	}
	out := new(command.Order)
	if p := s.propose(r, c, change(n, reason), out); p != nil {
		return nil, p
	}
	return adminapi.OrderOf(out), nil
}

func (s *Server) uses(r *http.Request, _ Caller) (any, *problem) {
	p, bad := pageOf(r, numberKey)
	if bad != nil {
		return nil, bad
	}
	order := r.URL.Query().Get("order")
	var list adminapi.List[adminapi.Use]
	s.cfg.Cluster.View(func(m *state.Machine) {
		uses := m.UsesAfter(p.after)
		if order != "" {
			uses = chosen(m.UsesOfOrder(order), func(u *command.Use) bool { return u.Id > p.after })
		}
		list = show(p, uses, (*command.Use).GetId, adminapi.UseOf)
	})
	return list, nil
}

func (s *Server) use(r *http.Request, _ Caller) (any, *problem) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil {
		return nil, badRequest(fmt.Errorf("id: %q is no number of a use", r.PathValue("id")))
	}
	var u *command.Use
	s.cfg.Cluster.View(func(m *state.Machine) { u = m.Use(id) })
	if u == nil {
		return nil, notFound(fmt.Sprintf("use %d", id))
	}
	return adminapi.UseOf(u), nil
}

func (s *Server) session(r *http.Request, _ Caller) (any, *problem) {
	id, bad := sessionNumber(r)
	if bad != nil {
		return nil, bad
	}
	var rec *command.Session
	s.cfg.Cluster.View(func(m *state.Machine) { rec = m.Session(id) })
	if rec == nil {
		return nil, notFound(fmt.Sprintf("session %d", id))
	}
	return adminapi.SessionOf(rec), nil
}

func sessionNumber(r *http.Request) (uint64, *problem) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil {
		return 0, badRequest(fmt.Errorf("id: %q is no session number", r.PathValue("id")))
	}
	return id, nil
}

func (s *Server) sessions(r *http.Request, _ Caller) (any, *problem) {
	p, bad := pageOf(r, numberKey)
	if bad != nil {
		return nil, bad
	}
	var list adminapi.List[adminapi.Session]
	s.cfg.Cluster.View(func(m *state.Machine) {
		list = show(p, m.SessionsAfter(p.after), (*command.Session).GetId, adminapi.SessionOf)
	})
	return list, nil
}

func (s *Server) peers(r *http.Request, _ Caller) (any, *problem) {
	p, bad := pageOf(r, addressKey)
	if bad != nil {
		return nil, bad
	}
	address := func(p *command.GTPPeer) netip.Addr {
		a, _ := netip.AddrFromSlice(p.Address) // the state has no others
		return a
	}
	var list adminapi.List[adminapi.Peer]
	s.cfg.Cluster.View(func(m *state.Machine) {
		list = show(p, m.PeersAfter(p.after), address, func(p *command.GTPPeer) adminapi.Peer {
			return adminapi.PeerOf(p, m.SessionsByPeer(address(p)))
		})
	})
	return list, nil
}

func (s *Server) endSession(r *http.Request, c Caller) (any, *problem) {
	id, bad := sessionNumber(r)
	if bad != nil {
		return nil, bad
	}
	reason := "ended by " + c.Actor()
	if why := strings.TrimSpace(r.URL.Query().Get("reason")); why != "" {
		reason += ": " + why
	}
	// No path is named, so all of them go; the carrier is told by whoever holds the
	// gateway's address.
	return nil, s.propose(r, c, &command.ClosePath{Session: id, Reason: reason}, nil)
}
