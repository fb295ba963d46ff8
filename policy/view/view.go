// Package view shows replicated records as policy sees them: who a terminal is, how
// it is attached, and what it proved to be by. Whoever asks policy about a session
// asks by it, so that all ask alike.
package view

import (
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

// Shown is what a terminal proved to be by when it took a path of a session.
func Shown(s *command.Session, path policy.PathKind) policy.Credentials {
	switch {
	case path == policy.PathGTP && s.GetGtp() != nil:
		return policy.CredentialSIM | policy.Credentials(s.Gtp.Shown)
	case path == policy.PathWireGuard && s.GetWireguard() != nil:
		return policy.CredentialWireGuard | policy.Credentials(s.Wireguard.Shown)
	}
	return 0
}

// Attached is what policy is asked about a session that is attached over a path, or
// would be: whether it may be so at a time.
func Attached(s *command.Session, sub *command.Subscriber, path policy.PathKind, now time.Time) policy.AdmitRequest {
	imsi, _ := ident.ParseIMSI(s.GetImsi())
	apn, _ := ident.ParseAPN(s.GetApn())
	q := policy.AdmitRequest{IMSI: imsi, Subscriber: Subscriber(sub), APN: apn, Path: path, Now: now, Shown: Shown(s, path)}
	if path == policy.PathGTP {
		a := Access(s.GetGtp())
		q.IMEI, q.PLMN, q.RAT, q.Place = a.IMEI, a.PLMN, a.RAT, a.Place
	}
	return q
}
