package phoneapi

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strconv"
	"sync"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/edge/wire"
)

// evidenceOffset is HEAD of an image: how far its upload has come.
func (s *Server) evidenceOffset(c *call) error {
	use, number, err := s.stamping(c)
	if err != nil {
		return err
	}
	var st wire.EvidenceState
	stored, unknown := sealuse.Stamping(use, number)
	if unknown != nil {
		return unknown
	}
	if len(stored.GetEvidenceDigest()) == sha256.Size {
		st = wire.EvidenceState{Offset: int64(stored.EvidenceSize), Length: int64(stored.EvidenceSize), Digest: [32]byte(stored.EvidenceDigest), Complete: true}
	} else if st, err = s.cfg.Evidence.EvidenceState(c.r.Context(), ref(use, number)); err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set(wire.HeaderUploadOffset, strconv.FormatInt(st.Offset, 10))
	if st.Length > 0 {
		h.Set(wire.HeaderUploadLength, strconv.FormatInt(st.Length, 10))
	}
	if st.Complete {
		h.Set(wire.HeaderReprDigest, wire.FormatReprDigest(st.Digest))
	}
	c.w.WriteHeader(http.StatusOK)
	return nil
}

// evidence is PATCH of an image: a piece streams through to the seal server,
// and once that has stored the whole, its digest goes into the ledger. Only
// then is it acknowledged.
func (s *Server) evidence(c *call) error {
	use, number, err := s.stamping(c)
	if err != nil {
		return err
	}
	s.begin(c, spanEvidence, use)
	chunk, err := c.chunk()
	if err != nil {
		return err
	}
	step := sealuse.EvidenceWanted(use, number, chunk.Digest)
	if step.Refusal != nil {
		s.refused(c, sealuse.KindEvidence, subject(use, number), step.Refusal)
		return step.Refusal
	}
	if step.Repeat != nil {
		return c.stored(chunk)
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), uploadTimeout)
	defer cancel()
	c.r = c.r.WithContext(ctx)
	body := &flowing{c: c, from: http.MaxBytesReader(c.w, c.r.Body, chunk.Length-chunk.Offset), sum: sha256.New()}
	chunk.Body = body
	within, span := s.span(c.r.Context(), spanStore)
	st, err := s.cfg.Evidence.AppendEvidence(within, ref(use, number), chunk)
	s.cfg.Traces.End(span, err)
	n, sum, broke := body.read()
	if err != nil {
		var over *http.MaxBytesError
		switch {
		case errors.As(broke, &over):
			return wire.NewProblem(wire.CodeBadRequest, "The body goes past Upload-Length.")
		case broke != nil: // the terminal's doing, not the server's
			return wire.NewProblem(wire.CodeUploadOffset, fmt.Sprintf("The upload broke off after %d bytes.", n))
		}
		return err
	}
	if !st.Complete {
		c.w.Header().Set(wire.HeaderUploadOffset, strconv.FormatInt(st.Offset, 10))
		c.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if n == chunk.Length {
		st.Digest = sum // all of it went through here: no need to take the server's word
	}
	step = sealuse.Evidence(use, number, chunk.Digest, chunk.Length, st)
	s.alarm(c, step.Alarm)
	if _, err := s.propose(c, step); err != nil {
		p := sealuse.FromError(err)
		s.refused(c, sealuse.KindEvidence, subject(use, number), p)
		return p
	}
	return c.stored(chunk)
}

// chunk reads the headers of a PATCH.
func (c *call) chunk() (wire.EvidenceChunk, error) {
	var k wire.EvidenceChunk
	bad := func(what string) (wire.EvidenceChunk, error) { return k, wire.NewProblem(wire.CodeBadRequest, what) }
	h := c.r.Header
	var err error
	if k.Offset, err = strconv.ParseInt(h.Get(wire.HeaderUploadOffset), 10, 64); err != nil || k.Offset < 0 {
		return bad("Upload-Offset: want the number of bytes that HEAD answers.")
	}
	if k.Length, err = strconv.ParseInt(h.Get(wire.HeaderUploadLength), 10, 64); err != nil || k.Length <= 0 {
		return bad("Upload-Length: want the size of the whole image in bytes.")
	}
	if k.Length > wire.MaxEvidence {
		return k, wire.NewProblem(wire.CodeTooLarge, fmt.Sprintf("An image may have %d bytes.", wire.MaxEvidence))
	}
	if k.Digest, err = wire.ParseReprDigest(h.Get(wire.HeaderReprDigest)); err != nil {
		return bad("Repr-Digest: want sha-256=:<base64>: of the whole image (RFC 9530).")
	}
	k.Size = c.r.ContentLength
	if k.Offset > k.Length || k.Size > k.Length-k.Offset {
		return bad("Upload-Offset and Content-Length go past Upload-Length.")
	}
	k.ContentType = h.Get("Content-Type")
	if len(k.ContentType) > 128 {
		return bad("Content-Type: too long.")
	}
	return k, nil
}

// stored acknowledges an image for good.
func (c *call) stored(k wire.EvidenceChunk) error {
	c.w.Header().Set(wire.HeaderUploadOffset, strconv.FormatInt(k.Length, 10))
	c.w.Header().Set(wire.HeaderReprDigest, wire.FormatReprDigest(k.Digest))
	return c.reply(http.StatusOK, wire.EvidenceAnswer{Digest: k.Digest[:], Size: k.Length})
}

// flowing passes a body on, piece by piece: it may take long, but it may not
// stall. Whoever reads it may go on a little while the handler goes its way, as
// HTTP clients do.
type flowing struct {
	c    *call
	from io.Reader

	mu  sync.Mutex
	sum hash.Hash // guarded by mu
	n   int64     // guarded by mu
	err error     // of reading, but io.EOF; guarded by mu
}

func (f *flowing) Read(b []byte) (int, error) {
	f.c.deadline(stallTimeout)
	n, err := f.from.Read(b)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sum.Write(b[:n])
	f.n += int64(n)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}

// read tells how many bytes have come through, their SHA-256, and what went
// wrong at the terminal's end.
func (f *flowing) read() (n int64, sum [32]byte, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.n, [32]byte(f.sum.Sum(nil)), f.err
}

// stamping finds the use and the number of the stamping in the path.
func (s *Server) stamping(c *call) (*command.Use, uint32, error) {
	use, err := s.ownUse(c)
	if err != nil {
		return nil, 0, err
	}
	n, err := c.number("stamp", 32)
	if err != nil {
		return nil, 0, err
	}
	return use, uint32(n), nil
}

func ref(use *command.Use, number uint32) wire.EvidenceRef {
	return wire.EvidenceRef{Order: use.Order, Use: use.Id, Stamp: number}
}

// subject names a use, and a stamping of it if number is not 0, for the audit.
func subject(use *command.Use, number uint32) string {
	s := fmt.Sprintf("use %d order %s barrel %s", use.Id, use.Order, use.Barrel)
	if number != 0 {
		s += fmt.Sprintf(" stamping %d", number)
	}
	return s
}
