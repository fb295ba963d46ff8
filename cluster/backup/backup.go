// Package backup is the file format of a backup: the replicated state at one log
// entry, and the whole audit chain up to it, encrypted to age recipients
// (https://age-encryption.org/v1). What is encrypted is a tar archive:
//
//	sealedge-backup   the format's version
//	state             a snapshot of the state machine (cluster/state)
//	audit/FIRST-LAST  entries of the audit chain, each behind its length as a varint
//	manifest.json     what is in it, for people
//
// The node encrypts, so that there is no place outside of the nodes where a
// backup is in clear. Wrapped secrets (edge/keywrap) are in it as they are in the
// state: wrapped. The key that wraps them, and certificates, are not in it.
package backup

import (
	"archive/tar"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"filippo.io/age"
	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// Names of the archive's files.
const (
	fileVersion  = "sealedge-backup"
	fileState    = "state"
	dirAudit     = "audit/"
	fileManifest = "manifest.json"
)

const version = "1\n"

// maxAuditFile is the size of a part of the audit chain at which it is written
// out; maxAuditEntry bounds one entry.
const (
	maxAuditFile  = 1 << 20
	maxAuditEntry = 8 << 20
)

// Manifest says what a backup holds. All of it is drawn from the rest, and
// compared with it by Read.
type Manifest struct {
	Node          string       `json:"node"` // that made it
	Created       time.Time    `json:"created"`
	Index         uint64       `json:"index"` // of the last log entry in it
	Term          uint64       `json:"term"`  // of that entry
	Clock         time.Time    `json:"clock"` // of the cluster
	Epoch         uint64       `json:"epoch"`
	Policy        uint64       `json:"policy_revision"`
	Counts        state.Counts `json:"counts"`
	Digest        string       `json:"digest"` // SHA-256 of the state, hexadecimal
	AuditSequence uint64       `json:"audit_sequence"`
	AuditHead     string       `json:"audit_head"` // hexadecimal
}

// manifestOf is all of a manifest that the state tells.
func manifestOf(m *state.Machine) Manifest {
	sequence, head := m.AuditHead()
	digest := m.Digest()
	return Manifest{
		Index: m.Index(), Clock: m.Clock(), Epoch: max(m.Epoch().GetNumber(), 1), Policy: m.PolicyRevision(), Counts: m.Counts(),
		Digest: hex.EncodeToString(digest[:]), AuditSequence: sequence, AuditHead: hex.EncodeToString(head[:]),
	}
}

// Source is what a backup is made of.
type Source struct {
	Node    string
	Created time.Time
	Machine *state.Machine                        // a clone: the original goes on
	Audit   iter.Seq2[*command.AuditEntry, error] // the chain, from its start to the machine's head
}

// ErrEmpty: there is nothing to back up yet.
var ErrEmpty = errors.New("nothing was ever written: there is nothing to back up")

// Write makes a backup. After an error what was written is no backup, and Read
// says so.
func Write(w io.Writer, to []age.Recipient, s Source) error {
	manifest := manifestOf(s.Machine)
	if manifest.AuditSequence == 0 {
		return ErrEmpty
	}
	if len(to) == 0 {
		return errors.New("no recipient: a backup is never written in clear")
	}
	sealed, err := age.Encrypt(w, to...)
	if err != nil {
		return err
	}
	out := &archive{tar.NewWriter(sealed), s.Created}
	if err := out.file(fileVersion, []byte(version)); err != nil {
		return err
	}
	// The size goes before the content. Writing twice is quicker than keeping it.
	var size counter
	if err := s.Machine.WriteSnapshot(&size); err != nil {
		return err
	}
	if err := out.begin(fileState, int64(size)); err != nil {
		return err
	}
	if err := s.Machine.WriteSnapshot(out); err != nil {
		return err
	}
	if manifest.Term, err = out.audit(s.Audit); err != nil {
		return err
	}
	manifest.Node, manifest.Created = s.Node, s.Created.UTC()
	text, err := json.MarshalIndent(manifest, "", "  ")
	if err != nil {
		return err
	}
	if err := out.file(fileManifest, append(text, '\n')); err != nil {
		return err
	}
	return errors.Join(out.Close(), sealed.Close())
}

type counter int64

func (c *counter) Write(b []byte) (int, error) { *c += counter(len(b)); return len(b), nil }

type archive struct {
	*tar.Writer
	at time.Time
}

func (a *archive) begin(name string, size int64) error {
	return a.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: a.at})
}

func (a *archive) file(name string, content []byte) error {
	if err := a.begin(name, int64(len(content))); err != nil {
		return err
	}
	_, err := a.Write(content)
	return err
}

// audit writes the chain in parts, and returns the term of its last entry.
func (a *archive) audit(entries iter.Seq2[*command.AuditEntry, error]) (term uint64, err error) {
	var part bytes.Buffer
	var first, last uint64
	flush := func() error {
		if part.Len() == 0 {
			return nil
		}
		defer part.Reset()
		return a.file(fmt.Sprintf("%s%020d-%020d", dirAudit, first, last), part.Bytes())
	}
	for e, err := range entries {
		if err != nil {
			return 0, fmt.Errorf("audit: %w", err)
		}
		if part.Len() == 0 {
			first = e.Sequence
		}
		if _, err := protodelim.MarshalTo(&part, e); err != nil {
			return 0, err
		}
		last, term = e.Sequence, e.Term
		if part.Len() >= maxAuditFile {
			if err := flush(); err != nil {
				return 0, err
			}
		}
	}
	return term, flush()
}

// Recipients reads age recipients, such as age1....
func Recipients(texts []string) ([]age.Recipient, error) {
	for _, t := range texts {
		if strings.ContainsAny(t, "\r\n") || strings.HasPrefix(strings.TrimSpace(t), "#") || strings.TrimSpace(t) == "" {
			return nil, fmt.Errorf("%q is no age recipient", t)
		}
	}
	if len(texts) == 0 {
		return nil, errors.New("no recipient: name at least one, such as age1...; age-keygen makes them")
	}
	return age.ParseRecipients(strings.NewReader(strings.Join(texts, "\n")))
}

// Identities reads an age identity file, as age-keygen makes it.
func Identities(r io.Reader) ([]age.Identity, error) { return age.ParseIdentities(r) }
