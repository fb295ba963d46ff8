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
	var list adminapi.List[adminapi.Order]
	s.cfg.Cluster.View(func(m *state.Machine) {
		list = show(p, m.OrdersAfter(p.after), (*command.Order).GetNumber, adminapi.OrderOf)
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
	var list adminapi.List[adminapi.Use]
	s.cfg.Cluster.View(func(m *state.Machine) {
		list = show(p, m.UsesAfter(p.after), (*command.Use).GetId, adminapi.UseOf)
	})
	return list, nil
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
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil {
		return nil, badRequest(fmt.Errorf("id: %q is no session number", r.PathValue("id")))
	}
	reason := "ended by " + c.Actor()
	if why := strings.TrimSpace(r.URL.Query().Get("reason")); why != "" {
		reason += ": " + why
	}
	// No path is named, so all of them go; the carrier is told by whoever holds the
	// gateway's address.
	return nil, s.propose(r, c, &command.ClosePath{Session: id, Reason: reason}, nil)
}
