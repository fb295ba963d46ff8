package devicefile

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// form is how a field is written.
type form int

const (
	text form = iota
	list
	truth
)

type field struct {
	name  string
	form  form
	alias string // what people call its column as well
}

// fields of the kinds, in the order of exported columns.
var fields = map[string][]field{
	Terminals: {
		{"imsi", text, ""},
		{"msisdn", text, ""},
		{"imeis", list, "imei"},
		{"apns", list, "apn"},
		{"groups", list, "group"},
		{"label", text, ""},
		{"static_address", text, ""},
		{"static_prefix6", text, ""},
		{"wifi_mac", text, ""},
		{"device_cert_sha256", text, ""},
		{"wireguard_public_key", text, ""},
		{"user", text, ""},
		{"chap", truth, ""},
		{"password_file", text, ""},
		{"announced_imei", text, ""},
		{"announced_until", text, ""},
		{"state", text, ""},
		{"revoke_reason", text, ""},
	},
	Barrels: {
		{"id", text, "barrel"},
		{"mac", text, ""},
		{"seal_type", text, ""},
		{"label", text, ""},
		{"psk_identity", text, ""},
		{"psk_file", text, ""},
		{"dtls_cert_sha256", text, ""},
		{"receipt_public_key", text, ""},
		{"checked_out_to", text, ""},
		{"state", text, ""},
		{"revoke_reason", text, ""},
	},
}

// notExported are fields that an export doesn't have: names of files that it can't
// know, and what is over soon.
var notExported = []string{"password_file", "psk_file", "announced_imei", "announced_until"}

// secret columns are for YAML alone, if at all: a spreadsheet is mailed around.
var secret = map[string]string{"psk": "psk_file", "password": "password_file"}

// nameOf is the field that names a device.
func nameOf(kind string) string { return fields[kind][0].name }

func fieldOf(kind, name string) (field, bool) {
	i := slices.IndexFunc(fields[kind], func(f field) bool { return f.name == name || f.alias == name && name != "" })
	if i < 0 {
		return field{}, false
	}
	return fields[kind][i], true
}

// names are all that a kind's fields may be called.
func names(kind string) (all []string) {
	for _, f := range fields[kind] {
		all = append(all, f.name)
	}
	return all
}

// parse makes a value of what a cell has.
func (f field) parse(cell string) (any, error) {
	switch f.form {
	case list:
		return words(cell), nil
	case truth:
		switch strings.ToLower(cell) {
		case "", "no", "n":
			return false, nil
		case "yes", "y":
			return true, nil
		}
		v, err := strconv.ParseBool(cell)
		if err != nil {
			return nil, fmt.Errorf("%s: %q is neither yes nor no", f.name, cell)
		}
		return v, nil
	}
	return cell, nil
}

// words are the parts of a list in a cell.
func words(cell string) []string {
	w := strings.FieldsFunc(cell, func(r rune) bool { return strings.ContainsRune(" ,;|\t\n\r", r) })
	if w == nil {
		w = []string{}
	}
	return w
}
