package admin

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/adminapi"
)

// attach puts the phone on both paths.
func (n *oneNode) attach(t *testing.T) *command.Session {
	t.Helper()
	do := func(p proto.Message, out proto.Message) {
		t.Helper()
		r, err := n.Propose(t.Context(), command.New("test", "", "test", p))
		if err != nil || r.Code != command.Code_OK {
			t.Fatalf("%T: %v, %v", p, r, err)
		}
		if out != nil {
			if err := r.Into(out); err != nil {
				t.Fatal(err)
			}
		}
	}
	key := bytes.Repeat([]byte{7}, 32)
	do(&command.PutPolicy{Document: []byte("by hand"), Pools: []*command.Pool{{Apn: "seal.corp", PrefixAddress: []byte{10, 90, 0, 0}, PrefixBits: 16}}}, nil)
	do(&command.PutSubscriber{Subscriber: &command.Subscriber{
		Imsi: phone, Apns: []string{"seal.corp"}, State: command.DeviceState_ACTIVE, WireguardPublicKey: key,
	}}, nil)
	opened := new(command.Opened)
	do(&command.OpenSession{
		Imsi: phone, Apn: "seal.corp", PolicyRevision: 1, SubscriberVersion: 1, Entropy: make([]byte, 16), GatewayAddress: "gw1",
		Gtp: &command.GTPPath{Version: 2, Ebi: 5, RatType: 6, PeerC: &command.FTEID{Teid: 1, Address: []byte{198, 51, 100, 1}}},
	}, nil)
	do(&command.AttachWireGuard{Imsi: phone, Apn: "seal.corp", PolicyRevision: 1, SubscriberVersion: 1, PublicKey: key, GatewayAddress: "gw1"}, opened)
	return opened.Session
}

// lastProposed keeps the payload of the last command.
type lastProposed struct {
	*oneNode
	payload proto.Message
}

func (n *lastProposed) Propose(ctx context.Context, c *command.Command) (*command.Result, error) {
	_, n.payload, _ = command.Decode(command.Marshal(c))
	return n.oneNode.Propose(ctx, c)
}

func TestEndSession(t *testing.T) {
	s, n := newServer(t)
	id := n.attach(t).Id
	last := &lastProposed{oneNode: n}
	s.cfg.Cluster = last

	list := pageAt[adminapi.Session](t, s, "/v1/sessions").Items
	if len(list) != 1 || list[0].ID != id || strings.Join(list[0].Paths, " ") != "gtp wireguard" || list[0].Protocol != "WireGuard" || list[0].Peer != "198.51.100.1" || list[0].RAT != "EUTRAN" {
		t.Fatalf("sessions: %+v", list)
	}
	if w := s.send(t, operator, "DELETE", "/v1/sessions/1?reason="+url.QueryEscape("phone lost\n"), "", ""); w.Code != http.StatusNoContent {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if got := last.payload.(*command.ClosePath).GetReason(); got != "ended by operator:li: phone lost" {
		t.Errorf("the audit chain has the reason %q", got)
	}
	if n.machine.Session(id) != nil {
		t.Error("the session lives on another path")
	}
	if w := s.send(t, operator, "DELETE", "/v1/sessions/1", "", ""); w.Code != http.StatusNotFound {
		t.Errorf("a session that is gone: %d %s", w.Code, w.Body)
	}
}
