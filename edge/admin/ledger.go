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

func (s *Server) orders(*http.Request, Caller) (any, *problem) {
	list := []adminapi.Order{}
	s.cfg.Cluster.View(func(m *state.Machine) {
		for o := range m.Orders() {
			list = append(list, adminapi.OrderOf(o))
		}
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

func (s *Server) uses(*http.Request, Caller) (any, *problem) {
	list := []adminapi.Use{}
	s.cfg.Cluster.View(func(m *state.Machine) {
		for u := range m.Uses() {
			list = append(list, adminapi.UseOf(u))
		}
	})
	return list, nil
}

func (s *Server) sessions(*http.Request, Caller) (any, *problem) {
	list := []adminapi.Session{}
	s.cfg.Cluster.View(func(m *state.Machine) {
		for ses := range m.Sessions() {
			list = append(list, adminapi.SessionOf(ses))
		}
	})
	return list, nil
}

func (s *Server) peers(*http.Request, Caller) (any, *problem) {
	list := []adminapi.Peer{}
	s.cfg.Cluster.View(func(m *state.Machine) {
		for p := range m.Peers() {
			if a, ok := netip.AddrFromSlice(p.Address); ok {
				list = append(list, adminapi.PeerOf(p, m.SessionsByPeer(a)))
			}
		}
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
