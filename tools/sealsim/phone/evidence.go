package phone

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/sealedge/sealedge/edge/wire"
)

// ErrDigest is returned when the gateway acknowledges another image than was
// sent.
var ErrDigest = errors.New("the acknowledged digest is not the image's")

// UploadEvidence sends the image of a stamping, from where an earlier upload of
// it stopped, and returns when the seal server has stored it. An upload that
// breaks off is taken up again until ctx ends.
func (a *App) UploadEvidence(ctx context.Context, use uint64, stamp uint32, image []byte, contentType string) (wire.EvidenceAnswer, error) {
	up := upload{app: a, path: wire.EvidencePath(use, stamp), image: image, contentType: contentType, digest: sha256.Sum256(image)}
	for wait := firstWait; ; {
		offset, err := up.offset(ctx)
		if err != nil {
			return wire.EvidenceAnswer{}, err
		}
		answer, err := up.send(ctx, offset)
		var p *wire.Problem
		switch {
		case err == nil && answer == nil:
			wait = firstWait // a piece got through
			continue
		case err == nil && !bytes.Equal(answer.Digest, up.digest[:]):
			return *answer, ErrDigest
		case err == nil:
			return *answer, nil
		case errors.As(err, &p) && p.Code == wire.CodeUploadOffset:
			err = errors.New(p.Error()) // passes, once the offset is known
		}
		if err := a.pause(ctx, err, wait); err != nil {
			return wire.EvidenceAnswer{}, err
		}
		wait = min(2*wait, longest)
	}
}

// upload is an image on its way.
type upload struct {
	app         *App
	path        string
	image       []byte
	contentType string
	digest      [sha256.Size]byte
}

// offset asks how much of the image has arrived.
func (u *upload) offset(ctx context.Context) (offset int, err error) {
	err = u.app.again(ctx, func(ctx context.Context) error {
		r, err := u.app.request(ctx, http.MethodHead, u.path, nil)
		if err != nil {
			return err
		}
		answer, err := u.app.client.Do(r)
		if err != nil {
			return err
		}
		defer func() { _ = answer.Body.Close() }()
		if err := problem(answer); err != nil {
			return err
		}
		offset, err = strconv.Atoi(answer.Header.Get(wire.HeaderUploadOffset))
		if err != nil || offset < 0 || offset > len(u.image) {
			return fmt.Errorf("%w: Upload-Offset %q of an image of %d bytes", wire.ErrMalformed,
				answer.Header.Get(wire.HeaderUploadOffset), len(u.image))
		}
		return nil
	})
	var p *wire.Problem
	if errors.As(err, &p) && p.Status == http.StatusNotFound {
		// A HEAD has no body that says why; the PATCH will have one.
		return 0, nil
	}
	return offset, err
}

// send sends the next piece and returns the acknowledgement of the whole image
// if that was the last. A piece may take as long as ctx allows.
func (u *upload) send(ctx context.Context, offset int) (*wire.EvidenceAnswer, error) {
	piece := u.image[offset:]
	if u.app.cfg.ChunkSize > 0 && len(piece) > u.app.cfg.ChunkSize {
		piece = piece[:u.app.cfg.ChunkSize]
	}
	r, err := u.app.request(ctx, http.MethodPatch, u.path, bytes.NewReader(piece))
	if err != nil {
		return nil, err
	}
	r.Header.Set(wire.HeaderUploadOffset, strconv.Itoa(offset))
	r.Header.Set(wire.HeaderUploadLength, strconv.Itoa(len(u.image)))
	r.Header.Set(wire.HeaderReprDigest, wire.FormatReprDigest(u.digest))
	r.Header.Set("Content-Type", u.contentType)
	response, err := u.app.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if err := problem(response); err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, nil
	}
	answer := new(wire.EvidenceAnswer)
	return answer, wire.DecodeAnswer(response.Body, answer)
}
