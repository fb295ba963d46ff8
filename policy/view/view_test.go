package view

import (
	"reflect"
	"testing"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
)

var (
	subscriber = &command.Subscriber{
		Imsi: "460010000000001", Msisdn: "8613800000001", Imeis: []string{"35693803564380"}, Apns: []string{"seal.corp"}, State: command.DeviceState_ACTIVE,
		WireguardPublicKey: make([]byte, 32), Groups: []string{"finance"}, AnnouncedImei: "35693803564399", AnnouncedUntil: 1_800_000_000_000_000_000,
	}
	location = []byte{0x18, 0x64, 0xf0, 0x10, 0, 1, 0x64, 0xf0, 0x10, 0, 0, 0, 2}
	session  = &command.Session{
		Imsi: subscriber.Imsi, Apn: "seal.corp", Wireguard: &command.WireGuardPath{}, Gtp: &command.GTPPath{
			Version: 2, RatType: 6, ServingPlmn: "46001", Imei: "35693803564380", UserLocation: location, Shown: uint32(policy.CredentialPassword),
		},
	}
)

func TestAttached(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	imsi, _ := ident.ParseIMSI(subscriber.Imsi)
	apn, _ := ident.ParseAPN("seal.corp")
	plmn, _ := ident.ParsePLMN("46001")
	imei, _ := ident.ParseIMEI("35693803564380")
	v := policy.Subscriber{
		Found: true, IMSI: subscriber.Imsi, MSISDN: subscriber.Msisdn, IMEIs: subscriber.Imeis, APNs: subscriber.Apns, State: policy.StateActive, HasWireGuard: true,
		Groups: []string{"finance"}, AnnouncedIMEI: "35693803564399", AnnouncedUntil: time.Unix(1_800_000_000, 0).UTC(),
	}
	want := policy.AdmitRequest{
		IMSI: imsi, Subscriber: v, IMEI: imei, APN: apn, PLMN: plmn, RAT: 6, Path: policy.PathGTP, Now: now,
		Place: policy.Place{TAI: ident.NewTAI(plmn, 1), ECGI: ident.NewECGI(plmn, 2)}, Shown: policy.CredentialSIM | policy.CredentialPassword,
	}
	if got := Attached(session, subscriber, policy.PathGTP, nil, now); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	want = policy.AdmitRequest{
		IMSI: imsi, Subscriber: v, APN: apn, Path: policy.PathWireGuard, Now: now, Place: want.Place, Shown: policy.CredentialWireGuard,
	}
	if got := Attached(session, subscriber, policy.PathWireGuard, nil, now); !reflect.DeepEqual(got, want) {
		t.Errorf("over the fallback: got  %+v\nwant %+v", got, want)
	}
}

func TestNothing(t *testing.T) {
	if got := Attached(nil, nil, policy.PathGTP, nil, time.Time{}); !reflect.DeepEqual(got, policy.AdmitRequest{Path: policy.PathGTP}) {
		t.Errorf("%+v", got)
	}
	if Barrel(nil).Found || Access(nil) != (policy.Access{}) || Shown(nil, policy.PathWireGuard, nil) != 0 || Shown(session, 0, nil) != 0 {
		t.Error("nothing shows something")
	}
	// The same octets mean something else over GTPv1.
	if got := Place(1, location); got != (policy.Place{}) {
		t.Errorf("%+v", got)
	}
	b := &command.Barrel{Id: "SB-0001", State: command.DeviceState_ACTIVE, SealType: "company", CheckedOutTo: subscriber.Imsi}
	if got, want := Barrel(b), (policy.Barrel{Found: true, ID: "SB-0001", State: policy.StateActive, SealType: "company", CheckedOutTo: subscriber.Imsi}); got != want {
		t.Errorf("%+v", got)
	}
}
