package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/tools/e2e/people"
)

// startServer starts the seal server, with its people the first time.
func (s *site) startServer() {
	s.Helper()
	if s.server == nil {
		for name, role := range map[string]string{people.Applicant: "applicant", people.Approver: "approver", people.Reviewer: "reviewer"} {
			cmd := exec.CommandContext(s.soon(), filepath.Join(bin, "sealserver"), "add-user", "--config", s.layout.SealServer, "--role", role, name)
			cmd.Stdin = strings.NewReader(people.Password(name) + "\n")
			if out, err := cmd.CombinedOutput(); err != nil {
				s.Fatalf("add-user: %v: %s", err, out)
			}
		}
	}
	before := 0
	if s.server != nil {
		before = len(s.server.words())
	}
	s.server = start(s.T, s.dir, "sealserver", exec.Command(filepath.Join(bin, "sealserver"), "serve", "--config", s.layout.SealServer))
	s.server.ours = true
	s.until("the seal server serves", func() bool { return strings.Contains(s.server.words()[before:], "seal server ready") })
}

// office is the seal server's people, and what the reviewer sees.
type office struct{ *people.Office }

func (s *site) office() *office {
	s.Helper()
	o := people.New(s, s.sealServer().String(), s.roots())
	s.Cleanup(o.Close)
	return &office{o}
}

// evidence of a stamping, as the reviewer sees it.
type evidence struct {
	Use     uint64 `json:"use"`
	Stamp   uint32 `json:"stamp"`
	SHA256  []byte `json:"sha256"`
	Size    int64  `json:"size"`
	Verdict string `json:"verdict"`
}

func (o *office) evidence(order string) (list []evidence) {
	o.Do(people.Reviewer, http.MethodGet, "/v1/evidence?order="+url.QueryEscape(order), nil, &list)
	return list
}

// mismatch is the reviewer saying that page and document differ.
func (o *office) mismatch(order string, use uint64, stamp uint32) {
	ref := wire.EvidenceRef{Order: order, Use: use, Stamp: stamp}
	o.Do(people.Reviewer, http.MethodPost, wire.ServerEvidencePath(ref)+"/verdict", map[string]any{"match": false, "words": "another page"}, nil)
}

// refused fails the test unless err is the gateway's refusal with one of the
// codes.
func refused(t *testing.T, what string, err error, codes ...wire.Code) {
	t.Helper()
	var p *wire.Problem
	switch {
	case err == nil:
		t.Errorf("%s: not refused; want %v", what, codes)
	case !errors.As(err, &p) || !slices.Contains(codes, p.Code):
		t.Errorf("%s: %v; want %v", what, err, codes)
	case p.Hint == "":
		t.Errorf("%s: the refusal doesn't say what to do: %v", what, fmt.Sprintf("%+v", p))
	}
}

// refusal is the HTTP status of a refusal, 0 if err is none.
func refusal(err error) int {
	var p *wire.Problem
	if errors.As(err, &p) {
		return p.Status
	}
	return 0
}
