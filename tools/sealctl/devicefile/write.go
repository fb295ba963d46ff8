package devicefile

import (
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

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
// left out.
func WriteYAML(w io.Writer, terminals []adminapi.Terminal, barrels []adminapi.Barrel) error {
	doc := &yaml.Node{Kind: yaml.MappingNode}
	ts, bs := &yaml.Node{Kind: yaml.SequenceNode}, &yaml.Node{Kind: yaml.SequenceNode}
	for _, t := range terminals {
		ts.Content = append(ts.Content, item(Terminals, terminalValues(t)))
	}
	for _, b := range barrels {
		bs.Content = append(bs.Content, item(Barrels, barrelValues(b)))
	}
	if terminals != nil {
		doc.Content = append(doc.Content, scalar(Terminals), ts)
	}
	if barrels != nil {
		doc.Content = append(doc.Content, scalar(Barrels), bs)
	}
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(doc); err != nil {
		return fmt.Errorf("yaml: %w", err)
	}
	return enc.Close()
}

func item(kind string, values map[string]any) *yaml.Node {
	n, credentials := &yaml.Node{Kind: yaml.MappingNode}, (*yaml.Node)(nil)
	for _, f := range exported(kind) {
		at := n
		if f.name == "user" && values["user"] != nil {
			credentials = &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
			n.Content = append(n.Content, scalar(givenCredentials), credentials)
		}
		if f.name == "user" || f.name == "chap" {
			at = credentials
		}
		switch v := values[f.name].(type) {
		case string:
			if v != "" {
				at.Content = append(at.Content, scalar(f.name), quoted(v))
			}
		case []string:
			if len(v) > 0 {
				l := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
				for _, w := range v {
					l.Content = append(l.Content, quoted(w))
				}
				at.Content = append(at.Content, scalar(f.name), l)
			}
		case bool:
			at.Content = append(at.Content, scalar(f.name), &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: fmt.Sprint(v)})
		}
	}
	return n
}

func scalar(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: s} }

// quoted is a text, in quotes where it would be something else without.
func quoted(s string) *yaml.Node {
	n := new(yaml.Node)
	n.SetString(s)
	return n
}
