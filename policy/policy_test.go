package policy

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/policy/ident"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// rules is a policy as a company would have it.
func rules() *Rules {
	apn := must(ident.ParseAPN("seal.corp"))
	return &Rules{
		Revision: 7,
		APNs:     map[ident.APN]APN{apn: {Name: apn}},
		Admission: Admission{
			PLMNs: []ident.PLMN{must(ident.ParsePLMN("46001"))},
			RATs:  []RAT{6, 10},
		},
		Levels: map[int]Level{
			1: {Methods: MethodFingerprint | MethodFace},
			2: {Methods: MethodFingerprint},
		},
		SealTypes: map[string]SealType{
			"company":  {Level: 1, MaxCount: 10, MaxWindow: 72 * time.Hour, GrantLifetime: 15 * time.Minute, EvidenceSeconds: 300},
			"business": {Level: 2, MaxCount: 20, MaxWindow: 72 * time.Hour, GrantLifetime: 15 * time.Minute, EvidenceSeconds: 300},
		},
		Servers:        []Server{{Host: "127.0.2.1", Port: 8443}, {Host: "seal.example.org"}},
		ClockTolerance: 2 * time.Minute,
		Fallback:       Fallback{Allowed: true, ForbidLevels: []int{1}},
		Sources: map[string]string{
			"spec": "policy.yaml:3", "spec/apns": "policy.yaml:4", "spec/apns/seal.corp": "policy.yaml:5",
			"spec/admission/rats": "policy.yaml:9", "spec/sealTypes/company/maxCount": "policy.yaml:20",
			"spec/levels/1/methods": "policy.yaml:15", "spec/servers": "policy.yaml:30",
		},
	}
}

func subscriber() Subscriber {
	return Subscriber{
		Found: true, IMSI: "460010000000001", MSISDN: "8613800000001", IMEIs: []string{"35693803564380"},
		APNs: []string{"seal.corp"}, State: StateActive, HasWireGuard: true,
	}
}

func admission() AdmitRequest {
	return AdmitRequest{
		IMSI: must(ident.ParseIMSI("460010000000001")), Subscriber: subscriber(),
		MSISDN: must(ident.ParseMSISDN("+8613800000001")), IMEI: must(ident.ParseIMEI("356938035643809")),
		APN: must(ident.ParseAPN("SEAL.corp")), PLMN: must(ident.ParsePLMN("46001")), RAT: 6, Path: PathGTP,
	}
}

func TestAdmit(t *testing.T) {
	overFallback := func(q *AdmitRequest) {
		q.Path, q.IMEI, q.PLMN, q.RAT, q.MSISDN = PathWireGuard, ident.IMEI{}, ident.PLMN{}, 0, ident.MSISDN{}
	}
	for _, c := range []struct {
		name   string
		change func(*Rules, *AdmitRequest)
		failed string // ids of the rules that fail, in order; empty: allowed
		code   Code
	}{
		{"as listed", func(*Rules, *AdmitRequest) {}, "", ""},
		{"network does not tell the number", func(_ *Rules, q *AdmitRequest) { q.MSISDN = ident.MSISDN{} }, "", ""},
		{"no handset bound, any told", func(_ *Rules, q *AdmitRequest) { q.Subscriber.IMEIs = nil }, "", ""},
		{"no handset bound, none told", func(_ *Rules, q *AdmitRequest) { q.Subscriber.IMEIs, q.IMEI = nil, ident.IMEI{} }, "", ""},
		{"any network and radio", func(r *Rules, q *AdmitRequest) {
			r.Admission = Admission{}
			q.PLMN, q.RAT = ident.PLMN{}, 0
		}, "", ""},
		{"fallback", func(_ *Rules, q *AdmitRequest) { overFallback(q) }, "", ""},

		{"SIM not listed", func(_ *Rules, q *AdmitRequest) { q.Subscriber = Subscriber{} }, "sim-listed", CodeIMSIUnknown},
		{"record of another SIM", func(_ *Rules, q *AdmitRequest) { q.Subscriber.IMSI = "460010000000002" }, "sim-listed", CodeIMSIUnknown},
		{"suspended", func(_ *Rules, q *AdmitRequest) { q.Subscriber.State = StateSuspended }, "sim-active", CodeSubscriberSuspended},
		{"revoked", func(_ *Rules, q *AdmitRequest) { q.Subscriber.State = StateRevoked }, "sim-active", CodeSubscriberRevoked},
		{"state never heard of", func(_ *Rules, q *AdmitRequest) { q.Subscriber.State = 9 }, "sim-active", CodeSubscriberSuspended},
		{"state not set", func(_ *Rules, q *AdmitRequest) { q.Subscriber.State = 0 }, "sim-active", CodeSubscriberSuspended},
		{"other number", func(_ *Rules, q *AdmitRequest) { q.MSISDN = must(ident.ParseMSISDN("8613800000002")) }, "msisdn-matches", CodeMSISDNMismatch},
		{"other handset", func(_ *Rules, q *AdmitRequest) { q.IMEI = must(ident.ParseIMEI("35693803564381")) }, "handset-bound", CodeHandsetNotBound},
		{"handset bound, none told", func(_ *Rules, q *AdmitRequest) { q.IMEI = ident.IMEI{} }, "handset-told", CodeHandsetMissing},
		{"policy wants a handset, none told", func(r *Rules, q *AdmitRequest) {
			r.Admission.RequireIMEI = true
			q.Subscriber.IMEIs, q.IMEI = nil, ident.IMEI{}
		}, "handset-told", CodeHandsetMissing},
		{"APN not served", func(r *Rules, _ *AdmitRequest) { r.APNs = nil }, "apn-known", CodeAPNUnknown},
		{"APN not the subscriber's", func(_ *Rules, q *AdmitRequest) { q.Subscriber.APNs = []string{"internet"} }, "apn-allowed", CodeAPNNotAllowed},
		{"no APN", func(_ *Rules, q *AdmitRequest) { q.APN, q.Subscriber.APNs = ident.APN{}, []string{""} }, "apn-known apn-allowed", CodeAPNUnknown},
		{"roaming", func(_ *Rules, q *AdmitRequest) { q.PLMN = must(ident.ParsePLMN("310410")) }, "plmn-allowed", CodePLMNNotAllowed},
		{"network not told", func(_ *Rules, q *AdmitRequest) { q.PLMN = ident.PLMN{} }, "plmn-allowed", CodePLMNNotAllowed},
		{"radio", func(_ *Rules, q *AdmitRequest) { q.RAT = 2 }, "rat-allowed", CodeRATNotAllowed},
		{"path never heard of", func(_ *Rules, q *AdmitRequest) { q.Path = 3 }, "path-allowed", CodeFallbackNotAllowed},
		{"no path", func(_ *Rules, q *AdmitRequest) { q.Path = 0 }, "path-allowed", CodeFallbackNotAllowed},
		{"fallback forbidden", func(r *Rules, q *AdmitRequest) { overFallback(q); r.Fallback.Allowed = false }, "path-allowed", CodeFallbackNotAllowed},
		{"fallback without a key", func(_ *Rules, q *AdmitRequest) { overFallback(q); q.Subscriber.HasWireGuard = false }, "path-allowed", CodeFallbackNotAllowed},
		{"all wrong at once", func(r *Rules, q *AdmitRequest) {
			q.Subscriber.State, q.IMEI, q.PLMN, q.RAT = StateRevoked, must(ident.ParseIMEI("35693803564381")), ident.PLMN{}, 2
			q.Subscriber.APNs, q.MSISDN = nil, must(ident.ParseMSISDN("8613800000002"))
			r.APNs = nil
		}, "sim-active msisdn-matches handset-bound apn-known apn-allowed plmn-allowed rat-allowed", CodeSubscriberRevoked},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, q := rules(), admission()
			c.change(r, &q)
			check(t, r.Admit(q), c.failed, c.code)
		})
	}
}

// check compares a decision with the rules that should fail, and holds what
// every decision must: reasons for all rules, words for all failures.
func check(t *testing.T, d Decision, failed string, code Code) {
	t.Helper()
	var ids []string
	seen := map[string]bool{}
	for _, reason := range d.Reasons() {
		if reason.Text == "" || seen[reason.Rule] {
			t.Errorf("rule %s: no words, or named twice", reason.Rule)
		}
		seen[reason.Rule] = true
		if !reason.OK && !reason.Skipped && !reason.Document {
			ids = append(ids, reason.Rule)
			if reason.Text == "refused" {
				t.Errorf("rule %s failed without words of its own", reason.Rule)
			}
		}
	}
	if got := strings.Join(ids, " "); got != failed || d.Code != code || d.Allowed != (failed == "") {
		t.Errorf("allowed %v, code %q, failed %q; want code %q, failed %q\n%v", d.Allowed, d.Code, got, code, failed, d.Denials())
	}
	if len(d.Denials()) != len(ids) {
		t.Errorf("%d denials for %d failed rules", len(d.Denials()), len(ids))
	}
}

func TestNoPolicyRefuses(t *testing.T) {
	var r *Rules
	for _, d := range []Decision{
		r.Admit(admission()), r.AllowHotspot(HotspotRequest{}), r.ScreenUse(use()), r.PermitUse(use()),
	} {
		check(t, d, "policy-present", CodeNoPolicy)
	}
	if (Decision{}).Allowed || len((Decision{}).Reasons()) != 0 {
		t.Error("the zero decision allows")
	}
	if _, ok := r.APN(must(ident.ParseAPN("seal.corp"))); ok {
		t.Error("absent rules have an APN")
	}
	// Rules that say nothing allow nothing either.
	for _, d := range []Decision{
		new(Rules).Admit(admission()), new(Rules).ScreenUse(use()), new(Rules).PermitUse(use()),
		rules().Admit(AdmitRequest{}), rules().AllowHotspot(HotspotRequest{}), rules().ScreenUse(UseRequest{}), rules().PermitUse(UseRequest{}),
	} {
		if d.Allowed || d.Code == "" {
			t.Errorf("allowed by nothing: %v", d.Reasons())
		}
	}
}

func TestAllowHotspot(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*HotspotRequest)
		failed string
		code   Code
	}{
		{"as listed", func(*HotspotRequest) {}, "", ""},
		{"MAC not listed", func(q *HotspotRequest) { q.Barrel = Barrel{} }, "barrel-listed", CodeMACNotAllowed},
		{"no MAC", func(q *HotspotRequest) { q.MAC = ident.MAC{} }, "barrel-listed", CodeMACNotAllowed},
		{"barrel revoked", func(q *HotspotRequest) { q.Barrel.State = StateRevoked }, "barrel-active", CodeMACNotAllowed},
		{"not checked out", func(q *HotspotRequest) { q.Barrel.CheckedOutTo = "" }, "barrel-checked-out", CodeBarrelNotBound},
		{"with another", func(q *HotspotRequest) { q.Barrel.CheckedOutTo = "460010000000002" }, "barrel-checked-out", CodeBarrelNotBound},
		{"terminal not listed", func(q *HotspotRequest) { q.Terminal = Subscriber{} }, "terminal-listed barrel-checked-out", CodeTerminalUnknown},
		{"terminal suspended", func(q *HotspotRequest) { q.Terminal.State = StateSuspended }, "terminal-active", CodeTerminalUnknown},
		{"nobody's barrel, no terminal", func(q *HotspotRequest) { q.Barrel.CheckedOutTo, q.Terminal = "", Subscriber{} }, "terminal-listed barrel-checked-out", CodeTerminalUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := HotspotRequest{MAC: must(ident.ParseMAC("02:00:5e:10:00:01")), Barrel: barrel(), Terminal: subscriber()}
			c.change(&q)
			check(t, rules().AllowHotspot(q), c.failed, c.code)
		})
	}
}

func barrel() Barrel {
	return Barrel{Found: true, ID: "SB-0001", State: StateActive, SealType: "company", CheckedOutTo: "460010000000001"}
}

func use() UseRequest {
	own := netip.MustParseAddr("10.90.0.2")
	return UseRequest{
		Now: noon, Path: PathGTP, SessionAddress: own, Terminal: subscriber(), TerminalAddress: own,
		ServerAddress: "127.0.2.1:8443", Time: noon.Add(-time.Minute), Barrel: barrel(), BarrelAlive: true,
		Answer: Answer{
			Pass: true, SealType: "company", Level: 1, Methods: []string{"face", "fingerprint"}, Count: 3,
			NotBefore: noon.Add(-time.Hour), NotAfter: noon.Add(time.Hour),
		},
	}
}

func TestReasonsNameTheirLine(t *testing.T) {
	q := use()
	q.Answer.Count, q.ServerAddress = 11, "127.0.2.2"
	q.Answer.Methods = []string{"face"}
	want := map[string]string{
		"server-allowed": "policy.yaml:30", "count-within": "policy.yaml:20", "methods-met": "policy.yaml:15",
		"level-met": "policy.yaml:3", // the nearest key above that the document has
		"uses-left": "",
	}
	for _, reason := range rules().PermitUse(q).Reasons() {
		if source, ok := want[reason.Rule]; ok && reason.Source != source {
			t.Errorf("%s comes from %q, want %q", reason.Rule, reason.Source, source)
		}
	}
	line := "NO rat-allowed (policy.yaml:9): radio access GERAN is not allowed; allowed: EUTRAN, NR"
	a := admission()
	a.RAT = 2
	reasons := rules().Admit(a).Reasons()
	if !slices.ContainsFunc(reasons, func(r Reason) bool { return r.String() == line }) {
		t.Errorf("no reason reads %q in %v", line, reasons)
	}
}

// The log names rules, never the identifiers in the words.
func TestDecisionLogsNoIdentifiers(t *testing.T) {
	q := admission()
	q.IMEI = must(ident.ParseIMEI("35693803564381"))
	got := rules().Admit(q).LogValue().String()
	if strings.Contains(got, "35693803564381") || !strings.Contains(got, "handset-bound") {
		t.Errorf("logged %s", got)
	}
}
