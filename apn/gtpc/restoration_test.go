package gtpc

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/apn/gtp"
	"github.com/sealedge/sealedge/apn/gtp/gtptest"
	"github.com/sealedge/sealedge/cluster/command"
)

// A request with a newer restart counter is carried out, and its peer's restart
// reported, once.
func TestRestartInRequests(t *testing.T) {
	var reported []string
	s, peer := newSite(t, func(c *ProceduresConfig) {
		c.OnPeerRestart = func(a netip.Addr, counter uint8) { reported = append(reported, fmt.Sprint(a, " ", counter)) }
	}), gtptest.New()
	if a := gtptest.Read(s.handle(t, peer.Create())); a.Cause() != 16 {
		t.Fatalf("%+v", a)
	}
	peer.Seq++
	peer.Restarts--
	s.handle(t, peer.Create()) // overtaken
	if len(reported) != 0 {
		t.Errorf("reported %q", reported)
	}
	peer.Seq++
	peer.Restarts += 2
	if a := gtptest.Read(s.handle(t, peer.Create())); a.Cause() != 16 {
		t.Errorf("%+v", a)
	}
	if len(reported) != 1 || reported[0] != "127.0.20.1 8" {
		t.Errorf("reported %q", reported)
	}
}

// partly is a cluster that carries ReleasePaths out in parts.
type partly struct {
	*oneNode
	parts int
	asked []string // request ids
}

func (p *partly) Propose(ctx context.Context, c *command.Command) (*command.Result, error) {
	if c.Type != command.Type_RELEASE_PATHS {
		return p.oneNode.Propose(ctx, c)
	}
	if ctx.Err() != nil {
		return nil, errors.Join(command.ErrUnknownOutcome, ctx.Err())
	}
	p.asked = append(p.asked, c.RequestId)
	time.Sleep(10 * time.Millisecond)
	payload, err := proto.Marshal(&command.Released{More: len(p.asked) < p.parts})
	return &command.Result{Code: command.Code_OK, Payload: payload}, err
}

// Work that comes in parts is done to its end, each part under an id of its own,
// for as long as there is time.
func TestWorkInParts(t *testing.T) {
	for parts, want := range map[int]uint8{1: 16, 100: 16, 100_000: 0} {
		synctest.Test(t, func(t *testing.T) {
			var cluster *partly
			s := newSite(t, func(c *ProceduresConfig) {
				cluster = &partly{oneNode: c.Cluster.(*oneNode), parts: parts}
				c.Cluster = cluster
			})
			peer := gtptest.New()
			s.handle(t, peer.Request(gtp.TypeCreateSessionRequest, 0, append(peer.CreateElements(), peer.ConnectionSet(1, 1))...))
			answer := s.handle(t, peer.LostSets(1))
			switch {
			case want == 0:
				if answer != nil || len(cluster.asked) > 401 {
					t.Errorf("%d parts: % x after %d", parts, answer, len(cluster.asked))
				}
			case answer == nil || gtptest.Read(answer).Cause() != want || len(cluster.asked) != parts:
				t.Errorf("%d parts: % x after %d", parts, answer, len(cluster.asked))
			}
			seen := map[string]bool{}
			for _, id := range cluster.asked {
				if seen[id] {
					t.Fatalf("%d parts: the id of a part was used again", parts)
				}
				seen[id] = true
			}
		})
	}
}

// A command's answer is the update that it triggers.
func TestCommandTriggersUpdate(t *testing.T) {
	s, peer := newSite(t), gtptest.New()
	teid := gtptest.Read(s.handle(t, peer.Create())).TEIDOf(1)
	m, err := gtp.Parse(peer.ModifyCommand(teid))
	if err != nil {
		t.Fatal(err)
	}
	r := s.Handle(t.Context(), sgw, m)
	if r.Datagram != nil || r.Update == nil || r.Update.AMBRUpKbps != 30000 || r.IMSI != imsi {
		t.Errorf("%+v", r)
	}
}

// Refusals of one peer don't fill the log, nor keep another's out of it.
func TestRefusalsAreLoggedSparsely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, peer := newSite(t), gtptest.New()
		refuse := func(from netip.AddrPort, times int) (lines int) {
			before := s.log.lines()
			for range times {
				peer.Seq++
				m, err := gtp.Parse(peer.Delete(12345))
				if err != nil {
					t.Fatal(err)
				}
				s.Handle(t.Context(), from, m)
			}
			return s.log.lines() - before
		}
		if n := refuse(sgw, 500); n != 10 {
			t.Errorf("%d lines for 500 refusals", n)
		}
		if n := refuse(another, 1); n != 1 {
			t.Errorf("%d lines for another peer's", n)
		}
		if !strings.Contains(s.log.String(), "unlogged=490") {
			t.Error("the log doesn't say what is missing")
		}
		time.Sleep(time.Second)
		if n := refuse(sgw, 500); n != 10 {
			t.Errorf("%d lines a second later", n)
		}
	})
}
