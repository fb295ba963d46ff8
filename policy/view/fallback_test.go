package view

import (
	"bytes"
	"testing"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// Where a terminal is on the fallback: where its carrier sees it while it does, and
// where it saw it last after that.
func TestPlaceOf(t *testing.T) {
	plmn, _ := ident.ParsePLMN("46001")
	office := policy.Place{TAI: ident.NewTAI(plmn, 1), ECGI: ident.NewECGI(plmn, 2)}
	told := func(version uint32, location []byte, ago time.Duration) *command.Session {
		return &command.Session{Wireguard: &command.WireGuardPath{}, LastPlace: &command.ToldPlace{Version: version, UserLocation: location, At: noon.Add(-ago).UnixNano()}}
	}
	for _, c := range []struct {
		name string
		s    *command.Session
		want policy.Place
	}{
		{"no session", nil, policy.Place{}},
		{"never on the carrier's path", &command.Session{Wireguard: &command.WireGuardPath{}}, policy.Place{}},
		{"on both", session, office},
		{"on both, of which the carrier told nothing", &command.Session{Gtp: &command.GTPPath{Version: 2}, Wireguard: &command.WireGuardPath{}}, policy.Place{}},
		{"on both, by GTPv1", &command.Session{Gtp: &command.GTPPath{Version: 1, UserLocation: location}}, policy.Place{}},
		{"a second ago", told(2, location, time.Second), office},
		{"just not too long ago", told(2, location, time.Hour-1), office},
		{"too long ago", told(2, location, time.Hour), policy.Place{}},
		{"by GTPv1", told(1, location, time.Second), policy.Place{}},
		{"no place, a second ago", told(2, nil, time.Second), policy.Place{}},
		{"at no time", &command.Session{LastPlace: &command.ToldPlace{Version: 2, UserLocation: location}}, policy.Place{}},
		{"beside a path that tells nothing", &command.Session{Gtp: &command.GTPPath{Version: 2}, LastPlace: told(2, location, time.Second).LastPlace}, policy.Place{}},
	} {
		if got := PlaceOf(c.s, &policy.Rules{Fallback: policy.Fallback{PlaceAge: time.Hour}}, noon); got != c.want {
			t.Errorf("%s: %+v", c.name, got)
		}
		if got := PlaceOf(c.s, nil, noon); got != (policy.Place{}) {
			t.Errorf("%s, without a policy: %+v", c.name, got)
		}
	}
	only := &policy.Rules{}
	if PlaceOf(session, only, noon) != office || PlaceOf(told(2, location, 0), only, noon) != (policy.Place{}) {
		t.Error("with placeAge 0 a place counts that isn't told any more, or one doesn't that is")
	}
	// Of what else the carrier told nothing is left on the fallback.
	if got := Where(session, policy.PathWireGuard); got != (policy.Access{Place: office}) {
		t.Errorf("%+v", got)
	}
	if got := Where(session, 0); got != (policy.Access{}) {
		t.Errorf("on no path: %+v", got)
	}
}

// A lease adds what it was given for, to its own key and until it expires; what the
// path says of itself adds nothing.
func TestShownByLease(t *testing.T) {
	key, other := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	s := &command.Session{Imsi: subscriber.Imsi, Wireguard: &command.WireGuardPath{PublicKey: key, Shown: uint32(policy.CredentialPassword)}}
	lease := &command.FallbackLease{PublicKey: key, Shown: uint32(policy.CredentialCertificate | policy.CredentialSIM), Expires: noon.UnixNano()}
	for _, c := range []struct {
		name  string
		key   []byte
		lease *command.FallbackLease
		now   time.Time
		want  policy.Credentials
	}{
		{"none", key, nil, noon, policy.CredentialWireGuard},
		{"its own", key, lease, noon.Add(-1), policy.CredentialWireGuard | policy.CredentialCertificate | policy.CredentialSIM},
		{"expired", key, lease, noon, policy.CredentialWireGuard},
		{"of another key", other, lease, noon.Add(-1), policy.CredentialWireGuard},
	} {
		s.Wireguard.PublicKey = c.key
		if got := Shown(s, policy.PathWireGuard, Lease(c.lease, c.now)); got != c.want {
			t.Errorf("%s: %s", c.name, got)
		}
		if got := Attached(s, subscriber, policy.PathWireGuard, c.lease, c.now).Shown; got != c.want {
			t.Errorf("%s, attached: %s", c.name, got)
		}
	}
	if got := Shown(&command.Session{Gtp: &command.GTPPath{}}, policy.PathWireGuard, lease); got != 0 {
		t.Errorf("who isn't on the fallback showed %s there", got)
	}
	if got := Shown(session, policy.PathGTP, lease); got != policy.CredentialSIM|policy.CredentialPassword {
		t.Errorf("over the carrier a lease shows: %s", got)
	}
}
