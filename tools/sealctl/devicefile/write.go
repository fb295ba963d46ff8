package devicefile

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/sealedge/sealedge/edge/adminapi"
)

// exported are a kind's columns in an export.
func exported(kind string) (all []field) {
	for _, f := range fields[kind] {
		if !slices.Contains(notExported, f.name) {
			all = append(all, f)
		}
	}
	return all
}

// terminalValues are what an export says of a terminal.
func terminalValues(t adminapi.Terminal) map[string]any {
	v := map[string]any{
		"imsi": t.IMSI, "msisdn": t.MSISDN, "imeis": t.IMEIs, "apns": t.APNs, "groups": t.Groups, "label": t.Label,
		"static_address": t.StaticAddress, "static_prefix6": t.StaticPrefix6, "wifi_mac": t.WiFiMAC, "device_cert_sha256": t.DeviceCertSHA256,
		"wireguard_public_key": t.WireGuardPublicKey, "state": t.State, "revoke_reason": t.RevokeReason,
	}
	if c := t.Credentials; c != nil {
		v["user"], v["chap"] = c.User, c.CHAP
	}
	return v
}

func barrelValues(b adminapi.Barrel) map[string]any {
	return map[string]any{
		"id": b.ID, "mac": b.MAC, "seal_type": b.SealType, "label": b.Label, "psk_identity": b.PSKIdentity, "dtls_cert_sha256": b.DTLSCertSHA256,
		"receipt_public_key": b.ReceiptPublicKey, "checked_out_to": b.CheckedOutTo, "state": b.State, "revoke_reason": b.RevokeReason,
	}
}

// WriteTerminals writes a table of terminals, without passwords.
func WriteTerminals(w io.Writer, all []adminapi.Terminal) error {
	return writeCSV(w, Terminals, len(all), func(i int) map[string]any { return terminalValues(all[i]) })
}

// WriteBarrels writes a table of barrels, without keys.
func WriteBarrels(w io.Writer, all []adminapi.Barrel) error {
	return writeCSV(w, Barrels, len(all), func(i int) map[string]any { return barrelValues(all[i]) })
}

func writeCSV(w io.Writer, kind string, n int, values func(int) map[string]any) error {
	cw := csv.NewWriter(w)
	columns := exported(kind)
	cells := make([]string, len(columns))
	for i, c := range columns {
		cells[i] = c.name
	}
	_ = cw.Write(cells) // Flush has the error
	for i := range n {
		v := values(i)
		for j, c := range columns {
			cells[j] = cell(v[c.name])
		}
		_ = cw.Write(cells)
	}
	cw.Flush()
	return cw.Error()
}

// cell writes a value as parse reads it.
func cell(value any) string {
	switch v := value.(type) {
	case string:
		return v
	case []string:
		return strings.Join(v, " ")
	case bool:
		if v {
			return "yes"
		}
		return "no"
	}
	return ""
}

// WriteYAML writes a document of both, without passwords and keys. What is empty is
// left out; nil lists are. Texts are quoted as JSON quotes them, so that none is
// taken for something else.
func WriteYAML(w io.Writer, terminals []adminapi.Terminal, barrels []adminapi.Barrel) error {
	b := bufio.NewWriter(w) // Flush has the error
	list := func(kind string, there bool, n int, values func(int) map[string]any) {
		switch {
		case !there:
			return
		case n == 0:
			fmt.Fprintf(b, "%s: []\n", kind)
			return
		}
		fmt.Fprintf(b, "%s:\n", kind)
		columns := exported(kind)
		for i := range n {
			writeItem(b, columns, values(i))
		}
	}
	list(Terminals, terminals != nil, len(terminals), func(i int) map[string]any { return terminalValues(terminals[i]) })
	list(Barrels, barrels != nil, len(barrels), func(i int) map[string]any { return barrelValues(barrels[i]) })
	return b.Flush()
}

func writeItem(b *bufio.Writer, columns []field, values map[string]any) {
	lead := "  - "
	for _, f := range columns {
		switch v := values[f.name].(type) {
		case string:
			if f.name == "user" {
				fmt.Fprintf(b, "%s%s: {user: %s, chap: %v}\n", lead, givenCredentials, quoted(v), values["chap"])
			} else if v != "" {
				fmt.Fprintf(b, "%s%s: %s\n", lead, f.name, quoted(v))
			} else {
				continue
			}
		case []string:
			if len(v) == 0 {
				continue
			}
			words := make([]string, len(v))
			for i, w := range v {
				words[i] = quoted(w)
			}
			fmt.Fprintf(b, "%s%s: [%s]\n", lead, f.name, strings.Join(words, ", "))
		default: // chap stands with the user
			continue
		}
		lead = "    "
	}
}

// quoted is a text in JSON, which is YAML too.
func quoted(s string) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a text can always be encoded
	return strings.TrimSuffix(b.String(), "\n")
}
