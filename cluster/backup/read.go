package backup

import (
	"archive/tar"
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"filippo.io/age"
	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// Errors of Read.
var (
	// ErrDamaged: some of it was changed or is missing.
	ErrDamaged = errors.New("backup refused: it is damaged; take another one")
	// ErrIdentity: the identities given open it not.
	ErrIdentity = errors.New("none of the identities is one that the backup was made for")
)

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w (%s)", ErrDamaged, fmt.Sprintf(format, args...))
}

// Read reads a whole backup and verifies it: that nothing was changed or cut off
// since the node encrypted it, the state's digest, every link of the audit chain
// from its start, and that the chain ends where the state says. audit, unless it
// is nil, gets every entry of the chain, verified, in order.
func Read(r io.Reader, ids []age.Identity, audit func(*command.AuditEntry) error) (Manifest, *state.Machine, error) {
	clear, err := age.Decrypt(r, ids...)
	if err != nil {
		if none := new(age.NoIdentityMatchError); errors.As(err, &none) {
			return Manifest{}, nil, ErrIdentity
		}
		return Manifest{}, nil, damaged("%v", err)
	}
	in := &reader{clear: clear, tar: tar.NewReader(clear)}
	if err := in.next(fileVersion); err != nil {
		return Manifest{}, nil, err
	}
	if v, err := io.ReadAll(io.LimitReader(in.tar, 64)); err != nil || string(v) != version {
		return Manifest{}, nil, damaged("it is of version %q, this build reads %q", v, version)
	}
	if err := in.next(fileState); err != nil {
		return Manifest{}, nil, err
	}
	m, err := state.ReadSnapshot(in.tar)
	switch {
	case errors.Is(err, command.ErrUnknownCommand): // it is whole, but of a newer build
		return Manifest{}, nil, err
	case err != nil:
		return Manifest{}, nil, damaged("%v", err)
	}
	var term uint64
	var refused error // by audit, which is none of the chain's business
	head, sequence, err := state.VerifyAudit([32]byte{}, 0, func(yield func(*command.AuditEntry, error) bool) {
		for e, err := range in.audit() {
			if !yield(e, err) || err != nil { // the consumer goes on when it has verified e
				return
			}
			term = e.Term
			if audit != nil {
				if refused = audit(e); refused != nil {
					return
				}
			}
		}
	})
	switch wantSequence, wantHead := m.AuditHead(); {
	case refused != nil:
		return Manifest{}, nil, refused
	case err != nil:
		return Manifest{}, nil, damaged("%v", err)
	case sequence != wantSequence || head != wantHead:
		return Manifest{}, nil, damaged("the audit chain ends at %d with %x, the state is at %d with %x", sequence, head, wantSequence, wantHead)
	}
	manifest, err := in.manifest()
	if err != nil {
		return Manifest{}, nil, err
	}
	want := manifestOf(m)
	want.Node, want.Created, want.Term = manifest.Node, manifest.Created, term
	if manifest != want {
		return Manifest{}, nil, damaged("its manifest says %+v, it holds %+v", manifest, want)
	}
	return manifest, m, nil
}

type reader struct {
	clear  io.Reader // what tar reads
	tar    *tar.Reader
	header *tar.Header // of the file that is read
}

func (r *reader) next(want string) error {
	h, err := r.tar.Next()
	if err != nil {
		return damaged("%s is missing: %v", want, err)
	}
	if r.header = h; h.Name != want {
		return damaged("%s stands in the place of %s", h.Name, want)
	}
	return nil
}

// audit goes through the entries of all parts, and stops at the file after.
func (r *reader) audit() iter.Seq2[*command.AuditEntry, error] {
	return func(yield func(*command.AuditEntry, error) bool) {
		for {
			h, err := r.tar.Next()
			if err != nil {
				yield(nil, err)
				return
			}
			if r.header = h; !strings.HasPrefix(h.Name, dirAudit) {
				return
			}
			for part := bufio.NewReaderSize(r.tar, 64<<10); ; {
				e := new(command.AuditEntry)
				err := protodelim.UnmarshalOptions{MaxSize: maxAuditEntry}.UnmarshalFrom(part, e)
				if errors.Is(err, io.EOF) {
					break
				}
				if !yield(e, err) || err != nil {
					return
				}
			}
		}
	}
}

// manifest reads the last file, which audit has come to, and the end.
func (r *reader) manifest() (Manifest, error) {
	var m Manifest
	if r.header.Name != fileManifest {
		return m, damaged("%s stands in the place of %s", r.header.Name, fileManifest)
	}
	if err := json.NewDecoder(io.LimitReader(r.tar, 64<<10)).Decode(&m); err != nil {
		return m, damaged("%s: %v", fileManifest, err)
	}
	if _, err := r.tar.Next(); !errors.Is(err, io.EOF) {
		return m, damaged("something follows its end: %v", err)
	}
	// The archive says itself where it ends; that the file ends there, too, and
	// wasn't cut off, is known when it has been read to its end.
	if n, err := io.Copy(io.Discard, r.clear); n > 0 || err != nil {
		return m, damaged("%d bytes follow its end: %v", n, err)
	}
	return m, nil
}
