package bundle

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/ident"
)

// Question is one request to be decided on: by a test of a document, or to explain
// what would be answered. What it leaves open Complete fills in favourably, so
// that what is refused is refused for what was asked.
type Question struct {
	Action   policy.Action
	Terminal policy.Subscriber
	Now      time.Time
	Path     policy.PathKind
	APN      ident.APN
	Access   policy.Access
	Shown    policy.Credentials
	Barrel   policy.Barrel
	MAC      ident.MAC
	Server   string
	Level    int
	Methods  []string
	Count    uint32
	Window   time.Duration

	placeAge time.Duration   // how long ago the carrier told the place, when that is given
	given    map[string]bool // keys that were set
	recorded bool            // the terminal is what a record says, or has none
	barrels  bool            // so is the barrel
	assumed  []string
}

// OfTerminal asks about a terminal of the allow-list, or about one that isn't on it:
// Found is false then.
func (q *Question) OfTerminal(s policy.Subscriber, imsi string) {
	q.Terminal, q.recorded = s, true
	q.Terminal.IMSI = imsi
}

// OfBarrel does so with a barrel. mac is the device that joins a hotspot.
func (q *Question) OfBarrel(b policy.Barrel, id string, mac ident.MAC) {
	q.Barrel, q.barrels, q.MAC = b, true, mac
	q.Barrel.ID = id
}

// OfSession asks about a session that lives, where it is.
func (q *Question) OfSession(path policy.PathKind, apn ident.APN, access policy.Access) {
	q.Path, q.APN, q.Access = path, apn, access
	q.say("path", "apn", "imei", "plmn", "rat", "tai", "ecgi")
}

// OfFallback asks about a terminal that attaches over the fallback path by what it can
// show now: its key, and what it proved when it asked for that path.
func (q *Question) OfFallback(shown policy.Credentials) {
	q.Shown = shown
	q.assume("shown", q.Shown)
	q.say("shown")
}

// say notes that something was said.
func (q *Question) say(keys ...string) {
	if q.given == nil {
		q.given = map[string]bool{}
	}
	for _, k := range keys {
		q.given[k] = true
	}
}

// Assumed is what Complete filled in, such as "plmn 46001".
func (q *Question) Assumed() []string { return q.assumed }

// assume notes what is filled in.
func (q *Question) assume(key string, value any) {
	if s := fmt.Sprint(value); s != "" && !q.given[key] {
		q.assumed = append(q.assumed, key+" "+s)
	}
}

// Field is one thing that a question may say.
type Field struct {
	Key      string
	Terminal bool   // of the terminal that is asked about, not of the request
	List     bool   // of several values
	Help     string // for people, with an example
	set      func(q *Question, v []string) error
}

// reads makes a setter of a parser of one value.
func reads[T any](parse func(string) (T, error), set func(*Question, T)) func(*Question, []string) error {
	return readsAll(parse, func(q *Question, v []T) { set(q, v[0]) })
}

// readsAll makes a setter of a parser of each value of a list.
func readsAll[T any](parse func(string) (T, error), set func(*Question, []T)) func(*Question, []string) error {
	return func(q *Question, v []string) error {
		var all []T
		for _, s := range v {
			t, err := parse(s)
			if err != nil {
				return err
			}
			all = append(all, t)
		}
		set(q, all)
		return nil
	}
}

func text(s string) (string, error) { return s, nil }

// Fields are all that a question may say, the terminal's first.
func Fields() []Field { return slices.Clone(fieldsOfQuestion) }

var fieldsOfQuestion = []Field{
	{"imsi", true, false, "its IMSI, such as 460010000000001", reads(ident.ParseIMSI, func(q *Question, v ident.IMSI) { q.Terminal.IMSI = v.String() })},
	{"msisdn", true, false, "the telephone number that it is bound to", reads(ident.ParseMSISDN, func(q *Question, v ident.MSISDN) { q.Terminal.MSISDN = v.String() })},
	{"groups", true, true, "its groups, such as finance", readsAll(groupName, func(q *Question, v []string) { q.Terminal.Groups = v })},
	{"imeis", true, true, "the handsets that it is bound to", readsAll(ident.ParseIMEI, func(q *Question, v []ident.IMEI) { q.Terminal.IMEIs = texts(v) })},
	{"apns", true, true, "the APNs that it may use", readsAll(ident.ParseAPN, func(q *Question, v []ident.APN) { q.Terminal.APNs = texts(v) })},
	{"state", true, false, "active, suspended or revoked", reads(parseState, func(q *Question, v policy.State) { q.Terminal.State = v })},
	{"wireguard", true, false, "true when a WireGuard key is bound to it", reads(strconv.ParseBool, func(q *Question, v bool) { q.Terminal.HasWireGuard = v })},

	{"at", false, false, "when, such as 2026-11-23T10:00:00+08:00", reads(parseInstant, func(q *Question, v time.Time) { q.Now = v })},
	{"path", false, false, "carrier or fallback", reads(policy.ParsePath, func(q *Question, v policy.PathKind) { q.Path = v })},
	{"apn", false, false, "the APN that it is attached to", reads(ident.ParseAPN, func(q *Question, v ident.APN) { q.APN = v })},
	{"imei", false, false, "the handset that it is in; none: not told", reads(parseHandset, func(q *Question, v ident.IMEI) { q.Access.IMEI = v })},
	{"plmn", false, false, "the serving network, such as 46001", reads(ident.ParsePLMN, func(q *Question, v ident.PLMN) { q.Access.PLMN = v })},
	{"rat", false, false, "the radio access, such as EUTRAN", reads(policy.ParseRAT, func(q *Question, v policy.RAT) { q.Access.RAT = v })},
	{"tai", false, false, "the tracking area, such as 46001-1a2b", reads(ident.ParseTAI, func(q *Question, v ident.TAI) { q.Access.Place.TAI, q.Access.Told = v, time.Time{} })},
	{"ecgi", false, false, "the cell, such as 46001-1a2b3c4", reads(ident.ParseECGI, func(q *Question, v ident.ECGI) { q.Access.Place.ECGI, q.Access.Told = v, time.Time{} })},
	{"placeAge", false, false, "over the fallback: how long ago the carrier told the place, such as 3h; left out: it tells it now", reads(parseAge, func(q *Question, v time.Duration) { q.placeAge = v })},
	{"shown", false, true, "what it proved to be by; none: nothing; left out: all that can be shown", readsAll(parseShown, func(q *Question, v []policy.Credentials) {
		q.Shown = 0
		for _, c := range v {
			q.Shown |= c
		}
	})},
	{"barrel", false, false, "the barrel, such as SB-0001", reads(ident.ParseBarrelID, func(q *Question, v ident.BarrelID) { q.Barrel.ID = v.String() })},
	{"sealType", false, false, "the seal that the barrel holds", reads(text, func(q *Question, v string) { q.Barrel.SealType = v })},
	{"mac", false, false, "the device that joins the hotspot", reads(ident.ParseMAC, func(q *Question, v ident.MAC) { q.MAC = v })},
	{"server", false, false, "the seal server that the request names", reads(text, func(q *Question, v string) { q.Server = v })},
	{"level", false, false, "the level that the seal server answered", reads(parseNumber, func(q *Question, v uint32) { q.Level = int(v) })},
	{"methods", false, true, "the methods that the seal server answered", readsAll(text, func(q *Question, v []string) { q.Methods = v })},
	{"count", false, false, "stampings that the order permits", reads(parseNumber, func(q *Question, v uint32) { q.Count = v })},
	{"window", false, false, "how long the order's window is, such as 24h", reads(time.ParseDuration, func(q *Question, v time.Duration) { q.Window = v })},
}

func parseState(s string) (policy.State, error) {
	for _, state := range []policy.State{policy.StateActive, policy.StateSuspended, policy.StateRevoked} {
		if s == state.String() {
			return state, nil
		}
	}
	return 0, fmt.Errorf("want active, suspended or revoked, have %q", s)
}

func parseInstant(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, fmt.Errorf("want an instant such as 2026-11-23T10:00:00+08:00, have %q", s)
	}
	return t, nil
}

func parseAge(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err == nil && d < 0 {
		err = fmt.Errorf("want a time span that isn't below 0, have %q", s)
	}
	return d, err
}

func parseHandset(s string) (ident.IMEI, error) {
	if s == "none" {
		return ident.IMEI{}, nil
	}
	return ident.ParseIMEI(s)
}

func parseShown(s string) (policy.Credentials, error) {
	if s == "none" {
		return 0, nil
	}
	return policy.ParseCredential(s)
}

func parseNumber(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("want a number, have %q", s)
	}
	return uint32(n), nil
}

// Set says one thing. The key is one of Fields.
func (q *Question) Set(key string, values ...string) error {
	i := slices.IndexFunc(fieldsOfQuestion, func(f Field) bool { return f.Key == key })
	if i < 0 {
		return fmt.Errorf("there is no %q", key)
	}
	if f := fieldsOfQuestion[i]; !f.List && len(values) != 1 {
		return fmt.Errorf("%s: want one value, have %d", key, len(values))
	}
	if err := fieldsOfQuestion[i].set(q, values); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	q.say(key)
	return nil
}

// noon is when a question is asked that doesn't say: a Monday, in the zone of the
// document.
func noon(r *policy.Rules) time.Time {
	zone := time.UTC
	if r != nil && r.Zone != nil {
		zone = r.Zone
	}
	return time.Date(2026, 1, 5, 12, 0, 0, 0, zone)
}

// Complete fills in what the question leaves open as the document would like it. It
// is an error to leave open what can't be guessed.
func (q *Question) Complete(r *policy.Rules) error {
	if r == nil {
		return nil // nothing is allowed
	}
	t := &q.Terminal
	if !q.recorded {
		t.Found = true
		if t.IMSI == "" {
			t.IMSI = "001010000000001"
		}
		if t.State == 0 {
			t.State = policy.StateActive
		}
		if !q.given["wireguard"] {
			t.HasWireGuard = q.Path == policy.PathWireGuard
		}
	}
	if q.Path == 0 {
		q.Path = policy.PathGTP
		q.assume("path", q.Path)
	}
	if q.Now.IsZero() {
		q.Now = noon(r)
		q.assume("at", q.Now.Format(time.RFC3339))
	}
	if q.given["placeAge"] && q.Path == policy.PathWireGuard {
		q.Access.Told = q.Now.Add(-q.placeAge)
	}
	if names := slices.Sorted(slices.Values(keysOfAPNs(r))); q.APN.IsZero() && len(names) > 0 {
		if len(t.APNs) > 0 {
			names = t.APNs
		}
		q.APN, _ = ident.ParseAPN(names[0])
		q.assume("apn", q.APN)
	}
	if len(t.APNs) == 0 && !q.recorded {
		t.APNs = []string{q.APN.String()}
	}
	if !q.given["shown"] {
		q.Shown = q.Path.Possible()
		q.assume("shown", q.Shown)
	}
	if q.Path == policy.PathGTP {
		q.completeAccess(r)
	}
	if q.Action == policy.ActionAttach {
		return nil
	}
	return q.completeSeal(r)
}

// completeAccess fills in what the carrier tells.
func (q *Question) completeAccess(r *policy.Rules) {
	a := &q.Access
	if !q.given["imei"] {
		text := "00000000000001"
		switch {
		case len(q.Terminal.IMEIs) > 0:
			text = q.Terminal.IMEIs[0]
		case len(r.Admission.TACs) > 0:
			text = r.Admission.TACs[0] + "000001"
		}
		a.IMEI, _ = ident.ParseIMEI(text)
		q.assume("imei", a.IMEI)
	}
	if !q.given["plmn"] {
		if a.PLMN = a.Place.TAI.PLMN(); a.PLMN.IsZero() {
			a.PLMN, _ = ident.ParsePLMN("00101")
			if len(r.Admission.PLMNs) > 0 {
				a.PLMN = r.Admission.PLMNs[0]
			}
		}
		q.assume("plmn", a.PLMN)
	}
	if !q.given["rat"] {
		a.RAT, _ = policy.ParseRAT("EUTRAN")
		if len(r.Admission.RATs) > 0 {
			a.RAT = r.Admission.RATs[0]
		}
		q.assume("rat", a.RAT)
	}
}

// completeSeal fills in the barrel and what the seal server answered.
func (q *Question) completeSeal(r *policy.Rules) error {
	b := &q.Barrel
	isBarrel := q.Action == policy.ActionUse || b.ID != "" || b.SealType != ""
	switch {
	case q.Action == policy.ActionUse && b.SealType == "" && !q.barrels:
		return fmt.Errorf("sealType: say which seal is used, one of %s", strings.Join(keysOf(r.SealTypes, nil), ", "))
	case !isBarrel && q.MAC.IsZero():
		return errors.New("mac: say which device joins the hotspot, or barrel and sealType")
	}
	if isBarrel && !q.barrels {
		b.Found, b.State, b.CheckedOutTo = true, policy.StateActive, q.Terminal.IMSI
		if b.ID == "" {
			b.ID = "SB-0000"
		}
	}
	if q.MAC.IsZero() {
		q.MAC, _ = ident.ParseMAC("02:00:00:00:00:01")
	}
	if q.Action == policy.ActionHotspot {
		return nil
	}
	if !q.given["level"] {
		q.Level = 1
		if _, known := r.Levels[1]; !known {
			q.Level = r.SealTypes[b.SealType].Level
		}
		q.assume("level", q.Level)
	}
	if !q.given["methods"] {
		q.Methods = policy.MethodNames()
		q.assume("methods", strings.Join(q.Methods, ", "))
	}
	if !q.given["count"] {
		q.Count = 1
		q.assume("count", q.Count)
	}
	if !q.given["window"] {
		q.Window = time.Minute
		q.assume("window", q.Window)
	}
	if !q.given["server"] && len(r.Servers) > 0 {
		q.Server = r.Servers[0].String()
		q.assume("server", q.Server)
	}
	return nil
}

// Ask decides on the question, which is complete, by a document.
func (q *Question) Ask(r *policy.Rules) policy.Decision {
	imsi, _ := ident.ParseIMSI(q.Terminal.IMSI)
	switch q.Action {
	case policy.ActionAttach:
		return r.Admit(policy.AdmitRequest{
			IMSI: imsi, Subscriber: q.Terminal, IMEI: q.Access.IMEI, APN: q.APN, PLMN: q.Access.PLMN, RAT: q.Access.RAT, Place: q.Access.Place, Told: q.Access.Told,
			Path: q.Path, Now: q.Now, Shown: q.Shown,
		})
	case policy.ActionHotspot:
		return r.AllowHotspot(policy.HotspotRequest{MAC: q.MAC, Barrel: q.Barrel, Terminal: q.Terminal, Now: q.Now, Path: q.Path, APN: q.APN, Access: q.Access})
	}
	own := netip.AddrFrom4([4]byte{10, 0, 0, 1})
	return r.PermitUse(policy.UseRequest{
		Now: q.Now, Time: q.Now, Path: q.Path, SessionAddress: own, TerminalAddress: own, Terminal: q.Terminal, ServerAddress: q.Server,
		Barrel: q.Barrel, BarrelAlive: true, APN: q.APN, Access: q.Access, Shown: q.Shown,
		Answer: policy.Answer{
			Pass: true, SealType: q.Barrel.SealType, Level: q.Level, Methods: q.Methods, Count: q.Count, NotBefore: q.Now, NotAfter: q.Now.Add(q.Window),
		},
	})
}
