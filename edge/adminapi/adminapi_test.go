package adminapi

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
)

func TestRecordNamesEveryMistake(t *testing.T) {
	_, err := Terminal{
		IMSI: "46", MSISDN: "x", IMEIs: []string{"35693803564380", "1"}, StaticAddress: "fe80::1", StaticPrefix6: "fe80::/64",
		Groups: []string{"b", "no spaces", "b"}, AnnouncedIMEI: "1", AnnouncedUntil: time.Time{},
		Credentials: &Credentials{Password: "short"}, WireGuardPublicKey: "AAAA", DeviceCertSHA256: "zz",
	}.Record()
	for _, field := range []string{"imsi", "msisdn", "imeis[1]", "apns", "static_address", "static_prefix6", "groups[1]", "groups[2]", "announced_imei", "announced_until", "credentials.user", "credentials.password", "wireguard_public_key", "device_cert_sha256"} {
		if err == nil || !strings.Contains(err.Error(), field+": ") {
			t.Errorf("terminal: %q is not named in: %v", field, err)
		}
	}
	_, err = Barrel{ID: "no spaces", MAC: "01:00:00:00:00:00", PSKIdentity: "SB"}.Record()
	for _, field := range []string{"id", "mac", "seal_type", "receipt_public_key", "psk_identity"} {
		if err == nil || !strings.Contains(err.Error(), field+": ") {
			t.Errorf("barrel: %q is not named in: %v", field, err)
		}
	}
}

func TestDevicesRoundTrip(t *testing.T) {
	term := Terminal{
		IMSI: "460010000000001", MSISDN: "8613800000001", IMEIs: []string{"35693803564380"}, APNs: []string{"seal.corp"},
		StaticAddress: "10.90.0.7", StaticPrefix6: "fd00:90:0:7::/64", WiFiMAC: "02:00:00:00:00:01", Label: "phone 1",
		Groups: []string{"head-office", "finance"}, AnnouncedIMEI: "35693803564381", AnnouncedUntil: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC),
		DeviceCertSHA256: strings.Repeat("ab", 32), WireGuardPublicKey: strings.Repeat("A", 43) + "=",
	}
	s, err := term.Record()
	if err != nil {
		t.Fatal(err)
	}
	term.State, term.Groups = "active", []string{"finance", "head-office"}
	if got, want := TerminalOf(s), term; marshal(t, got) != marshal(t, want) {
		t.Errorf("terminal: got %s, want %s", marshal(t, got), marshal(t, want))
	}
	term.Address, term.Prefix6 = "10.90.0.7", "fd00:90:0:8::/64"
	leases := []*command.AddressLease{{Address: []byte{10, 90, 0, 7}}, {Address: netip.MustParseAddr("fd00:90:0:8::").AsSlice()}, {Address: []byte{10, 90, 0, 9}}}
	if got, want := TerminalOf(s, leases...), term; marshal(t, got) != marshal(t, want) {
		t.Errorf("terminal with leases: got %s, want %s", marshal(t, got), marshal(t, want))
	}
	b := Barrel{
		ID: "SB-0001", MAC: "02:00:5e:10:00:01", SealType: "contract", PSKIdentity: "SB-0001",
		PSK: "AAAAAAAAAAAAAAAAAAAAAA==", ReceiptPublicKey: strings.Repeat("A", 43) + "=",
	}
	r, err := b.Record()
	if err != nil {
		t.Fatal(err)
	}
	b.State, b.PSK, b.Alive = "active", "", true
	if got := BarrelOf(r, true); marshal(t, got) != marshal(t, b) {
		t.Errorf("barrel: got %s, want %s", marshal(t, got), marshal(t, b))
	}
}

func TestTooManyGroups(t *testing.T) {
	t1 := Terminal{IMSI: "460010000000001", APNs: []string{"a"}}
	for i := range maxGroups + 1 {
		t1.Groups = append(t1.Groups, fmt.Sprintf("group-%d", i))
	}
	if _, err := t1.Record(); err == nil || !strings.Contains(err.Error(), "groups: 17 are too many") {
		t.Errorf("got %v", err)
	}
	t1.Groups = t1.Groups[:maxGroups]
	if _, err := t1.Record(); err != nil {
		t.Error(err)
	}
}

func TestStaticPrefix6(t *testing.T) {
	for text, want := range map[string]string{
		"fd00:90:0:7::/64":      "",
		"2001:db8:0:7:0::/64":   "",
		"fd00:90:0:7::1/64":     "did you mean fd00:90:0:7::/64?",
		"fd00:90:0:7::":         "is no /64",
		"fd00:90::/48":          "is no /64",
		"fd00:90:0:7:8::/80":    "is no /64",
		"10.90.0.0/64":          "is no /64",
		"ff05::/64":             "can't be given to a terminal",
		"::ffff:10.90.0.0/64":   "is no /64",
		"::/64":                 "can't be given to a terminal",
		"fd00:90:0:7::%eth0/64": "is no /64",
	} {
		s, err := Terminal{IMSI: "460010000000001", APNs: []string{"a"}, StaticPrefix6: text}.Record()
		if want == "" && (err != nil || len(s.StaticPrefix6) != 16) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func entry(reason string) *command.AuditEntry {
	c := command.New("admin", "1", "operator:li", &command.SuspendOrder{Order: "WO-1", Reason: reason})
	c.LeaderTime = 1_700_000_000_000_000_000
	return &command.AuditEntry{
		Sequence: 7, Index: 9, Term: 2, Command: command.Marshal(c),
		Result:   command.Marshal(&command.Result{Code: command.Code_OK}),
		PrevHash: make([]byte, sha256.Size), Hash: make([]byte, sha256.Size),
	}
}

// Words may be missing, but not be other than what the hashed bytes say.
func TestAuditLineInWords(t *testing.T) {
	l, err := AuditLineInWords(entry("page differs"))
	if err != nil || l.Words != `operator:li suspended order WO-1 ("page differs")` {
		t.Fatalf("%q, %v", l.Words, err)
	}
	if _, err := ParseAuditLine([]byte(marshal(t, l))); err != nil {
		t.Error(err)
	}
	l.Words = "operator:li did nothing"
	if _, err := ParseAuditLine([]byte(marshal(t, l))); err == nil {
		t.Error("other words are believed")
	}
}

// What passwords are checked against is in no readable line, however they came.
func TestAuditLineHidesCredentials(t *testing.T) {
	put := &command.PutSubscriber{Subscriber: &command.Subscriber{Imsi: "460010000000001", Credentials: &command.Credentials{
		User: "u", PapSalt: []byte("saltsaltsaltsalt"), PapHash: []byte("hashhashhashhash"), PapIterations: 10_000, ChapSecret: []byte("secretsecret"),
	}}}
	many := &command.PutDevices{Changes: []*command.DeviceChange{{Change: &command.DeviceChange_Subscriber{Subscriber: put}}}}
	for _, payload := range []proto.Message{put, many, &command.ProposeChange{Devices: many}} {
		e := entry("")
		e.Command = command.Marshal(command.New("admin", "1", "operator:li", payload))
		l, err := AuditLineInWords(e)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"saltsaltsaltsalt", "hashhashhashhash", "secretsecret"} {
			if b := base64.StdEncoding.EncodeToString([]byte(secret)); strings.Contains(string(l.Detail), b) {
				t.Errorf("%T: %s", payload, l.Detail)
			}
		}
		if !strings.Contains(string(l.Detail), "10000") {
			t.Errorf("%T: it is not told that there is a password: %s", payload, l.Detail)
		}
		if e, err := ParseAuditLine([]byte(marshal(t, l))); err != nil || !strings.Contains(string(e.Command), "hashhash") {
			t.Errorf("%T: what is hashed is missing, %v", payload, err)
		}
	}
}

func TestAuditLine(t *testing.T) {
	l, err := AuditLineOf(entry("page differs"))
	if err != nil {
		t.Fatal(err)
	}
	line := marshal(t, l)
	e, err := ParseAuditLine([]byte(line))
	if err != nil || e.Sequence != 7 || e.Index != 9 || e.Term != 2 {
		t.Fatalf("ParseAuditLine = %v, %v", e, err)
	}
	for old, altered := range map[string]string{
		"page differs": "all is well", "operator:li": "operator:wu", `"code":"OK"`: `"code":"CONFLICT"`, "SUSPEND_ORDER": "RESUME_ORDER",
	} {
		if !strings.Contains(line, old) {
			t.Fatalf("%q is not in %s", old, line)
		}
		if _, err := ParseAuditLine([]byte(strings.Replace(line, old, altered, 1))); err == nil {
			t.Errorf("%q changed to %q was not noticed", old, altered)
		}
	}
}

func FuzzParseAuditLine(f *testing.F) {
	l, _ := AuditLineOf(entry("x"))
	b, _ := json.Marshal(l)
	f.Add(b)
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := ParseAuditLine(line)
		if err == nil && e == nil {
			t.Fatal("neither an entry nor an error")
		}
	})
}
