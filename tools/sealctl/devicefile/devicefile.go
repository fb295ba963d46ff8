// Package devicefile reads and writes the files in which people keep their
// terminals and barrels: CSV as spreadsheets make it, of terminals or of barrels,
// and YAML (or JSON) of both.
//
// A file says what is to be so. What it doesn't mention, a column or a key, it
// leaves as it is; a cell or value that is empty empties the field. Only custody is
// another matter: a barrel without a checked_out_to is left with whoever has it.
//
// Passwords and pre-shared keys stand in files of their own, which psk_file and
// password_file name.
package devicefile

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sealedge/sealedge/edge/adminapi"
)

// Kinds of devices.
const (
	Terminals = "terminals"
	Barrels   = "barrels"
)

// Row is one device of a file.
type Row struct {
	File string
	Line int    // where it begins, from 1
	Kind string // Terminals or Barrels
	Name string // IMSI or serial number, as the file has it
	// Device is what the file says of it, with what it hands out as another.
	Device  adminapi.DeviceRow
	Custody *adminapi.Custody // nil: the file says nothing about it
	// Err is what is wrong with it. Such a row must not be sent.
	Err error
}

// Secrets tells whether the row has a password: checking one takes the gateway
// milliseconds.
func (r Row) Secrets() bool {
	return r.Kind == Terminals && strings.Contains(string(r.Device.Terminal), `"password":`)
}

// Formats of files.
const (
	CSV  = "csv"
	YAML = "yaml"
)

// Format is a file's format by its name: CSV, or YAML for everything else that is
// known; empty if nothing is.
func Format(name string) string {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".csv", ".tsv", ".txt":
		return CSV
	case ".yaml", ".yml", ".json":
		return YAML
	}
	return ""
}

// maxFile is how long a file may be: some 100 bytes each for a million devices.
const maxFile = 128 << 20

// Read reads the devices of a file. dir is what names of secrets' files are
// relative to. The error is about the file as a whole; what is wrong with one row
// stands there.
func Read(name, format, dir string, r io.Reader) ([]Row, error) {
	doc, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(doc) > maxFile {
		return nil, fmt.Errorf("%s: the file has more than %d MB; split it", name, maxFile>>20)
	}
	f := &file{name: name, secrets: secrets{dir: dir}}
	text, err := plainText(doc)
	if err == nil && format == CSV {
		err = f.readCSV(text)
	} else if err == nil {
		err = f.readYAML(text)
	}
	if err != nil {
		return nil, fmt.Errorf("%s:%w", name, err)
	}
	return f.rows, nil
}

// file is one that is being read.
type file struct {
	name    string
	rows    []Row
	secrets secrets
}

// add makes a row of the values of fields. Values are texts, lists of texts or
// booleans; mistakes are those that were found on the way.
func (f *file) add(line int, kind string, values map[string]any, mistakes []string) {
	r := Row{File: f.name, Line: line, Kind: kind}
	r.Name, _ = values[nameOf(kind)].(string)
	if r.Name == "" && len(mistakes) == 0 {
		mistakes = append(mistakes, nameOf(kind)+": missing")
	}
	if values["announced_until"] == "" {
		values["announced_until"] = time.Time{}
	}
	fill := f.secrets.terminal
	if kind == Barrels {
		fill = f.secrets.barrel
		if imsi, _ := values["checked_out_to"].(string); imsi != "" {
			r.Custody = &adminapi.Custody{Barrel: r.Name, IMSI: imsi}
			if _, err := r.Custody.Canonical(); err != nil && len(mistakes) == 0 {
				mistakes = append(mistakes, "checked_out_to: "+adminapi.RowMistake(err))
			}
		}
		delete(values, "checked_out_to")
	}
	if err := fill(r.Name, values); err != nil {
		mistakes = append(mistakes, err.Error())
	}
	doc, err := json.Marshal(values)
	if err != nil {
		mistakes = append(mistakes, err.Error())
	}
	if kind == Barrels {
		r.Device.Barrel = doc
	} else {
		r.Device.Terminal = doc
	}
	if err := r.Device.Check(); len(mistakes) == 0 && err != nil {
		mistakes = append(mistakes, adminapi.RowMistake(err)+spreadsheet(err, values))
	}
	if len(mistakes) > 0 {
		r.Err = fmt.Errorf("%s", strings.Join(mistakes, "; "))
	}
	f.rows = append(f.rows, r)
}

// spreadsheet explains what spreadsheets make of long numbers: 4.6001E+14.
func spreadsheet(err error, values map[string]any) string {
	for _, name := range []string{"imsi", "msisdn"} {
		v, _ := values[name].(string)
		if strings.ContainsAny(v, "Ee") && strings.ContainsAny(v, "+.,") && strings.Contains(err.Error(), name) {
			return ": a spreadsheet has shortened the number; format the column as text, and fill it in again"
		}
	}
	return ""
}

// identities are the fields that no two devices may share.
var identities = []string{"imsi", "id", "mac", "psk_identity", "dtls_cert_sha256", "wireguard_public_key", "static_address", "static_prefix6"}

// MarkDuplicates gives every row an error that is about a device, or has an
// identity, that another row before it has.
func MarkDuplicates(rows []Row) {
	type claim struct{ kind, field, value string }
	first := map[claim]*Row{}
	for i := range rows {
		r := &rows[i]
		if r.Err != nil {
			continue
		}
		var values map[string]any
		doc := slices.Concat(r.Device.Terminal, r.Device.Barrel) // one of them is empty
		if json.Unmarshal(doc, &values) != nil {
			continue
		}
		for _, field := range identities {
			v, _ := values[field].(string)
			if v == "" {
				continue
			}
			if field != "psk_identity" && field != "wireguard_public_key" {
				v = strings.ToLower(v)
			}
			c := claim{r.Kind, field, strings.ReplaceAll(v, "-", ":")}
			if before := first[c]; before == nil {
				first[c] = r
			} else if r.Err == nil {
				r.Err = fmt.Errorf("%s: %s:%d has it already", field, before.File, before.Line)
			}
		}
	}
}
