package admin

import (
	"errors"
	"fmt"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/adminapi"
)

// storedDevice is the device that a row is about, as it is stored: one of the two,
// or none. For a check-out or check-in it is the barrel.
type storedDevice struct {
	subscriber *command.Subscriber
	barrel     *command.Barrel
}

// storedFor finds the device of a row. A row that is no good has none; decideRow
// says what is wrong with it.
func storedFor(m *state.Machine, row adminapi.DeviceRow) (d storedDevice) {
	switch {
	case row.Terminal != nil:
		t, _ := adminapi.Terminal{}.Amended(row.Terminal)
		d.subscriber = m.Subscriber(t.IMSI)
	case row.Barrel != nil:
		b, _ := adminapi.Barrel{}.Amended(row.Barrel)
		id, _ := adminapi.CanonicalBarrel(b.ID)
		d.barrel = m.Barrel(id)
	case row.CheckOut != nil:
		c, _ := row.CheckOut.Canonical()
		d.barrel = m.Barrel(c.Barrel)
	default:
		id, _ := adminapi.CanonicalBarrel(row.CheckIn)
		d.barrel = m.Barrel(id)
	}
	return d
}

// decideRow makes the change that a row asks for; nil: it is so already.
func (s *Server) decideRow(row adminapi.DeviceRow, now storedDevice) (*command.DeviceChange, error) {
	if err := row.Check(); err != nil {
		return nil, err
	}
	switch {
	case row.Terminal != nil:
		return s.decideTerminal(row, now.subscriber)
	case row.Barrel != nil:
		return s.decideBarrel(row, now.barrel)
	case row.CheckOut != nil:
		c, err := row.CheckOut.Canonical()
		if err != nil || now.barrel.GetCheckedOutTo() == c.IMSI && c.IMSI != "" {
			return nil, err
		}
		return &command.DeviceChange{Change: &command.DeviceChange_CheckOut{CheckOut: &command.CheckOut{Barrel: c.Barrel, Imsi: c.IMSI}}}, nil
	}
	id, err := adminapi.CanonicalBarrel(row.CheckIn)
	if err != nil || now.barrel != nil && now.barrel.CheckedOutTo == "" {
		return nil, err
	}
	return &command.DeviceChange{Change: &command.DeviceChange_CheckIn{CheckIn: &command.CheckIn{Barrel: id}}}, nil
}

func (s *Server) decideTerminal(row adminapi.DeviceRow, now *command.Subscriber) (*command.DeviceChange, error) {
	var stored adminapi.Terminal
	if now != nil {
		stored = adminapi.TerminalOf(now)
	}
	t, err := stored.Amended(row.Terminal)
	if err != nil {
		return nil, err
	}
	rec, err := t.Record()
	if err != nil {
		return nil, err
	}
	if rec.State, err = rowState(t.State, now != nil, now.GetState()); err != nil {
		return nil, err
	}
	rec.RevokeReason = now.GetRevokeReason()
	if now == nil && rec.State == command.DeviceState_REVOKED_DEVICE {
		rec.RevokeReason = t.RevokeReason
	}
	var bad *problem
	if rec.Credentials, bad = s.credentials(rec.Imsi, t.Credentials, now.GetCredentials()); bad != nil {
		return nil, errors.New(bad.Detail)
	}
	if now != nil && state.SameSubscriber(now, rec) {
		return nil, versionIs(t.Version, now.Version)
	}
	p := &command.PutSubscriber{Subscriber: rec, BaseVersion: t.Version}
	if t.Version == 0 {
		p.BaseVersion = now.GetVersion()
	}
	return &command.DeviceChange{Idempotent: t.Version == 0, Change: &command.DeviceChange_Subscriber{Subscriber: p}}, nil
}

func (s *Server) decideBarrel(row adminapi.DeviceRow, now *command.Barrel) (*command.DeviceChange, error) {
	var stored adminapi.Barrel
	if now != nil {
		stored = adminapi.BarrelOf(now, false)
	}
	b, err := stored.Amended(row.Barrel)
	if err != nil {
		return nil, err
	}
	kept := len(now.GetPsk()) > 0 && b.PSK == ""
	rec, err := b.RecordWith(kept)
	if err != nil {
		return nil, err
	}
	switch {
	case kept && rec.PskIdentity != "" && rec.PskIdentity != now.PskIdentity:
		return nil, errors.New("psk: missing: another psk_identity takes another key")
	case kept && rec.PskIdentity != "":
		rec.Psk = now.Psk
	case rec.Psk != nil:
		if rec.Psk, err = s.wrapped(rec.Id, rec.Psk, now.GetPsk()); err != nil {
			return nil, err
		}
	}
	if rec.State, err = rowState(b.State, now != nil, now.GetState()); err != nil {
		return nil, err
	}
	rec.RevokeReason = now.GetRevokeReason()
	if now == nil && rec.State == command.DeviceState_REVOKED_DEVICE {
		rec.RevokeReason = b.RevokeReason
	}
	if now != nil && state.SameBarrel(now, rec) {
		return nil, versionIs(b.Version, now.Version)
	}
	p := &command.PutBarrel{Barrel: rec, BaseVersion: b.Version}
	if b.Version == 0 {
		p.BaseVersion = now.GetVersion()
	}
	return &command.DeviceChange{Idempotent: b.Version == 0, Change: &command.DeviceChange_Barrel{Barrel: p}}, nil
}

// versionIs refuses a row that was made upon another version, though it says what
// is there.
func versionIs(want, now uint64) error {
	if want != 0 && want != now {
		return fmt.Errorf("version: the record is at %d, not %d", now, want)
	}
	return nil
}

// rowState is the state of a device that a row puts on the list. A row says it for
// a device that isn't there yet, as an export of another cluster does; it changes
// no device's, because suspending and revoking end sessions and uses, and have
// reasons.
func rowState(said string, there bool, now command.DeviceState) (command.DeviceState, error) {
	want, known := states[said]
	switch {
	case said == "" && there:
		return now, nil
	case said == "":
		return command.DeviceState_ACTIVE, nil
	case !known:
		return 0, fmt.Errorf("state: %q is none of active, suspended and revoked", said)
	case there && now != want:
		return 0, fmt.Errorf("state: it is not %s; a state is changed by revoke, suspend and resume alone", said)
	}
	return want, nil
}
