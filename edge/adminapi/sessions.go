package adminapi

import (
	"iter"
	"slices"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy"
)

// Session is a PDN session.
type Session struct {
	ID             uint64    `json:"id"`
	IMSI           string    `json:"imsi"`
	MSISDN         string    `json:"msisdn,omitempty"`
	APN            string    `json:"apn"`
	PDNType        string    `json:"pdn_type"`            // "IPv4", "IPv6" or "IPv4v6": the addresses that it has
	Address        string    `json:"address"`             // empty: no IPv4
	Prefix6        string    `json:"prefix6,omitempty"`   // a /64
	Path           string    `json:"path"`                // the active one: "gtp" or "wireguard"
	Paths          []string  `json:"paths"`               // all that are attached
	Protocol       string    `json:"protocol"`            // of the active path: "GTPv1", "GTPv2" or "WireGuard"
	Suspended      bool      `json:"suspended,omitempty"` // the carrier's path
	Peer           string    `json:"peer,omitempty"`      // the carrier's control plane address
	RAT            string    `json:"rat,omitempty"`       // "EUTRAN" and the like
	ServingPLMN    string    `json:"serving_plmn,omitempty"`
	IMEI           string    `json:"imei,omitempty"`
	Opened         time.Time `json:"opened"`
	GatewayAddress string    `json:"gateway_address"`
	PathSince      time.Time `json:"path_since,omitzero"` // when the active path became that
	Endpoint       string    `json:"endpoint,omitempty"`  // where the terminal was heard from on the fallback path, some seconds ago; host:port
	Lease          uint64    `json:"lease,omitempty"`     // number of the lease that it came over the fallback by; 0: by its key alone
}

// SessionOf shows a session record.
func SessionOf(s *command.Session) Session {
	v := Session{
		ID: s.Id, IMSI: s.Imsi, MSISDN: s.Msisdn, APN: s.Apn, PDNType: pdnType(s),
		Address: addressText(s.Address), Prefix6: prefixText(s.Prefix6),
		Path: pathText(s.Active), Paths: []string{}, Protocol: protocolText(s), Opened: timeOf(s.Opened), GatewayAddress: s.GatewayAddress,
		PathSince: timeOf(s.PathSince),
	}
	if g := s.Gtp; g != nil {
		v.Paths = append(v.Paths, pathText(command.PathKind_GTP))
		v.Peer, v.ServingPLMN, v.IMEI, v.Suspended = addressText(g.PeerC.GetAddress()), g.ServingPlmn, g.Imei, g.Suspended
		if g.RatType != 0 {
			v.RAT = policy.RAT(g.RatType).String()
		}
	}
	if s.Wireguard != nil {
		v.Paths = append(v.Paths, pathText(command.PathKind_WIREGUARD))
		v.Endpoint, v.Lease = endpointText(s.Wireguard), s.Wireguard.Lease
	}
	return v
}

// Peer is a carrier's control plane address that sessions have their path to.
type Peer struct {
	Address string `json:"address"`
	// RestartCounter is the last that the peer told (TS 23.007 18); nil when it
	// hasn't.
	RestartCounter *uint32  `json:"restart_counter,omitempty"`
	Sessions       int      `json:"sessions"`
	Suspended      int      `json:"suspended"` // of them
	Protocols      []string `json:"protocols"` // of their paths: "GTPv1", "GTPv2"
}

// PeerOf shows a peer and the sessions whose path leads there.
func PeerOf(p *command.GTPPeer, sessions iter.Seq[*command.Session]) Peer {
	v := Peer{Address: addressText(p.Address), Protocols: []string{}}
	if p.RestartKnown {
		v.RestartCounter = &p.RestartCounter
	}
	for s := range sessions {
		v.Sessions++
		if s.Gtp.GetSuspended() {
			v.Suspended++
		}
		if name := versionText(s.Gtp); !slices.Contains(v.Protocols, name) {
			v.Protocols = append(v.Protocols, name)
		}
	}
	slices.Sort(v.Protocols)
	return v
}

// pdnType is of the session, which may have more than its carrier path was
// answered: the other family comes through the fallback.
func pdnType(s *command.Session) string {
	switch {
	case len(s.Prefix6) == 0:
		return "IPv4"
	case len(s.Address) == 0:
		return "IPv6"
	}
	return "IPv4v6"
}

func pathText(k command.PathKind) string {
	switch k {
	case command.PathKind_GTP:
		return "gtp"
	case command.PathKind_WIREGUARD:
		return "wireguard"
	}
	return ""
}

func protocolText(s *command.Session) string {
	switch {
	case s.Active == command.PathKind_WIREGUARD:
		return "WireGuard"
	case s.Active == command.PathKind_GTP:
		return versionText(s.Gtp)
	}
	return ""
}

func versionText(g *command.GTPPath) string {
	if g.GetVersion() == 1 {
		return "GTPv1"
	}
	return "GTPv2"
}

// Procedure says how often a procedure with carriers ended in one way on a node,
// since it started.
type Procedure struct {
	Protocol  string `json:"protocol"`  // "GTPv1" or "GTPv2"
	Procedure string `json:"procedure"` // "create-session" and the like
	Cause     string `json:"cause"`
	Peer      string `json:"peer"` // the carrier's name in the policy, or a range of allowed peers
	Count     uint64 `json:"count"`
}
