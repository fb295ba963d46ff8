// Package view shows replicated records as policy sees them: who a terminal is, how
// it is attached, and what it proved to be by. Whoever asks policy about a session
// asks by it, so that all ask alike.
package view

import (
	"bytes"
	"time"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
)

// Subscriber is a subscriber record; nil is one that is not on the list.
func Subscriber(s *command.Subscriber) policy.Subscriber {
	if s == nil {
		return policy.Subscriber{}
	}
	v := policy.Subscriber{
		Found: true, IMSI: s.Imsi, MSISDN: s.Msisdn, IMEIs: s.Imeis, APNs: s.Apns,
		State: policy.State(s.State), HasWireGuard: len(s.WireguardPublicKey) > 0,
		Groups: s.Groups, AnnouncedIMEI: s.AnnouncedImei,
	}
	if s.AnnouncedUntil != 0 {
		v.AnnouncedUntil = time.Unix(0, s.AnnouncedUntil).UTC()
	}
	return v
}

// Barrel is a barrel record; nil is one that is not on the list.
func Barrel(b *command.Barrel) policy.Barrel {
	if b == nil {
		return policy.Barrel{}
	}
	return policy.Barrel{Found: true, ID: b.Id, State: policy.State(b.State), SealType: b.SealType, CheckedOutTo: b.CheckedOutTo}
}

// Place is what a location that a carrier told says, as it is kept with a path of
// that GTP version. What GTPv1 tells (TS 29.060 7.7.51) has neither tracking areas
// nor cells of E-UTRAN.
func Place(version uint32, location []byte) policy.Place {
	if version == 1 {
		return policy.Place{}
	}
	l := gtp.ParseUserLocation(location)
	return policy.Place{TAI: l.TAI, ECGI: l.ECGI}
}

// Access is what the carrier told of a path; nil: nothing.
func Access(p *command.GTPPath) policy.Access {
	imei, _ := ident.ParseIMEI(p.GetImei())
	plmn, _ := ident.ParsePLMN(p.GetServingPlmn())
	return policy.Access{IMEI: imei, PLMN: plmn, RAT: policy.RAT(p.GetRatType()), Place: Place(p.GetVersion(), p.GetUserLocation())}
}

// Where is what is known of a terminal on a path of a session: on the carrier's all
// that it tells; on the fallback the place, as long as the carrier's path is there as
// well, and after that where it was then, with when that was.
func Where(s *command.Session, path policy.PathKind) policy.Access {
	switch {
	case path == policy.PathGTP:
		return Access(s.GetGtp())
	case path != policy.PathWireGuard:
		return policy.Access{}
	case s.GetGtp() != nil:
		return policy.Access{Place: Place(s.Gtp.Version, s.Gtp.UserLocation)}
	}
	last := s.GetLastPlace()
	place := Place(last.GetVersion(), last.GetUserLocation())
	if place == (policy.Place{}) || last.GetAt() <= 0 { // of no time
		return policy.Access{}
	}
	return policy.Access{Place: place, Told: time.Unix(0, last.At).UTC()}
}

// PlaceOf is where a terminal is for the rules of the fallback path, at a time; the
// zero Place: it isn't known.
func PlaceOf(s *command.Session, rules *policy.Rules, now time.Time) policy.Place {
	a := Where(s, policy.PathWireGuard)
	if rules == nil || !rules.Fallback.Knows(a.Told, now) {
		return policy.Place{}
	}
	return a.Place
}

// Lease is what a terminal was given to use the fallback path by, or nil when it
// isn't good any more.
func Lease(l *command.FallbackLease, now time.Time) *command.FallbackLease {
	if l == nil || now.UnixNano() >= l.Expires {
		return nil
	}
	return l
}

// Shown is what a terminal proved to be by on a path of a session: on the carrier's
// when it attached; on the fallback by its key, and when it asked for the path. The
// lease is the terminal's; nil: it has none.
func Shown(s *command.Session, path policy.PathKind, lease *command.FallbackLease) policy.Credentials {
	switch {
	case path == policy.PathGTP && s.GetGtp() != nil:
		return policy.CredentialSIM | policy.Credentials(s.Gtp.Shown)
	case path == policy.PathWireGuard && s.GetWireguard() != nil:
		return ByFallback(s.Wireguard.PublicKey, lease)
	}
	return 0
}

// ByFallback is what a terminal proved to be by that shook hands with a key, on a
// lease; nil: on none. What somebody with another key proved isn't its merit.
func ByFallback(key []byte, lease *command.FallbackLease) policy.Credentials {
	shown := policy.CredentialWireGuard
	if lease != nil && bytes.Equal(key, lease.PublicKey) {
		shown |= policy.Credentials(lease.Shown)
	}
	return shown
}

// Attached is what policy is asked about a session that is attached over a path, or
// would be: whether it may be so at a time. The lease is the terminal's of the
// fallback path, whether it is good yet or not; nil: it has none.
func Attached(s *command.Session, sub *command.Subscriber, path policy.PathKind, lease *command.FallbackLease, now time.Time) policy.AdmitRequest {
	imsi, _ := ident.ParseIMSI(s.GetImsi())
	apn, _ := ident.ParseAPN(s.GetApn())
	a := Where(s, path)
	return policy.AdmitRequest{
		IMSI: imsi, Subscriber: Subscriber(sub), APN: apn, Path: path, Now: now, Shown: Shown(s, path, Lease(lease, now)),
		IMEI: a.IMEI, PLMN: a.PLMN, RAT: a.RAT, Place: a.Place, Told: a.Told,
	}
}
