package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
)

// EvidenceState asks how far the upload of an image has come. One that the
// server doesn't know of is the zero state.
func (c *Client) EvidenceState(ctx context.Context, ref wire.EvidenceRef) (s wire.EvidenceState, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, errSlow)
	defer cancel()
	req, err := c.request(ctx, http.MethodHead, wire.ServerEvidencePath(ref), "", nil)
	if err != nil {
		return s, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return s, unreachable(ctx, err)
	}
	defer finish(resp)
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return s, nil
	case resp.StatusCode/100 != 2:
		return s, refusal(resp, wire.CodeServerRefused)
	}
	if s.Offset, err = length(resp, wire.HeaderUploadOffset); err != nil {
		return wire.EvidenceState{}, err
	}
	if s.Offset == 0 && resp.Header.Get(wire.HeaderUploadLength) == "" {
		return s, nil
	}
	if s.Length, err = length(resp, wire.HeaderUploadLength); err != nil {
		return wire.EvidenceState{}, err
	}
	if s.Offset > s.Length {
		return wire.EvidenceState{}, strange("it has %d bytes of an image of %d", s.Offset, s.Length)
	}
	// Only the digest says that the image was checked and is kept for good.
	if given := resp.Header.Get(wire.HeaderReprDigest); given != "" && s.Length > 0 && s.Offset == s.Length {
		if s.Digest, err = wire.ParseReprDigest(given); err != nil {
			return wire.EvidenceState{}, strange("%v", err)
		}
		s.Complete = true
	}
	return s, nil
}

// AppendEvidence streams a piece of an image on. It never holds more of it than
// a buffer's worth.
func (c *Client) AppendEvidence(ctx context.Context, ref wire.EvidenceRef, chunk wire.EvidenceChunk) (s wire.EvidenceState, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	body := newMoving(chunk.Body, c.timeout, func() { cancel(errSlow) })
	defer body.done()

	req, err := c.request(ctx, http.MethodPatch, wire.ServerEvidencePath(ref), "", body)
	if err != nil {
		return s, err
	}
	switch {
	case chunk.Body == nil || chunk.Size == 0:
		req.Body, req.ContentLength = http.NoBody, 0
	default:
		req.ContentLength = chunk.Size // -1: not known, sent in chunks
	}
	h := req.Header
	if chunk.ContentType != "" {
		h.Set("Content-Type", chunk.ContentType)
	}
	h.Set(wire.HeaderUploadOffset, strconv.FormatInt(chunk.Offset, 10))
	h.Set(wire.HeaderUploadLength, strconv.FormatInt(chunk.Length, 10))
	h.Set(wire.HeaderReprDigest, wire.FormatReprDigest(chunk.Digest))

	resp, err := c.http.Do(req)
	if err != nil {
		return s, unreachable(ctx, err)
	}
	defer finish(resp)
	switch resp.StatusCode {
	case http.StatusNoContent:
		offset, err := length(resp, wire.HeaderUploadOffset)
		if err != nil {
			return s, err
		}
		if offset > chunk.Length {
			return s, strange("it has %d bytes of an image of %d", offset, chunk.Length)
		}
		return wire.EvidenceState{Offset: offset, Length: chunk.Length}, nil
	case http.StatusOK:
		var a wire.EvidenceAnswer
		if err := wire.DecodeAnswer(resp.Body, &a); err != nil {
			return s, strange("%v", err)
		}
		// What is acknowledged goes into the audit chain: it must be what was sent.
		if a.Size != chunk.Length || string(a.Digest) != string(chunk.Digest[:]) {
			return s, wire.NewProblem(wire.CodeDigestMismatch, "The seal server acknowledged another image than was sent.")
		}
		return wire.EvidenceState{Offset: chunk.Length, Length: chunk.Length, Digest: chunk.Digest, Complete: true}, nil
	}
	if resp.StatusCode/100 == 2 {
		return s, strange("it answered with status %d", resp.StatusCode)
	}
	return s, refusal(resp, wire.CodeServerRefused)
}

func strange(format string, args ...any) *wire.Problem {
	return wire.NewProblem(wire.CodeServerUnreachable, "Its answer cannot be understood: "+words(fmt.Sprintf(format, args...))+".")
}

func length(resp *http.Response, header string) (int64, error) {
	n, err := strconv.ParseInt(resp.Header.Get(header), 10, 64)
	if err != nil || n < 0 || n > wire.MaxEvidence {
		return 0, strange("%s is %q", header, resp.Header.Get(header))
	}
	return n, nil
}

var errDone = errors.New("upstream: the answer came before the whole image was read")

// moving is a body that must keep moving: when no read ends for a time, it
// calls stalled. After done it isn't read any more, whatever the transport does
// in the background.
type moving struct {
	limit time.Duration
	timer *time.Timer

	mu sync.Mutex
	r  io.Reader // guarded by mu; nil after done
}

func newMoving(r io.Reader, limit time.Duration, stalled func()) *moving {
	return &moving{r: r, limit: limit, timer: time.AfterFunc(limit, stalled)}
}

func (m *moving) Read(p []byte) (int, error) {
	m.mu.Lock()
	r := m.r
	m.mu.Unlock()
	if r == nil {
		return 0, errDone
	}
	n, err := r.Read(p)
	if err == nil || errors.Is(err, io.EOF) {
		m.timer.Reset(m.limit)
	}
	return n, err
}

// Close leaves the reader open: it belongs to the terminal's request.
func (m *moving) Close() error { return nil }

func (m *moving) done() {
	m.timer.Stop()
	m.mu.Lock()
	m.r = nil
	m.mu.Unlock()
}
