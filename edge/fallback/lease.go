package fallback

import (
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy/ident"
)

// pskOwner is whom a lease's pre-shared key is wrapped for.
func pskOwner(imsi string) string { return "wireguard-psk:" + imsi }

// lease puts what was decided into the log. again tells that it has to be decided once
// more, by newer records.
func (s *Server) lease(ctx context.Context, imsi ident.IMSI, r Request, d decision) (l *command.FallbackLease, again bool, p *wire.Problem) {
	psk := make([]byte, keySize)
	defer clear(psk)
	if _, err := rand.Read(psk); err != nil {
		return nil, false, sealuse.FromError(err)
	}
	wrapped, err := s.cfg.Secrets.Wrap(pskOwner(imsi.String()), psk, rand.Reader)
	if err != nil {
		return nil, false, sealuse.FromError(err)
	}
	res, err := s.cfg.Cluster.Propose(ctx, command.New(clientID(imsi), r.Wire.RequestID, sealuse.ClientID(imsi.String()), &command.LeaseFallback{
		Imsi: imsi.String(), PublicKey: r.Wire.PublicKey, PresharedKey: wrapped, Shown: uint32(d.shown),
		LifetimeSeconds: uint32(d.rules.Fallback.Lifetime / time.Second),
		PolicyRevision:  d.rules.Revision, SubscriberVersion: d.subscriber.Version,
	}))
	switch {
	case errors.Is(err, command.ErrLevel):
		return nil, false, notReady("Not every node is upgraded.")
	case err != nil:
		return nil, false, sealuse.FromError(err)
	case res.GetCode() == command.Code_CONFLICT:
		return nil, true, nil
	case res.GetCode() == command.Code_INVALID:
		return nil, false, wire.NewProblem(wire.CodeRequestReused, "")
	}
	l = new(command.FallbackLease)
	if err := res.Into(l); err != nil {
		s.log.Error("a decided connection was not carried out", "terminal", imsi, "err", err)
		return nil, false, wire.NewProblem(wire.CodeInternal, "")
	}
	return l, false, nil
}

// grant is the answer with a lease.
func (s *Server) grant(d decision, l *command.FallbackLease) (*wire.ConnectionAnswer, *wire.Problem) {
	psk, err := s.cfg.Secrets.Unwrap(pskOwner(l.Imsi), l.PresharedKey)
	if err != nil {
		s.log.Error("the pre-shared key of a lease can't be opened on this node", "lease", l.Number, "err", err)
		return nil, wire.NewProblem(wire.CodeInternal, "")
	}
	issued, expires := time.Unix(0, l.Issued).UTC(), time.Unix(0, l.Expires).UTC()
	return &wire.ConnectionAnswer{
		Connection: l.Number, Address: d.address.String(), AllowedIPs: []string{netip.PrefixFrom(d.gateway, d.gateway.BitLen()).String()},
		Endpoints: slices.Clone(s.cfg.Endpoints), GatewayKeys: d.keys, PresharedKey: psk,
		MTU: s.cfg.MTU, Keepalive: int(keepalive / time.Second),
		Issued: issued, RenewAfter: issued.Add(expires.Sub(issued) / 3 * 2), Expires: expires,
	}, nil
}
