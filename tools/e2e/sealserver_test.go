package e2e

import (
	"bytes"
	"crypto/sha256"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/tools/e2e/people"
	"github.com/sealedge/sealedge/tools/sealsim/phone"
)

// The seal server dies in the middle of an image, and the image arrives whole
// all the same, with what had arrived before not sent again. Then the whole
// cluster is down while the reviewer finds a wrong page: the disconnect is
// delivered when the cluster is back.
func TestSealServerKilled(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	s.startServer()
	office := s.office()
	c, tap := s.carrier(1)
	w := s.worker(1, c, func(p *phone.Config) { p.App.ChunkSize = 512 << 10 })
	use := w.request(office.Order("WO-KILLED", 2), 0)
	w.unlock(use)
	stamp := w.press(use)

	image := make([]byte, 16<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(image) // never fails
	upload := func() (wire.EvidenceAnswer, error) {
		return w.app.UploadEvidence(s.soon(), use.Use, stamp, image, "image/png")
	}
	broken := make(chan error, 1)
	tap.limit(len(image) * 3 / 4) // however fast the machine is, it isn't all there when the server dies
	go func() { _, err := upload(); broken <- err }()
	arrived := func() (n int64) {
		s.Helper()
		err := filepath.WalkDir(s.file("data", "evidence"), func(_ string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				if info, err := d.Info(); err == nil { // it may be renamed just now
					n = max(n, info.Size())
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	s.until("half the image has arrived", func() bool { return arrived() > int64(len(image)/2) })
	s.server.kill()
	before, sent := arrived(), c.Stats().UplinkBytes
	tap.limit(0)
	if err := <-broken; refusal(err) != http.StatusBadGateway {
		t.Errorf("with the seal server gone the phone is told %v, want 502", err)
	}
	s.startServer()
	a, err := upload()
	if want := sha256.Sum256(image); err != nil || !bytes.Equal(a.Digest, want[:]) || a.Size != int64(len(image)) {
		t.Fatalf("stored %d bytes, digest %x, want %d bytes, %x: %v", a.Size, a.Digest, len(image), want, err)
	}
	if again, most := c.Stats().UplinkBytes-sent, uint64(len(image))*9/10; again > most {
		t.Errorf("%d of %d bytes had arrived before, and %d were sent after: the upload wasn't resumed", before, len(image), again)
	}
	if e := office.evidence(use.Order); len(e) != 1 || e[0].Size != int64(len(image)) || !bytes.Equal(e[0].SHA256, a.Digest) {
		t.Errorf("the reviewer sees %+v", e)
	}

	locked := make(chan wire.LockEvent, 8)
	go func() { _ = w.app.Watch(s.Context(), func(l wire.LockEvent) { locked <- l }) }()
	for _, n := range s.nodes {
		n.kill()
	}
	office.mismatch(use.Order, use.Use, stamp)
	pending := func() []any {
		s.Helper()
		var list []any
		office.Do(people.Reviewer, http.MethodGet, "/v1/disconnects?pending=true", nil, &list)
		return list
	}
	if p := pending(); len(p) != 1 {
		t.Errorf("%d disconnects wait while no gateway is there, want 1", len(p))
	}
	for n := range s.nodes {
		s.startNode(n)
	}
	s.until("the disconnect is delivered", func() bool { return len(pending()) == 0 })
	s.until("a node holds the gateway address", func() bool { return s.holder() != nil })
	if o := ledger(s, use.Order); o.State != "ended" {
		t.Errorf("the order is %s, want ended", o.State)
	}
	s.until("the phone is told", func() bool {
		select {
		case l := <-locked:
			return l.Order == use.Order
		default:
			return false
		}
	})
	w.awaitBarrel("locked", func(b wire.BarrelStatus) bool { return b.Locked })
	w.settled(use.Use)
	if o := ledger(s, use.Order); o.Confirmed != 1 || o.Reserved != 0 {
		t.Errorf("one page was stamped; ledger: %+v", o)
	}
	w.awaitBarrel("heard from", isHeard)
	_, err = w.app.RequestUse(s.soon(), use.Order, w.id, 1)
	refused(t, "the order goes on", err, wire.CodeOrderEnded, wire.CodeOrderNotOpen)
	s.auditVerifies()
}
