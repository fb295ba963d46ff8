package phoneapi

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"strconv"
	"testing"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/usetest"
	"github.com/sealedge/sealedge/edge/wire"
)

// uploadHeaders are those of a PATCH of an image from an offset.
func uploadHeaders(image []byte, offset int) []string {
	return []string{
		"Content-Type", "image/jpeg",
		wire.HeaderUploadOffset, strconv.Itoa(offset), wire.HeaderUploadLength, strconv.Itoa(len(image)),
		wire.HeaderReprDigest, wire.FormatReprDigest(sha256.Sum256(image)),
	}
}

// upload sends image[from:to].
func (r *rig) upload(use uint64, stamp uint32, image []byte, from, to int) answer {
	r.t.Helper()
	return r.send("PATCH", wire.EvidencePath(use, stamp), bytes.NewReader(image[from:to]), uploadHeaders(image, from)...)
}

// stamped is a use with one stamping made.
func (r *rig) stamped() wire.UseAnswer {
	r.t.Helper()
	u := r.use("r1")
	r.send("POST", wire.ReceiptsPath(u.Use), wire.ReceiptReport{Receipt: usetest.Receipt(r.t, r.w.Use(u.Use), 1)}).want(r.t, 200, nil)
	return u
}

func TestEvidenceGoesOnWhereItStopped(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		u := r.stamped()
		image := bytes.Repeat([]byte("page"), 50<<10)
		path := wire.EvidencePath(u.Use, 1)
		head := r.send("HEAD", path, nil).want(t, 200, nil)
		if head.header.Get(wire.HeaderUploadOffset) != "0" || head.header.Get(wire.HeaderUploadLength) != "" {
			t.Errorf("before: %v", head.header)
		}
		half := r.upload(u.Use, 1, image, 0, 100<<10).want(t, 204, nil)
		if half.header.Get(wire.HeaderUploadOffset) != strconv.Itoa(100<<10) {
			t.Errorf("half: %v", half.header)
		}
		if s := r.w.Use(u.Use).Stamps[0]; len(s.EvidenceDigest) != 0 {
			t.Error("half an image is recorded")
		}
		r.upload(u.Use, 1, image, 50<<10, 60<<10).refused(t, wire.CodeUploadOffset)

		// Another node takes the rest.
		r.stop()
		r.start()
		head = r.send("HEAD", path, nil).want(t, 200, nil)
		if head.header.Get(wire.HeaderUploadOffset) != strconv.Itoa(100<<10) || head.header.Get(wire.HeaderUploadLength) != strconv.Itoa(len(image)) {
			t.Errorf("half way: %v", head.header)
		}
		var stored wire.EvidenceAnswer
		r.upload(u.Use, 1, image, 100<<10, len(image)).want(t, 200, &stored)
		sum := sha256.Sum256(image)
		if s := r.w.Use(u.Use).Stamps[0]; !bytes.Equal(stored.Digest, sum[:]) || stored.Size != int64(len(image)) ||
			!bytes.Equal(s.EvidenceDigest, sum[:]) || s.EvidenceSize != uint64(len(image)) {
			t.Errorf("stored %+v, recorded %v", stored, s)
		}
		head = r.send("HEAD", path, nil).want(t, 200, nil)
		if head.header.Get(wire.HeaderUploadOffset) != strconv.Itoa(len(image)) || head.header.Get(wire.HeaderReprDigest) != wire.FormatReprDigest(sum) {
			t.Errorf("after: %v", head.header)
		}
		// Again, whole: it is acknowledged again. Another image is not taken.
		r.upload(u.Use, 1, image, 0, len(image)).want(t, 200, nil)
		r.upload(u.Use, 1, []byte("another page"), 0, 12).refused(t, wire.CodeEvidenceConflict)
	})
}

// The server has stored the image, but the digest did not get into the log: the
// terminal is not told that it did, and asks again without sending it again.
func TestEvidenceIsAcknowledgedOnlyWhenRecorded(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		u := r.stamped()
		image := []byte("a page with a seal on it")
		r.w.Fail(command.ErrNoQuorum)
		r.upload(u.Use, 1, image, 0, len(image)).refused(t, wire.CodeNoQuorum)
		r.w.Fail(nil)
		if s := r.w.Use(u.Use).Stamps[0]; len(s.EvidenceDigest) != 0 {
			t.Fatal("it is recorded")
		}
		head := r.send("HEAD", wire.EvidencePath(u.Use, 1), nil).want(t, 200, nil)
		if head.header.Get(wire.HeaderUploadOffset) != strconv.Itoa(len(image)) {
			t.Errorf("the server has %v", head.header)
		}
		r.upload(u.Use, 1, image, len(image), len(image)).want(t, 200, nil)
		if s := r.w.Use(u.Use).Stamps[0]; len(s.EvidenceDigest) == 0 {
			t.Error("it is not recorded")
		}
	})
}

func TestEvidenceThatIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		u := r.stamped()
		image := []byte("page")
		path := wire.EvidencePath(u.Use, 1)
		wrong := uploadHeaders(image, 0)
		wrong[7] = wire.FormatReprDigest(sha256.Sum256([]byte("another page")))
		r.send("PATCH", path, bytes.NewReader(image), wrong...).refused(t, wire.CodeDigestMismatch)
		r.send("PATCH", wire.EvidencePath(u.Use, 3), bytes.NewReader(image), uploadHeaders(image, 0)...).refused(t, wire.CodeStampUnknown)
		r.send("HEAD", wire.EvidencePath(u.Use, 3), nil).want(t, 404, nil)
		r.send("PATCH", wire.EvidencePath(u.Use+1, 1), bytes.NewReader(image), uploadHeaders(image, 0)...).refused(t, wire.CodeUseUnknown)
		r.sendFrom(usetest.Address(usetest.Other), "PATCH", path, bytes.NewReader(image), uploadHeaders(image, 0)...).refused(t, wire.CodeUseUnknown)
		for i, value := range map[int]string{3: "-1", 5: "0", 7: "md5=:YQ==:", 1: string(bytes.Repeat([]byte("x"), 200))} {
			h := uploadHeaders(image, 0)
			h[i] = value
			r.send("PATCH", path, bytes.NewReader(image), h...).refused(t, wire.CodeBadRequest)
		}
		past := uploadHeaders(image, 2)
		r.send("PATCH", path, bytes.NewReader(image), past...).refused(t, wire.CodeBadRequest)
		// Not saying how much it is doesn't help.
		r.send("PATCH", path, io.MultiReader(bytes.NewReader(image), bytes.NewReader(image)), uploadHeaders(image, 0)...).refused(t, wire.CodeBadRequest)
		large := uploadHeaders(image, 0)
		large[5] = strconv.Itoa(wire.MaxEvidence + 1)
		r.send("PATCH", path, bytes.NewReader(image), large...).refused(t, wire.CodeTooLarge)
		r.seal.mu.Lock()
		r.seal.down = true
		r.seal.mu.Unlock()
		r.upload(u.Use, 1, image, 0, len(image)).refused(t, wire.CodeServerUnreachable)
		if s := r.w.Use(u.Use).Stamps[0]; len(s.EvidenceDigest) != 0 {
			t.Error("something was recorded")
		}
	})
}

// A piece reaches the seal server before the terminal has sent the next one:
// the image is never whole in the gateway.
func TestEvidenceStreams(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		u := r.stamped()
		r.seal.reading = make(chan int)
		image := bytes.Repeat([]byte("page"), 1<<20)
		body := &stepwise{image: image, step: 64 << 10, next: make(chan struct{})}
		done := make(chan struct{})
		go func() {
			defer close(done)
			sent := 0
			for got := 0; got < len(image); {
				if got == sent { // all that was sent has arrived: send on
					body.next <- struct{}{}
					sent += body.step
				}
				got += <-r.seal.reading
			}
		}()
		r.send("PATCH", wire.EvidencePath(u.Use, 1), body, uploadHeaders(image, 0)...).want(t, 200, nil)
		<-done
	})
}

// stepwise gives an image in steps, each only when told.
type stepwise struct {
	image []byte
	step  int
	left  int
	next  chan struct{}
}

func (s *stepwise) Read(b []byte) (int, error) {
	if len(s.image) == 0 {
		return 0, io.EOF
	}
	if s.left == 0 {
		<-s.next
		s.left = s.step
	}
	n := copy(b[:min(len(b), s.left)], s.image)
	s.image, s.left = s.image[n:], s.left-n
	return n, nil
}

// A terminal that breaks off leaves what arrived to be gone on from; one that
// stalls is not waited for.
func TestEvidenceBreaksOff(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		u := r.stamped()
		image := bytes.Repeat([]byte("page"), 10<<10)
		send := func(body io.Reader) {
			t.Helper()
			req, err := http.NewRequestWithContext(t.Context(), "PATCH", "https://gateway"+wire.EvidencePath(u.Use, 1), body)
			if err != nil {
				t.Fatal(err)
			}
			h := uploadHeaders(image, 0)
			for i := 0; i < len(h); i += 2 {
				req.Header.Set(h[i], h[i+1])
			}
			req.ContentLength = int64(len(image))
			if res, err := r.phone(usetest.Address(usetest.Terminal)).Do(req); err == nil {
				if res.StatusCode < 400 {
					t.Errorf("status %d", res.StatusCode)
				}
				res.Body.Close()
			}
		}
		send(io.MultiReader(bytes.NewReader(image[:20<<10]), failing{}))
		head := r.send("HEAD", wire.EvidencePath(u.Use, 1), nil).want(t, 200, nil)
		offset, err := strconv.Atoi(head.header.Get(wire.HeaderUploadOffset))
		if err != nil || offset == 0 || offset > 20<<10 {
			t.Fatalf("it stopped at %d, %v", offset, err)
		}
		r.upload(u.Use, 1, image, offset, len(image)).want(t, 200, nil)
	})
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("the battery is empty") }
