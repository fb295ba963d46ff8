package barrel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"

	"github.com/pion/dtls/v2"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/barrel/rfc7905"
)

var (
	errUnknownBarrel = errors.New("no barrel on the allow-list has this identity")
	errNotActive     = errors.New("the barrel is revoked or suspended")
	errNoIdentity    = errors.New("a barrel proves either a pre-shared key or a certificate, and not both")
)

// identity is whom a handshake has proved, and by what: when that changes in
// the barrel's record, the association is over.
type identity struct {
	barrel      string
	pskIdentity string
	psk         []byte // wrapped, as in the record
	cert        []byte // SHA-256 of the certificate
}

func (id identity) how() string {
	if len(id.cert) > 0 {
		return "certificate"
	}
	return "pre-shared key"
}

// holds tells whether a barrel's record is still the one that was proved.
func (id identity) holds(b *command.Barrel) bool {
	if b.GetState() != command.DeviceState_ACTIVE {
		return false
	}
	if len(id.cert) > 0 {
		return bytes.Equal(b.DtlsCertSha256, id.cert)
	}
	return b.PskIdentity == id.pskIdentity && bytes.Equal(b.Psk, id.psk)
}

// handshake is the server's side of one handshake.
func (s *Server) handshake(ctx context.Context, from netip.AddrPort, l *link) (*association, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Limits.HandshakeTimeout)
	defer cancel()
	var id identity // set by callbacks, which have run when the handshake is over
	config, err := s.dtls(&id)
	if err != nil {
		s.log.Error("no handshakes with barrels", "err", err)
		s.counts.add("handshake-failed")
		return nil, err
	}
	conn, err := dtls.ServerWithContext(ctx, rfc7905.Guard(l), config)
	if err != nil {
		reason := "handshake-failed"
		if errors.Is(err, errUnknownBarrel) || errors.Is(err, errNotActive) || errors.Is(err, errNoIdentity) {
			reason = "handshake-refused"
		}
		s.counts.add(reason)
		s.log.Info("handshake with a barrel failed", "from", from, "barrel", id.barrel, "err", err)
		return nil, err
	}
	return newAssociation(s, id, from, l, conn), nil
}

// dtls is the configuration of one handshake; id is set to whom it proves.
//
// Client certificates are asked for but not required, because the library would
// require them of a barrel with a pre-shared key as well; proved makes up for
// it.
func (s *Server) dtls(id *identity) (*dtls.Config, error) {
	cert, err := s.cfg.Certificate()
	if err != nil {
		return nil, fmt.Errorf("the gateway's certificate for barrels: %w", err)
	}
	return rfc7905.Server(&dtls.Config{
		Certificates: []tls.Certificate{*cert},
		ClientAuth:   dtls.VerifyClientCertIfGiven,
		ClientCAs:    s.cfg.ClientCAs,
		PSK: func(identity []byte) ([]byte, error) {
			b, err := s.usable(func(m *state.Machine) *command.Barrel { return m.BarrelByPSKIdentity(string(identity)) })
			if err != nil {
				return nil, fmt.Errorf("%w (%.64q)", err, identity)
			}
			id.barrel, id.pskIdentity, id.psk = b.Id, b.PskIdentity, b.Psk
			key, err := s.cfg.PSK(b)
			if err == nil && len(key) == 0 {
				err = errUnknownBarrel
			}
			return key, err
		},
		VerifyConnection: func(st *dtls.State) error { return s.proved(st, id) },
	}), nil
}

// proved decides at the end of a handshake whether it proved one barrel. The
// library has verified a certificate's chain and that the peer has its key, or
// has protected the peer's Finished with keys out of the pre-shared one.
func (s *Server) proved(st *dtls.State, id *identity) error {
	switch withCert, withPSK := len(st.PeerCertificates) > 0, id.barrel != ""; {
	case withCert == withPSK:
		return errNoIdentity
	case withPSK:
		return nil
	}
	sum := sha256.Sum256(st.PeerCertificates[0])
	b, err := s.usable(func(m *state.Machine) *command.Barrel { return m.BarrelByCert(sum[:]) })
	if err != nil {
		return fmt.Errorf("%w (certificate %x)", err, sum)
	}
	id.barrel, id.cert = b.Id, sum[:]
	return nil
}

// usable finds a barrel that may connect.
func (s *Server) usable(find func(*state.Machine) *command.Barrel) (b *command.Barrel, err error) {
	s.cfg.Cluster.View(func(m *state.Machine) { b = find(m) })
	switch {
	case b == nil:
		return nil, errUnknownBarrel
	case b.State != command.DeviceState_ACTIVE:
		return nil, fmt.Errorf("barrel %s: %w", b.Id, errNotActive)
	}
	return b, nil
}
