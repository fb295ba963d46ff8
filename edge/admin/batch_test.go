package admin

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/adminapi"
)

// sendBatch sends rows, one JSON document each, and returns what became of them.
func sendBatch(t *testing.T, s *Server, extra string, rows ...string) []adminapi.RowOutcome {
	t.Helper()
	w := s.send(t, operator, "POST", "/v1/devices/batch", "", `{"rows":[`+strings.Join(rows, ",")+`]`+extra+`}`)
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	var done adminapi.DeviceBatchDone
	if err := json.Unmarshal(w.Body.Bytes(), &done); err != nil {
		t.Fatal(err)
	}
	if len(done.Rows) != len(rows) {
		t.Fatalf("%d rows, %d outcomes", len(rows), len(done.Rows))
	}
	return done.Rows
}

// became writes outcomes down: "added, refused (imsi: ...)".
func became(rows []adminapi.RowOutcome) string {
	var words []string
	for _, r := range rows {
		w := r.Outcome
		if r.Detail != "" {
			w += " (" + r.Detail + ")"
		}
		words = append(words, w)
	}
	return strings.Join(words, ", ")
}

func expect(t *testing.T, rows []adminapi.RowOutcome, want string) {
	t.Helper()
	if got := became(rows); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

const (
	rowPhone  = `{"terminal":{"imsi":"460011234567890","apns":["seal.corp"],"label":"one","groups":["b","a"]}}`
	rowBarrel = `{"barrel":{"id":"sb-1","mac":"02:00:00:00:00:01","seal_type":"contract","psk_identity":"SB-1","psk":"AAAAAAAAAAAAAAAAAAAAAA==","receipt_public_key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}}`
	rowOut    = `{"check_out":{"barrel":"SB-1","imsi":"460011234567890"}}`
)

func TestBatchAgainChangesNothing(t *testing.T) {
	s, n := newServer(t)
	rows := []string{rowPhone, rowBarrel, rowOut}
	expect(t, sendBatch(t, s, "", rows...), "added, added, changed")
	index := n.index
	expect(t, sendBatch(t, s, "", rows...), "unchanged, unchanged, unchanged")
	if n.index != index {
		t.Error("what changes nothing came into the log")
	}
	if b := n.machine.Barrel("SB-1"); b.CheckedOutTo != phone || b.GetVersion() != 2 {
		t.Errorf("%v", b)
	}
	expect(t, sendBatch(t, s, "", `{"check_in":"sb-1"}`, `{"check_in":"SB-1"}`, `{"check_in":"SB-9"}`), "changed, unchanged, refused (no such barrel)")
}

func TestBatchSaysWhatIsDifferent(t *testing.T) {
	s, n := newServer(t)
	sendBatch(t, s, "", rowPhone, rowBarrel)
	put(t, s, terminalDocument(`{"user":"phone","password":"open sesame"}`)) // a whole document: label and groups go
	expect(t, sendBatch(t, s, "", `{"terminal":{"imsi":"460011234567890","label":"two","imeis":["35693803564380"]}}`), "changed")
	r := n.machine.Subscriber(phone)
	if r.Label != "two" || len(r.Apns) != 1 || len(r.Imeis) != 1 || r.Credentials.GetUser() != "phone" {
		t.Errorf("what the row doesn't name has changed: %v", r)
	}
	expect(t, sendBatch(t, s, "", `{"terminal":{"imsi":"460011234567890","imeis":[],"credentials":{}}}`), "changed")
	if r := n.machine.Subscriber(phone); len(r.Imeis) != 0 || r.Credentials != nil || r.Label != "two" {
		t.Errorf("emptied fields: %v", r)
	}

	psk := n.machine.Barrel("SB-1").Psk
	expect(t, sendBatch(t, s, "", `{"barrel":{"id":"SB-1","psk_identity":"SB-1","seal_type":"finance"}}`), "changed")
	if b := n.machine.Barrel("SB-1"); b.SealType != "finance" || string(b.Psk) != string(psk) {
		t.Errorf("the key doesn't stay: %v", b)
	}
	expect(t, sendBatch(t, s, "", `{"barrel":{"id":"SB-1","psk_identity":"other"}}`), "refused (psk: missing: another psk_identity takes another key)")
	expect(t, sendBatch(t, s, "", `{"barrel":{"id":"SB-1","psk":"AQEBAQEBAQEBAQEBAQEBAQ=="}}`), "changed")
	if b := n.machine.Barrel("SB-1"); string(b.Psk) == string(psk) {
		t.Error("the key did not change")
	}
}

func TestBatchRefusesRowsForThemselves(t *testing.T) {
	s, n := newServer(t)
	rows := sendBatch(t, s, "",
		`{"terminal":{"imsi":"46","apns":["seal.corp"],"msisdn":"x"}}`,
		`{"terminal":{"imsi":"460011234567890"}}`,
		rowPhone,
		rowBarrel,
		`{"barrel":{"id":"SB-2","mac":"02:00:00:00:00:01","seal_type":"contract","dtls_cert_sha256":"`+strings.Repeat("0", 64)+`","receipt_public_key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}}`,
		`{"barrel":{"id":"SB-3","mac":"02:00:00:00:00:03","seal_type":"contract","psk_identity":"SB-3","receipt_public_key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}}`,
		`{"terminal":{"imsi":"460011234567891","apns":["a"],"imzi":1}}`,
		`{"terminal":{"imsi":"460011234567890"},"check_in":"SB-1"}`,
		`{}`,
	)
	for i, want := range []string{
		"imsi: ", "apns: name at least one", "", "", "another barrel has this MAC address", "psk_identity and psk go together",
		`unknown field "imzi"`, "a row is one of", "a row is one of",
	} {
		if r := rows[i]; (want == "") != (r.Outcome == adminapi.RowAdded) || !strings.Contains(r.Detail, want) || strings.Contains(r.Detail, "\n") {
			t.Errorf("row %d: %+v, want %q", i, r, want)
		}
	}
	if !strings.Contains(rows[0].Detail, "; msisdn: ") {
		t.Errorf("not every mistake is told: %q", rows[0].Detail)
	}
	if n.machine.Subscriber(phone) == nil || n.machine.Barrel("SB-1") == nil || n.machine.Barrel("SB-2") != nil {
		t.Error("the good rows were not carried out, or a bad one was")
	}
}

func TestBatchLeavesStatesAlone(t *testing.T) {
	s, n := newServer(t)
	revoked := `{"terminal":{"imsi":"460011234567891","apns":["a"],"state":"revoked","revoke_reason":"lost at sea"}}`
	expect(t, sendBatch(t, s, "", rowPhone, revoked, revoked), "added, added, unchanged")
	if r := n.machine.Subscriber("460011234567891"); r.State != command.DeviceState_REVOKED_DEVICE || r.RevokeReason != "lost at sea" {
		t.Errorf("%v", r)
	}
	expect(t, sendBatch(t, s, "", `{"terminal":{"imsi":"460011234567891","state":"active"}}`, `{"terminal":{"imsi":"460011234567890","state":"suspended"}}`, `{"terminal":{"imsi":"460011234567890","state":"happy"}}`, `{"terminal":{"imsi":"460011234567891","label":"x"}}`),
		"refused (state: it is not active; a state is changed by revoke, suspend and resume alone), refused (state: it is not suspended; a state is changed by revoke, suspend and resume alone), "+
			`refused (state: "happy" is none of active, suspended and revoked), refused (the subscriber is revoked, for ever)`)
	if _, err := n.Propose(t.Context(), command.New("test", "", "test", &command.SuspendDevice{Imsi: phone, Reason: "holiday"})); err != nil {
		t.Fatal(err)
	}
	expect(t, sendBatch(t, s, "", rowPhone, `{"terminal":{"imsi":"460011234567890","label":"x"}}`), "unchanged, changed")
	if r := n.machine.Subscriber(phone); r.State != command.DeviceState_SUSPENDED_DEVICE || r.SuspendReason != "holiday" || r.Label != "x" {
		t.Errorf("an import took a suspension back: %v", r)
	}
}

func TestBatchDryRun(t *testing.T) {
	s, n := newServer(t)
	rows := []string{rowPhone, rowBarrel, rowOut, `{"check_out":{"barrel":"SB-1","imsi":"460011234567899"}}`}
	expect(t, sendBatch(t, s, `,"dry_run":true`, rows...), "added, added, changed, refused (no such subscriber)")
	expect(t, sendBatch(t, s, `,"dry_run":true,"assume":["460011234567890"]`, rows[1:]...), "added, changed, refused (no such subscriber)")
	if n.index != 0 || n.machine.Subscriber(phone) != nil {
		t.Error("a dry run changed something")
	}
	if w := s.send(t, operator, "POST", "/v1/devices/batch", "", `{"rows":[`+rowPhone+`],"assume":["460011234567890"]}`); w.Code != http.StatusBadRequest {
		t.Errorf("assumed without a dry run: %d %s", w.Code, w.Body)
	}
}

// A row is for what is there when it is carried out, unless it says for which
// version it was made.
func TestBatchVersions(t *testing.T) {
	s, _ := newServer(t)
	twice := `{"terminal":{"imsi":"460011234567890","apns":["seal.corp"],"label":"two"}}`
	expect(t, sendBatch(t, s, "", rowPhone, twice), "added, changed")
	expect(t, sendBatch(t, s, "", `{"terminal":{"imsi":"460011234567890","label":"three","version":1}}`, `{"terminal":{"imsi":"460011234567890","label":"two","version":1}}`),
		"refused (the subscriber is at version 2, not 1), refused (version: the record is at 2, not 1)")
	expect(t, sendBatch(t, s, "", `{"terminal":{"imsi":"460011234567890","label":"three","version":2}}`), "changed")
}

// A batch whose rows are long goes in several commands.
func TestBatchFitsIntoTheLog(t *testing.T) {
	s, n := newServer(t)
	var rows []string
	for i := range 900 {
		rows = append(rows, fmt.Sprintf(`{"terminal":{"imsi":"46001%010d","apns":["a"],"label":%q}}`, i, strings.Repeat("x", 2000)))
	}
	for _, r := range sendBatch(t, s, "", rows...) {
		if r.Outcome != adminapi.RowAdded {
			t.Fatalf("%+v", r)
		}
	}
	if n.index != 3 {
		t.Errorf("%d commands for 1.8 MB", n.index)
	}
}

func TestBatchBounds(t *testing.T) {
	s, _ := newServer(t)
	for _, body := range []string{
		`{"rows":[]}`, `{}`, `[]`, `{"rows":[` + strings.Repeat(rowOut+",", adminapi.MaxBatch) + rowOut + `]}`, `{"rows":[` + rowOut + `],"dryrun":true}`,
	} {
		if w := s.send(t, operator, "POST", "/v1/devices/batch", "", body); w.Code != http.StatusBadRequest {
			t.Errorf("%.40s: %d %s", body, w.Code, w.Body)
		}
	}
}

func TestBatchShowsNoKey(t *testing.T) {
	s, n := newServer(t)
	w := s.send(t, operator, "POST", "/v1/devices/batch", "", `{"rows":[`+rowBarrel+`,{"terminal":{"imsi":"460011234567890","apns":["a"],"credentials":{"user":"u","password":"open sesame","chap":true}}}]}`)
	if strings.Contains(w.Body.String(), "AAAAAA") || strings.Contains(w.Body.String(), "sesame") {
		t.Error(w.Body)
	}
	if k := n.machine.Barrel("SB-1").Psk; base64.StdEncoding.EncodeToString(k) == "AAAAAAAAAAAAAAAAAAAAAA==" {
		t.Error("the key is in the log in clear")
	}
}

// Where others have to approve changes of devices, the good rows are one change.
func TestBatchWaitsForApproval(t *testing.T) {
	s, n := newServer(t)
	document := `{apiVersion: sealedge.dev/v1, kind: Policy, spec: {apns: [{name: seal.corp, gateway: 10.90.0.1, pools: [10.90.0.0/16]}], levels: {1: {methods: [fingerprint]}}, sealTypes: {contract: {level: 1, maxCount: 1, maxWindow: 1h}}, servers: [seal.example.org], changeControl: {approvals: {devices: 1}, breakGlass: true}}}`
	if r, err := n.Propose(t.Context(), command.New("test", "", "test", &command.PutPolicy{Document: []byte(document)})); err != nil || r.Code != command.Code_OK {
		t.Fatal(r, err)
	}
	rows := []string{rowPhone, `{"terminal":{"imsi":"46"}}`, `{"check_out":{"barrel":"SB-9","imsi":"460011234567890"}}`, `{"terminal":{"imsi":"460011234567891","apns":["seal.corp"]}}`}
	body := `{"rows":[` + strings.Join(rows, ",") + `],"reason":"new phones"}`
	for range 2 { // its answer may be lost
		w := s.send(t, operator, "POST", "/v1/devices/batch", "once", body)
		var done adminapi.DeviceBatchDone
		if err := json.Unmarshal(w.Body.Bytes(), &done); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		for i, want := range []string{adminapi.RowPending, adminapi.RowRefused, adminapi.RowRefused, adminapi.RowPending} {
			if done.Rows[i].Outcome != want {
				t.Errorf("row %d: %+v, want %s", i, done.Rows[i], want)
			}
		}
		if len(done.Changes) != 1 || done.Changes[0] != 1 || n.machine.Subscriber(phone) != nil {
			t.Errorf("%s", w.Body)
		}
	}
	if c := n.machine.Change(1); c.Reason != "new phones" || len(c.Devices.GetChanges()) != 2 {
		t.Errorf("%v", c)
	}
	w := s.send(t, operator, "POST", "/v1/devices/batch?break_glass=true", "", body)
	if !strings.Contains(w.Body.String(), `"added"`) || n.machine.Subscriber(phone) == nil || n.machine.Subscriber("460011234567891") == nil {
		t.Errorf("broken glass: %s", w.Body)
	}
}
