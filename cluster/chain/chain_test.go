package chain

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// link is an entry of the chain, with an OK result if there is a record.
func link(actor string, payload, record proto.Message) *command.AuditEntry {
	c := command.New("test", "", actor, payload)
	c.LeaderTime = noon.UnixNano()
	r := &command.Result{Code: command.Code_OK}
	if record != nil {
		r.Payload = command.Marshal(record)
	}
	return &command.AuditEntry{Sequence: 7, Command: command.Marshal(c), Result: command.Marshal(r)}
}

func read(t testing.TB, e *command.AuditEntry) *Entry {
	t.Helper()
	out, err := Read(e)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// all goes through the empty payloads of all commands.
func all(yield func(command.Type, proto.Message) bool) {
	for number := range command.Type_name {
		_, p, err := command.Decode(command.Marshal(&command.Command{Level: 1, Type: command.Type(number)}))
		if err == nil && !yield(command.Type(number), p) {
			return
		}
	}
}

func TestEveryCommandHasWords(t *testing.T) {
	n := 0
	for kind, p := range all {
		n++
		fresh, ok := records[kind]
		if !ok {
			t.Errorf("%s: it is not said what its result carries", kind)
		}
		var record proto.Message
		if fresh != nil {
			record = fresh()
		}
		for _, e := range []*command.AuditEntry{link("operator:li", p, record), link("", p, nil)} {
			words := read(t, e).Words()
			if strings.Contains(words, strings.ToLower(kind.String())) || len(strings.Fields(words)) < 3 || strings.ContainsAny(words, "\n%") {
				t.Errorf("%s in words: %s", kind, words)
			}
		}
	}
	if want := len(command.Type_name) - 1; n != want {
		t.Errorf("%d commands of %d", n, want)
	}
}

// elsewhere are the text fields that name nobody and nothing that one searches for.
var elsewhere = strings.Fields(`
	apn apns label revoke_reason suspend_reason reason reasons message kind code cause psk_identity seal_type
	name node nodes holder home left moving_to to gateway_address serving_plmn request_id client_id
	source_id methods groups touches effects end_reason review token operation roles id number`)

// Whoever adds a text field to a command says here whether it is searched for.
func TestEveryTextFieldIsKnown(t *testing.T) {
	seen := map[protoreflect.FullName]bool{}
	var visit func(protoreflect.MessageDescriptor)
	visit = func(m protoreflect.MessageDescriptor) {
		if seen[m.FullName()] {
			return
		}
		seen[m.FullName()] = true
		fields := m.Fields()
		for i := range fields.Len() {
			f := fields.Get(i)
			switch {
			case f.Message() != nil:
				visit(f.Message())
			case f.Kind() == protoreflect.StringKind && kindOf(f) == "" && !slices.Contains(elsewhere, string(f.Name())):
				t.Errorf("%s: say in kinds whether it names an order, a device or a person, or that it doesn't in this test", f.FullName())
			}
		}
	}
	for kind, p := range all {
		visit(p.ProtoReflect().Descriptor())
		if fresh := records[kind]; fresh != nil {
			visit(fresh().ProtoReflect().Descriptor())
		}
	}
}

func TestWords(t *testing.T) {
	use := &command.Use{Id: 7, Order: "WO-1", Barrel: "SB-1", Imsi: "460010000000001", User: "wang", SealType: "contract", Level: 2, Methods: []string{"pin", "face"}, Count: 2, Confirmed: 1, Refunded: 1, NotAfter: noon.UnixNano()}
	for _, c := range []struct {
		actor           string
		payload, record proto.Message
		want            string
	}{
		{"user:wang", &command.ReserveUses{Order: "WO-1"}, use, "user:wang reserved 2 uses of order WO-1 with barrel SB-1 on terminal 460010000000001 for wang (contract seal, level 2, pin and face): use 7, until 2026-11-22T12:00:00Z"},
		{"barrel:SB-1", &command.SettleUse{Use: 7, Stamped: 1}, use, "barrel:SB-1 settled use 7 of order WO-1 with barrel SB-1: 1 stamping, 1 given back"},
		{"operator:li", &command.RevokeSubscriber{Imsi: "460010000000001", Reason: "lost"}, &command.Revocation{Sessions: []*command.Session{{}}, Uses: []uint64{7}, Locks: []uint64{1, 2}}, `operator:li revoked terminal 460010000000001 for ever ("lost"): ended 1 session and 1 use, ordered 2 locks`},
		{"carrier:127.0.20.1", &command.OpenSession{}, &command.Opened{Session: &command.Session{Id: 3, Imsi: "460010000000001", Apn: "seal.corp", Address: []byte{10, 64, 0, 2}, Gtp: &command.GTPPath{ServingPlmn: "46001", RatType: 6}}}, "carrier:127.0.20.1 opened session 3 of terminal 460010000000001 on seal.corp through the carrier: address 10.64.0.2 (network 46001, EUTRAN)"},
		{"gtp-u", &command.ClosePath{Session: 3, Path: command.PathKind_GTP}, &command.Closed{Session: &command.Session{Id: 3, Imsi: "460010000000001"}}, "gtp-u closed the carrier's path of session 3 of terminal 460010000000001"},
		{"operator:li", &command.PutPolicy{BaseRevision: 1, Document: []byte("x")}, &command.Policy{Revision: 2, Digest: []byte{0xab}}, "operator:li put policy revision 2 in force (SHA-256 ab)"},
		{"operator:li", &command.ProposeChange{Policy: &command.PutPolicy{BaseRevision: 1}, Reason: "r", Touches: []string{"levels"}}, &command.Change{Id: 4, Needed: 2, State: command.ChangeState_PENDING, Expires: noon.UnixNano()}, `operator:li proposed change 4, a policy of 0 bytes in the place of revision 1, which touches levels ("r"): 0 of 2 approvals, until 2026-11-22T12:00:00Z`},
		{"operator:wu", &command.ApproveChange{Change: 4, Digest: []byte{1, 2}}, &command.Change{Id: 4, ProposedBy: "operator:li", State: command.ChangeState_IN_FORCE, Revision: 2}, "operator:wu approved change 4 of operator:li (digest 0102), signed: in force as policy revision 2"},
		{"operator:li", &command.PutDevices{Changes: []*command.DeviceChange{{Change: &command.DeviceChange_CheckIn{CheckIn: &command.CheckIn{Barrel: "SB-1"}}}}}, &command.DevicesPut{Outcomes: []*command.DeviceOutcome{{Code: command.Code_BUSY}}}, "operator:li changed 1 device (check-in of barrel SB-1): 0 carried out, 0 as they were, 1 refused"},
		{"node:n1", &command.RecordCalls{Calls: []*command.Call{{Caller: "operator:wu", Operation: "GET /v1/terminals", Status: 200, Personal: true, Times: 3}}}, nil, "node:n1 noted 1 call of the admin API, 1 of which showed personal data (operator:wu GET /v1/terminals 3 times: 200)"},
		{"phone:460010000000001", &command.RecordDecision{Kind: "use", Subject: "order WO-1 barrel SB-1", Code: "level-too-low", Reasons: []string{"level: 1 of 2"}}, nil, "phone:460010000000001 noted: use refused, order WO-1 barrel SB-1, level-too-low: level: 1 of 2"},
		{"node:n1", &command.PutServerKey{PublicKey: []byte{1, 2, 3}}, &command.ServerKey{}, "node:n1 put server key AQID in use on the fallback path"},
		{"operator:li", &command.PutServerKey{PublicKey: []byte{1, 2, 3}, Replaces: []byte{4, 5, 6}, OverlapSeconds: 86400}, &command.ServerKey{}, "operator:li put server key AQID in use on the fallback path in the place of BAUG, which is good for 24h0m0s yet"},
		{"operator:li", &command.PutServerKey{PublicKey: []byte{1, 2, 3}, Replaces: []byte{4, 5, 6}}, &command.ServerKey{}, "operator:li put server key AQID in use on the fallback path in the place of BAUG, at once"},
		{"operator:li", &command.RetireServerKey{PublicKey: []byte{4, 5, 6}, Reason: "leaked"}, &command.ServerKey{}, `operator:li retired server key BAUG of the fallback path ("leaked")`},
		{"phone:460010000000001", &command.LeaseFallback{}, &command.FallbackLease{Imsi: "460010000000001", Number: 9, Shown: uint32(policy.CredentialPassword), Expires: noon.UnixNano()}, "phone:460010000000001 opened the fallback path to terminal 460010000000001, by password, until 2026-11-22T12:00:00Z: lease 9"},
		{"operator:li", &command.LeaseFallback{}, &command.FallbackLease{Imsi: "460010000000001", Number: 9, IssuedByOperator: true, Expires: noon.UnixNano()}, "operator:li issued the fallback path to terminal 460010000000001 until 2026-11-22T12:00:00Z: lease 9"},
		{"node:n1", &command.EndFallback{Imsi: "460010000000001", Reason: "expired"}, &command.FallbackLease{}, `node:n1 closed the fallback path to terminal 460010000000001 ("expired")`},
		{"wireguard", &command.AttachWireGuard{Endpoint: []byte{192, 0, 2, 1}, EndpointPort: 4000}, &command.Opened{Session: &command.Session{Id: 3, Imsi: "460010000000001", Apn: "seal.corp", Address: []byte{10, 64, 0, 2}}}, "wireguard opened session 3 of terminal 460010000000001 on seal.corp through the fallback path: address 10.64.0.2 (from 192.0.2.1:4000)"},
		{"wireguard", &command.RoamWireGuard{Session: 3, Endpoint: []byte{192, 0, 2, 1}, EndpointPort: 4000}, &command.Session{}, "wireguard heard session 3 over the fallback path from 192.0.2.1:4000"},
		{"", &command.RaiseEpoch{Cause: "restore"}, &command.Epoch{Number: 2}, "the cluster began a new epoch after a restore"},
	} {
		if got := read(t, link(c.actor, c.payload, c.record)).Words(); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
	refused := link("operator:li", &command.CheckIn{Barrel: "SB-1"}, nil)
	refused.Result = command.Marshal(&command.Result{Code: command.Code_BUSY, Message: "it has an unsettled use"})
	if got, want := read(t, refused).Words(), "operator:li checked barrel SB-1 in: refused, busy (it has an unsettled use)"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestSubjects(t *testing.T) {
	use := &command.Use{Order: "WO-1", Barrel: "SB-1", Imsi: "460010000000001", User: "wang"}
	got := read(t, link("barrel:SB-1", &command.SettleUse{Use: 7}, use)).Subjects()
	want := []Subject{{Device, "SB-1"}, {Order, "WO-1"}, {Device, "460010000000001"}, {Person, "wang"}}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := read(t, link("node:n1", &command.Checkpoint{Node: "n1"}, nil)).Subjects(); got != nil {
		t.Errorf("nobody: %v", got)
	}
}

func TestQuery(t *testing.T) {
	batch := link("operator:li", &command.PutDevices{Changes: []*command.DeviceChange{
		{Change: &command.DeviceChange_Subscriber{Subscriber: &command.PutSubscriber{Subscriber: &command.Subscriber{Imsi: "460010000000001", Imeis: []string{"35391805000001"}}}}},
		{Change: &command.DeviceChange_Barrel{Barrel: &command.PutBarrel{Barrel: &command.Barrel{Id: "SB-1", Mac: "02:00:5e:00:00:01"}}}},
	}}, &command.DevicesPut{})
	settled := link("barrel:SB-1", &command.SettleUse{Use: 7}, &command.Use{Order: "WO-1", Barrel: "SB-1", Imsi: "460010000000001", User: "wang"})
	decided := link("phone:460010000000002", &command.RecordDecision{Kind: "use", Subject: "order WO-1 barrel SB-1"}, nil)
	refused := link("operator:li", &command.CheckOut{Barrel: "SB-1", Imsi: "460010000000001"}, nil)
	refused.Result = command.Marshal(&command.Result{Code: command.Code_CONFLICT})
	for _, c := range []struct {
		name string
		q    Query
		e    *command.AuditEntry
		want bool
	}{
		{"everything", Query{}, batch, true},
		{"IMSI in a batch", Query{Device: "460010000000001"}, batch, true},
		{"IMEI", Query{Device: "35391805000001"}, batch, true},
		{"MAC", Query{Device: "02:00:5e:00:00:01"}, batch, true},
		{"barrel's id", Query{Device: "SB-1"}, batch, true},
		{"the beginning of an id", Query{Device: "SB"}, batch, false},
		{"another's", Query{Device: "460010000000009"}, batch, false},
		{"operator", Query{Person: "li"}, batch, true},
		{"operator, in full", Query{Person: "operator:li"}, batch, true},
		{"another operator", Query{Person: "wu"}, batch, false},
		{"order of the record", Query{Order: "WO-1"}, settled, true},
		{"user of the record", Query{Person: "wang"}, settled, true},
		{"user, in full", Query{Person: "user:wang"}, settled, true},
		{"a barrel is no person", Query{Person: "SB-1"}, settled, false},
		{"both", Query{Order: "WO-1", Device: "SB-1"}, settled, true},
		{"one of two", Query{Order: "WO-1", Device: "SB-2"}, settled, false},
		{"order in a text", Query{Order: "WO-1"}, decided, true},
		{"part of an order in a text", Query{Order: "WO"}, decided, false},
		{"phone", Query{Device: "460010000000002"}, decided, true},
		{"of what was refused", Query{Device: "SB-1", Person: "li"}, refused, true},
		{"type", Query{Type: command.Type_CHECK_OUT}, refused, true},
		{"another type", Query{Type: command.Type_CHECK_IN}, refused, false},
		{"since", Query{Since: noon}, refused, true},
		{"since later", Query{Since: noon.Add(1)}, refused, false},
		{"until", Query{Until: noon}, refused, false},
		{"until later", Query{Until: noon.Add(1)}, refused, true},
	} {
		got := c.q.Matches(read(t, c.e))
		if got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
		if got && c.q.RulesOut(command.Marshal(c.e)) {
			t.Errorf("%s: it matches, and was ruled out", c.name)
		}
	}
	if (&Query{Device: "nobody"}).RulesOut(command.Marshal(batch)) != true {
		t.Error("nothing is ruled out")
	}
}

// A name is found in a text only where it is a word of its own.
func TestHasWord(t *testing.T) {
	for text, want := range map[string]bool{
		"WO-1": true, "order WO-1": true, "WO-1, WO-2": true, "(WO-1)": true, "xWO-1 WO-1": true,
		"WO-12": false, "XWO-1": false, "WO-1-2": false, "": false, "WO": false, "订WO-1": false,
	} {
		if hasWord(text, "WO-1") != want {
			t.Errorf("%q: %t", text, !want)
		}
	}
}

// Find gives the same pages as whoever looks at every entry.
func TestFind(t *testing.T) {
	var entries []*command.AuditEntry
	for i := range 30 {
		e := link("operator:"+[]string{"li", "wu", "he"}[i%3], &command.CheckIn{Barrel: "SB-1"}, nil)
		e.Sequence = uint64(i + 1)
		entries = append(entries, e)
	}
	source := func(yield func(*command.AuditEntry, error) bool) {
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	}
	for _, c := range []struct {
		s    Search
		want []uint64
		next uint64
	}{
		{Search{Limit: 3}, []uint64{1, 2, 3}, 4},
		{Search{Limit: 3, From: 28}, []uint64{28, 29, 30}, 0},
		{Search{Limit: 3, Newest: true}, []uint64{30, 29, 28}, 27},
		{Search{Limit: 3, Newest: true, To: 2}, []uint64{2, 1}, 0},
		{Search{Limit: 2, Query: Query{Person: "wu"}}, []uint64{2, 5}, 8},
		{Search{Limit: 2, Query: Query{Person: "wu"}, Newest: true, From: 20, To: 27}, []uint64{26, 23}, 20},
	} {
		found, err := Find(source, c.s)
		var got []uint64
		for _, e := range found.Entries {
			got = append(got, e.Sequence)
		}
		if err != nil || !slices.Equal(got, c.want) || found.Next != c.next {
			t.Errorf("%+v: %v, next %d, %v; want %v, %d", c.s, got, found.Next, err, c.want, c.next)
		}
	}
	lost := errors.New("lost")
	if _, err := Find(func(yield func(*command.AuditEntry, error) bool) { yield(nil, lost) }, Search{Limit: 1}); !errors.Is(err, lost) {
		t.Error(err)
	}
}

// FuzzRead: whatever the bytes are, nothing panics, and what matches was not ruled
// out.
func FuzzRead(f *testing.F) {
	for kind, p := range all {
		var record []byte
		if fresh := records[kind]; fresh != nil {
			record = command.Marshal(&command.Result{Code: command.Code_OK, Payload: command.Marshal(fresh())})
		}
		f.Add(link("operator:li", p, nil).Command, record)
	}
	e := link("user:wang", &command.ReserveUses{Order: "WO-1"}, &command.Use{Order: "WO-1", Barrel: "SB-1"})
	f.Add(e.Command, e.Result)
	f.Fuzz(func(t *testing.T, c, r []byte) {
		link := &command.AuditEntry{Sequence: 1, Command: c, Result: r}
		e, err := Read(link)
		if err != nil {
			return
		}
		if e.Words() == "" {
			t.Error("no words")
		}
		for _, s := range e.Subjects() {
			q := Query{Device: s.Name}
			if s.Kind == Device && (!q.Matches(e) || q.RulesOut(command.Marshal(link))) {
				t.Errorf("%v is not found", s)
			}
		}
	})
}
