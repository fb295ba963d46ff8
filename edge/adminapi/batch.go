package adminapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sealedge/sealedge/policy/ident"
)

// MaxBatch is how many rows a DeviceBatch has at most.
const MaxBatch = 1_000

// DeviceBatch changes many devices at once. Each row is for itself: one that is
// refused changes nothing, and the others are carried out. Sending a batch again
// does no harm, since what is there already is left as it is.
type DeviceBatch struct {
	Rows   []DeviceRow `json:"rows"`
	DryRun bool        `json:"dry_run,omitempty"` // say what would be done, and do nothing
	// Assume names terminals that a dry run takes to be on the list, since a batch
	// before it would put them there.
	Assume []string `json:"assume,omitempty"`
	Reason string   `json:"reason,omitempty"` // for whoever has to approve it
}

// DeviceRow is one of: a Terminal, a Barrel, a check-out, a check-in. Terminal and
// Barrel say what is to be different: fields that they don't have stay as they are
// stored, and so do state, credentials and pre-shared key. A field is emptied by an
// empty value.
type DeviceRow struct {
	Terminal json.RawMessage `json:"terminal,omitempty"`
	Barrel   json.RawMessage `json:"barrel,omitempty"`
	CheckOut *Custody        `json:"check_out,omitempty"`
	CheckIn  string          `json:"check_in,omitempty"` // the id of a barrel
}

// Custody is a barrel in the hands of a terminal.
type Custody struct {
	Barrel string `json:"barrel"`
	IMSI   string `json:"imsi"`
}

// What becomes of a row.
const (
	RowAdded     = "added"
	RowChanged   = "changed"
	RowUnchanged = "unchanged" // it is so already
	RowRefused   = "refused"
	RowPending   = "pending" // others have to approve it
)

// DeviceBatchDone tells what became of each row, in their order.
type DeviceBatchDone struct {
	Rows    []RowOutcome `json:"rows"`
	Changes []uint64     `json:"changes,omitempty"` // that rows have become, and that wait for approval unless glass was broken
}

// RowOutcome is what became of one, or would become of it.
type RowOutcome struct {
	Outcome string `json:"outcome"`
	Code    string `json:"code,omitempty"`    // of a refusal, as problems have it
	Detail  string `json:"detail,omitempty"`  // of a refusal
	Version uint64 `json:"version,omitempty"` // of the record
}

// RowMistake is what is wrong with a row, on one line.
func RowMistake(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// Amended is the terminal with what a row says of it. State, version and reasons
// are the row's alone.
func (t Terminal) Amended(row json.RawMessage) (Terminal, error) {
	t.IMEIs, t.APNs, t.Groups = slices.Clone(t.IMEIs), slices.Clone(t.APNs), slices.Clone(t.Groups)
	t.Credentials, t.State, t.Version, t.RevokeReason = nil, "", 0, ""
	return t, strictly(row, &t)
}

// Amended is the barrel with what a row says of it. State, version and reasons are
// the row's alone.
func (b Barrel) Amended(row json.RawMessage) (Barrel, error) {
	b.State, b.Version, b.RevokeReason, b.GrantCounter, b.CheckedOutTo = "", 0, "", 0, ""
	return b, strictly(row, &b)
}

func strictly(doc json.RawMessage, into any) error {
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("the row is not the document that is expected: %w", err)
	}
	return nil
}

// Check finds what is wrong with a row whatever is stored, before it is sent.
func (r DeviceRow) Check() error {
	var err error
	switch {
	case r.kinds() != 1:
		return errors.New("a row is one of terminal, barrel, check_out and check_in")
	case r.Terminal != nil:
		// What may be stored is taken to be right.
		var t Terminal
		if t, err = (Terminal{APNs: []string{"stored"}}).Amended(r.Terminal); err == nil {
			_, err = t.Record()
		}
	case r.Barrel != nil:
		stored := Barrel{
			MAC: "02:00:00:00:00:01", SealType: "stored", PSKIdentity: "stored",
			DTLSCertSHA256: strings.Repeat("00", 32), ReceiptPublicKey: strings.Repeat("A", 43) + "=",
		}
		var b Barrel
		if b, err = stored.Amended(r.Barrel); err == nil {
			_, err = b.RecordWith(true)
		}
	case r.CheckOut != nil:
		_, err = r.CheckOut.Canonical()
	default:
		_, err = CanonicalBarrel(r.CheckIn)
	}
	return err
}

func (r DeviceRow) kinds() int {
	n := 0
	for _, there := range []bool{r.Terminal != nil, r.Barrel != nil, r.CheckOut != nil, r.CheckIn != ""} {
		if there {
			n++
		}
	}
	return n
}

// Canonical checks both names, and writes them as they are stored.
func (c Custody) Canonical() (Custody, error) {
	var m mistakes
	c.Barrel = text(&m, "barrel", c.Barrel, ident.ParseBarrelID)
	c.IMSI = text(&m, "imsi", c.IMSI, ident.ParseIMSI)
	return c, m.err()
}

// CanonicalBarrel checks a serial number, and writes it as it is stored.
func CanonicalBarrel(id string) (string, error) {
	var m mistakes
	id = text(&m, "barrel", id, ident.ParseBarrelID)
	return id, m.err()
}
