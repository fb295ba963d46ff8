package devicefile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/sealedge/sealedge/edge/adminapi"
)

const phone, barrelKey = "460010000000001", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

// read reads a file and writes down what it says, a line each.
func read(t *testing.T, format, dir, doc string) string {
	t.Helper()
	rows, err := Read("f", format, dir, strings.NewReader(doc))
	if err != nil {
		return err.Error()
	}
	MarkDuplicates(rows)
	var b strings.Builder
	for _, r := range rows {
		fmt.Fprintf(&b, "%d ", r.Line)
		if r.Err != nil {
			fmt.Fprintf(&b, "%s\n", r.Err)
			continue
		}
		fmt.Fprintf(&b, "%s%s", r.Device.Terminal, r.Device.Barrel)
		if r.Custody != nil {
			fmt.Fprintf(&b, " to %s", r.Custody.IMSI)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func TestCSV(t *testing.T) {
	for name, c := range map[string]struct{ doc, want string }{
		"plain":                 {"imsi,apns,label\n460010000000001,seal.corp,one\n", `2 {"apns":["seal.corp"],"imsi":"460010000000001","label":"one"}`},
		"a mark before it":      {"\ufeffimsi,apns\r\n460010000000001,seal.corp\r\n", `2 {"apns":["seal.corp"],"imsi":"460010000000001"}`},
		"semicolons":            {"IMSI;APN;Groups\n460010000000001;seal.corp,other.corp;a b\n", `2 {"apns":["seal.corp","other.corp"],"groups":["a","b"],"imsi":"460010000000001"}`},
		"tabs":                  {"imsi\tWiFi MAC\n460010000000001\t\n", `2 {"imsi":"460010000000001","wifi_mac":""}`},
		"quotes":                {"imsi,label\n460010000000001,\"the \"\"big\"\" one,\nupstairs\"\n460010000000002,x\n", "2 {\"imsi\":\"460010000000001\",\"label\":\"the \\\"big\\\" one,\\nupstairs\"}\n4 {\"imsi\":\"460010000000002\",\"label\":\"x\"}"},
		"empty lines":           {"imsi,label\n\n,\n460010000000001,x\n ,  \n", `4 {"imsi":"460010000000001","label":"x"}`},
		"empty lists":           {"imsi,imeis\n460010000000001,\n", `2 {"imeis":[],"imsi":"460010000000001"}`},
		"an unnamed column":     {"imsi,,label\n460010000000001,,x\n460010000000002,y,x\n", "2 {\"imsi\":\"460010000000001\",\"label\":\"x\"}\n3 column 2: \"y\" is in no column that has a name"},
		"too short":             {"imsi,label\n460010000000001\n", "2 the row has 1 cells, the header has 2 columns"},
		"too long":              {"imsi,label\n460010000000001,x,y\n", `2 column 3: "y" is in no column that has a name`},
		"a bare quote":          {"imsi,label\n460010000000001,a \"b\n460010000000002,x\n", "2 column 19: a quote in the middle of a cell; write \"\" for one, and quotes around the cell\n3 {\"imsi\":\"460010000000002\",\"label\":\"x\"}"},
		"an open quote":         {"imsi,label\n460010000000001,\"a\n460010000000002,x\n", "2 a quote is opened and never closed, up to line 3"},
		"shortened":             {"imsi,apns\n4.6001E+14,seal.corp\n", `2 imsi: invalid identifier: IMSI "4.6001E+14"`},
		"several mistakes":      {"imsi,apns,chap,msisdn\n46,seal.corp,perhaps,x\n", `2 chap: "perhaps" is neither yes nor no`},
		"several by name":       {"imsi,apns,msisdn\n46,seal.corp,x\n", "2 imsi: "},
		"duplicates":            {"imsi,wifi_mac\n460010000000001,\n460010000000002,\n460010000000001,\n", "4 imsi: f:2 has it already"},
		"no column":             {"phone,label\n1,2\n", "f:1: no column is called imsi"},
		"both kinds":            {"imsi,id\n1,2\n", "f:1: the columns imsi and id are both there"},
		"a wrong column":        {"imsi,labell\n", `f:1: column 2: "labell" is not known; columns of terminals are imsi, msisdn`},
		"a column twice":        {"imsi,apn,apns\n", "f:1: column 3: apns is there twice"},
		"a secret":              {"id,psk\n", "f:1: column 2: psk doesn't belong into a table that is mailed around; put it into a file, which the column psk_file names"},
		"empty":                 {"", "f:1: the file is empty"},
		"a header alone":        {"imsi,label\n", ""},
		"not UTF-8":             {"imsi,label\n460010000000001,caf\xe9\n", "f:2: the file is no UTF-8"},
		"binary":                {"imsi,label\n1,\x00\n", "f:2: the file has a zero byte"},
		"a header with a quote": {"imsi,\"label\n1,2\n", "f:1: a quote is opened and never closed, up to line 2"},
		"without a name":        {"imsi,label\n,x\n", "2 imsi: missing"},
		"swap":                  {"imsi,announced_imei,announced_until\n460010000000001,,\n", `2 {"announced_imei":"","announced_until":"0001-01-01T00:00:00Z","imsi":"460010000000001"}`},
		"credentials":           {"imsi,user,chap\n460010000000001,phone,yes\n460010000000002,,\n460010000000003,,yes\n", "2 {\"credentials\":{\"chap\":true,\"user\":\"phone\"},\"imsi\":\"460010000000001\"}\n3 {\"credentials\":{},\"imsi\":\"460010000000002\"}\n4 credentials.user: missing"},
		"barrels":               {"id,mac,seal_type,checked_out_to\nSB-1,02:00:00:00:00:01,contract,460010000000001\nSB-2,02-00-00-00-00-01,contract,\nSB-3,02:00:00:00:00:03,contract,li\n", "2 {\"id\":\"SB-1\",\"mac\":\"02:00:00:00:00:01\",\"seal_type\":\"contract\"} to 460010000000001\n3 mac: f:2 has it already\n4 checked_out_to: imsi: "},
	} {
		t.Run(name, func(t *testing.T) {
			got := strings.TrimSuffix(read(t, CSV, ".", c.doc), "\n")
			if !strings.Contains(got, c.want) || c.want == "" && got != "" {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
		})
	}
	if got := read(t, CSV, ".", "imsi,apns\n4.6001E+14,seal.corp\n"); !strings.Contains(got, "a spreadsheet has shortened the number") {
		t.Error(got)
	}
	var wide bytes.Buffer
	for _, u := range utf16.Encode([]rune("\ufeffimsi\n1\n")) {
		wide.Write([]byte{byte(u), byte(u >> 8)})
	}
	if got := read(t, CSV, ".", wide.String()); !strings.Contains(got, "UTF-16; save it as UTF-8") {
		t.Error(got)
	}
}

func TestYAML(t *testing.T) {
	for name, c := range map[string]struct{ doc, want string }{
		"both": {
			"terminals:\n  - imsi: 460010000000001\n    apns: [seal.corp]\n    label: ~\nbarrels:\n  - id: SB-1\n    psk_identity: SB-1\n    checked_out_to: 460010000000001\n",
			"2 {\"apns\":[\"seal.corp\"],\"imsi\":\"460010000000001\",\"label\":\"\"}\n6 {\"id\":\"SB-1\",\"psk_identity\":\"SB-1\"} to 460010000000001",
		},
		"JSON":               {`{"terminals": [{"imsi": "460010000000001"}]}`, `1 {"imsi":"460010000000001"}`},
		"nothing of one":     {"terminals:\nbarrels: []\n", ""},
		"credentials":        {"terminals:\n- imsi: 460010000000001\n  credentials: {user: phone, password: open sesame, chap: true}\n- imsi: 460010000000002\n  credentials: {}\n- imsi: 460010000000003\n  credentials:\n", "2 {\"credentials\":{\"chap\":true,\"password\":\"open sesame\",\"user\":\"phone\"},\"imsi\":\"460010000000001\"}\n4 {\"credentials\":{},\"imsi\":\"460010000000002\"}\n6 {\"imsi\":\"460010000000003\"}"},
		"an anchor":          {"terminals:\n- imsi: 460010000000001\n  apns: &a [x]\n- imsi: 460010000000002\n  apns: *a\n", "4 {\"apns\":[\"x\"],\"imsi\":\"460010000000002\"}"},
		"a mistyped field":   {"terminals:\n- imzi: 460010000000001\n", "2 field imzi not found in terminals"},
		"an alias of CSV":    {"terminals:\n- imsi: 460010000000001\n  apn: x\n", "2 field apn not found in terminals"},
		"a mistyped list":    {"phones: []\n", `f:1: "phones" is not known; the lists are terminals and barrels`},
		"user out of place":  {"terminals:\n- imsi: 460010000000001\n  user: x\n", "2 field user not found in terminals; it belongs into credentials"},
		"no list":            {"terminals: 7\n", "f:1: terminals is no list"},
		"no mapping":         {"terminals:\n- 7\n", "2 2: here names with values are expected"},
		"a list for a text":  {"terminals:\n- imsi: [1]\n", "2 imsi: want one value"},
		"a text for a list":  {"terminals:\n- imsi: 460010000000001\n  apns: x\n", "2 apns: want a list, such as [seal.corp]"},
		"a key twice":        {"terminals:\n- imsi: 460010000000001\n  imsi: 2\n", "imsi"},
		"no YAML":            {"\tx: [", "f: yaml: "},
		"empty":              {"", "f:1: the file is empty"},
		"a psk of a phone":   {"terminals:\n- imsi: 460010000000001\n  psk: x\n", "2 field psk not found in terminals"},
		"a text at the root": {"hello", "f:1: here names with values are expected"},
	} {
		t.Run(name, func(t *testing.T) {
			got := strings.TrimSuffix(read(t, YAML, ".", c.doc), "\n")
			if !strings.Contains(got, c.want) || c.want == "" && got != "" {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestSecretsAreRead(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"one": "open sesame!", "single": "opensesame\n", "many": "SB-1 AAAAAAAAAAAAAAAAAAAAAA==\nsb-2 AQEBAQEBAQEBAQEBAQEBAQ==\n", "twice": "SB-1 x\nSB-1 y\n", "empty": "\n", "words": "460010000000001 open  sesame\r\n460010000000002 x\r\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ doc, want string }{
		{"id,psk_identity,psk_file\nSB-1,SB-1,many\nSB-2,SB-2,many\nSB-3,SB-3,many\nSB-4,SB-4,\n", `2 {"id":"SB-1","psk":"AAAAAAAAAAAAAAAAAAAAAA==","psk_identity":"SB-1"}`},
		{"id,psk_identity,psk_file\nsb-2,SB-2,many\n", `"psk":"AQEBAQEBAQEBAQEBAQEBAQ=="`},
		{"id,psk_identity,psk_file\nSB-3,SB-3,many\n", "2 psk_file: " + filepath.Join(dir, "many") + " has no line for SB-3"},
		{"id,psk_identity,psk_file\nSB-4,SB-4,\n", `2 {"id":"SB-4","psk_identity":"SB-4"}`},
		{"id,psk_identity,psk_file\nSB-4,SB-4,nowhere\n", "2 psk_file: stat " + filepath.Join(dir, "nowhere") + ": no such file"},
		{"id,psk_identity,psk_file\nSB-4,SB-4,.\n", "is no file"},
		{"id,psk_identity,psk_file\nSB-4,SB-4,twice\n", "line 2 is not a device's name"},
		{"id,psk_identity,psk_file\nSB-4,SB-4,empty\n", "is empty"},
		{"imsi,user,password_file\n460010000000001,phone,single\n", `"password":"opensesame"`},
		{"imsi,user,password_file\n460010000000001,phone,words\n", `"password":"open  sesame"`},
		{"imsi,user,password_file\n460010000000001,,single\n", "2 credentials.user: missing"},
		{"imsi,password_file\n460010000000001,single\n", "2 user: missing: a password goes with a user name"},
	} {
		if got := read(t, CSV, dir, c.doc); !strings.Contains(got, c.want) {
			t.Errorf("\n got %s\nwant %s", got, c.want)
		}
	}
	// What is wrong with a file of secrets is told without them.
	if got := read(t, CSV, dir, "id,psk_identity,psk_file\nSB-4,SB-4,one\n"); strings.Contains(got, "sesame") {
		t.Error(got)
	}
}

func TestFormats(t *testing.T) {
	for name, want := range map[string]string{"a.csv": CSV, "a.CSV": CSV, "a.yaml": YAML, "a.yml": YAML, "a.json": YAML, "a": "", "a.xlsx": ""} {
		if got := Format(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

var (
	terminals = []adminapi.Terminal{
		{
			IMSI: phone, MSISDN: "8613800000001", IMEIs: []string{"35693803564380", "35693803564399"}, APNs: []string{"seal.corp", "b"}, Groups: []string{"a", "head-office"},
			Label: "=the \"big\" one, upstairs\n~", StaticAddress: "10.90.0.9", StaticPrefix6: "fd00:90:0:7::/64", WiFiMAC: "02:00:5e:10:00:01", DeviceCertSHA256: strings.Repeat("ab", 32),
			WireGuardPublicKey: barrelKey, Credentials: &adminapi.Credentials{User: "phone", PAP: true, CHAP: true}, State: "active", Version: 7,
		},
		{IMSI: "460010000000002", APNs: []string{"seal.corp"}, State: "revoked", RevokeReason: "lost: ~"},
		{IMSI: "460010000000003", APNs: []string{"seal.corp"}, Label: "null", State: "suspended", Credentials: &adminapi.Credentials{User: "0x10"}},
	}
	barrels = []adminapi.Barrel{
		{ID: "SB-1", MAC: "02:00:5e:10:00:01", SealType: "contract", PSKIdentity: "SB-1", ReceiptPublicKey: barrelKey, CheckedOutTo: phone, State: "active", GrantCounter: 9},
		{ID: "0123", MAC: "02:00:5e:10:00:02", SealType: "finance", DTLSCertSHA256: strings.Repeat("cd", 32), ReceiptPublicKey: barrelKey, State: "suspended"},
	}
)

// What is exported is what an import says, word for word.
func TestExportsImport(t *testing.T) {
	var table, tableOfBarrels, doc bytes.Buffer
	for _, err := range []error{WriteTerminals(&table, terminals), WriteBarrels(&tableOfBarrels, barrels), WriteYAML(&doc, terminals, barrels)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	check := func(format, text string, wantTerminals, wantBarrels int) {
		t.Helper()
		rows, err := Read("export", format, ".", strings.NewReader(text))
		if err != nil || len(rows) != wantTerminals+wantBarrels {
			t.Fatalf("%s: %d rows, %v\n%s", format, len(rows), err, text)
		}
		for i, r := range rows {
			if r.Err != nil {
				t.Fatalf("%s: row %d: %v\n%s", format, i, r.Err, text)
			}
			if r.Kind == Terminals {
				want := terminals[i]
				want.Version = 0
				got, err := adminapi.Terminal{}.Amended(r.Device.Terminal)
				if c := got.Credentials; c != nil && want.Credentials != nil {
					c.PAP = want.Credentials.PAP
				} else if c != nil && c.Removed() {
					got.Credentials = nil
				}
				for _, l := range []*[]string{&got.IMEIs, &got.Groups} {
					if len(*l) == 0 {
						*l = nil
					}
				}
				if err != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("%s:\n got %+v %v\nwant %+v", format, got, err, want)
				}
				continue
			}
			want := barrels[i-wantTerminals]
			got, err := adminapi.Barrel{}.Amended(r.Device.Barrel)
			if r.Custody != nil {
				got.CheckedOutTo = r.Custody.IMSI
			}
			want.GrantCounter = 0
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s:\n got %+v %v\nwant %+v", format, got, err, want)
			}
		}
	}
	check(CSV, table.String(), len(terminals), 0)
	check(CSV, tableOfBarrels.String(), 0, len(barrels))
	check(YAML, doc.String(), len(terminals), len(barrels))
}

// FuzzCSV: whatever a table has, it is read without a crash; rows without an error
// can be sent, and lines are in order.
func FuzzCSV(f *testing.F) {
	for _, s := range []string{
		"imsi,apns,label\n460010000000001,seal.corp,one\n", "\ufeffid;mac;seal_type\r\nSB-1;02:00:00:00:00:01;contract\r\n", "imsi,label\n1,\"a\nb\"\n,\n2,\"x", "imsi\tuser\tchap\n1\tu\ty\n",
		"imsi,announced_imei,announced_until\n460010000000001,35693803564380,2026-12-01T00:00:00Z\n", "id,checked_out_to\nSB-1,460010000000001\n", "imsi,,\n1,,\n", "\"\"", "imsi\r1",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		rows, err := Read("f", CSV, "/nowhere", bytes.NewReader(doc))
		if err != nil {
			return
		}
		MarkDuplicates(rows)
		line, seen := 1, map[string]bool{}
		for _, r := range rows {
			if r.Line <= line {
				t.Fatalf("line %d after %d", r.Line, line)
			}
			line = r.Line
			if r.Err != nil {
				continue
			}
			if err := r.Device.Check(); err != nil {
				t.Fatalf("row %d: %v", r.Line, err)
			}
			if _, err := json.Marshal(r.Device); err != nil {
				t.Fatal(err)
			}
			if name := strings.ToUpper(r.Name); seen[name] {
				t.Fatalf("%s twice", name)
			} else {
				seen[name] = true
			}
		}
	})
}

// FuzzYAML is the same of documents.
func FuzzYAML(f *testing.F) {
	for _, s := range []string{"terminals:\n- imsi: 1\n  credentials: {user: x}\n", "barrels: [{id: SB-1, psk: AAAA}]", "a: &a [*a]", "terminals: [&a {imsi: *a}]", "? {a: b}\n: c"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		rows, err := Read("f", YAML, "/nowhere", bytes.NewReader(doc))
		if err != nil {
			return
		}
		for _, r := range rows {
			if r.Err == nil && r.Device.Check() != nil {
				t.Fatalf("row %d", r.Line)
			}
		}
	})
}
