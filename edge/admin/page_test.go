package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/adminapi"
)

func (n *oneNode) must(t *testing.T, p proto.Message) {
	t.Helper()
	if r, err := n.Propose(t.Context(), command.New("test", "", "test", p)); err != nil || r.Code != command.Code_OK {
		t.Fatalf("%T: %v, %v", p, r, err)
	}
}

// pageAt reads one page of a list.
func pageAt[T any](t *testing.T, s *Server, path string) adminapi.List[T] {
	t.Helper()
	w := s.send(t, operator, "GET", path, "", "")
	var l adminapi.List[T]
	if err := json.Unmarshal(w.Body.Bytes(), &l); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	if l.Items == nil {
		t.Fatalf("%s has no items, not even none: %s", path, w.Body)
	}
	return l
}

func imsiOf(i int) string { return fmt.Sprintf("46001%010d", i) }

func TestPages(t *testing.T) {
	s, n := newServer(t)
	if l := pageAt[adminapi.Terminal](t, s, "/v1/terminals"); len(l.Items) != 0 || l.Next != "" {
		t.Errorf("of nothing there is %+v", l)
	}
	for i := range 25 {
		n.must(t, &command.PutSubscriber{Subscriber: &command.Subscriber{Imsi: imsiOf(i), Apns: []string{"seal.corp"}, State: command.DeviceState_ACTIVE}})
		n.must(t, &command.SuspendOrder{Order: fmt.Sprintf("WO/%02d ü", i), Reason: "test"})
	}
	var got []string
	pages := 0
	for next := ""; ; pages++ {
		l := pageAt[adminapi.Terminal](t, s, "/v1/terminals?limit=10&after="+next)
		for _, v := range l.Items {
			got = append(got, v.IMSI)
		}
		// What comes and goes meanwhile makes nothing else missing or double.
		switch pages {
		case 0:
			n.must(t, &command.PutSubscriber{Subscriber: &command.Subscriber{Imsi: "460001", Apns: []string{"seal.corp"}, State: command.DeviceState_ACTIVE}})
		case 1:
			n.must(t, &command.PutSubscriber{Subscriber: &command.Subscriber{Imsi: imsiOf(100), Apns: []string{"seal.corp"}, State: command.DeviceState_ACTIVE}})
		}
		if next = l.Next; next == "" {
			break
		}
	}
	if len(got) != 26 || pages != 2 || got[0] != imsiOf(0) || got[24] != imsiOf(24) || got[25] != imsiOf(100) {
		t.Errorf("%d more pages have %v", pages, got)
	}
	if l := pageAt[adminapi.Terminal](t, s, "/v1/terminals?limit=27"); len(l.Items) != 27 || l.Next != "" {
		t.Errorf("a page that is just full: %d, next %q", len(l.Items), l.Next)
	}
	first := pageAt[adminapi.Order](t, s, "/v1/orders?limit=1")
	if l := pageAt[adminapi.Order](t, s, "/v1/orders?limit=1&after="+url.QueryEscape(first.Next)); l.Items[0].Number != "WO/01 ü" {
		t.Errorf("after %q comes %+v", first.Next, l)
	}
}

// Without a limit a page is bounded all the same.
func TestPagesAreBounded(t *testing.T) {
	s, n := newServer(t)
	for i := range adminapi.DefaultLimit + 1 {
		n.must(t, &command.PutSubscriber{Subscriber: &command.Subscriber{Imsi: imsiOf(i), Apns: []string{"seal.corp"}, State: command.DeviceState_ACTIVE}})
	}
	l := pageAt[adminapi.Terminal](t, s, "/v1/terminals")
	if len(l.Items) != adminapi.DefaultLimit || l.Next == "" {
		t.Errorf("%d items, next %q", len(l.Items), l.Next)
	}
}

func TestPagesOfEveryList(t *testing.T) {
	s, n := newServer(t)
	n.attach(t)
	for _, path := range []string{"/v1/terminals", "/v1/barrels", "/v1/sessions", "/v1/orders", "/v1/uses", "/v1/peers"} {
		pageAt[json.RawMessage](t, s, path)
		for _, q := range []string{"?limit=0", "?limit=10001", "?limit=-1", "?limit=many", "?after=%21", "?limit=99999999999999999999"} {
			if w := s.send(t, operator, "GET", path+q, "", ""); w.Code != http.StatusBadRequest {
				t.Errorf("%s%s: %d %s", path, q, w.Code, w.Body)
			}
		}
	}
	if l := pageAt[adminapi.Peer](t, s, "/v1/peers"); len(l.Items) != 1 {
		t.Errorf("peers: %+v", l)
	}
	// The cursor of one list is no other's.
	for _, path := range []string{"/v1/sessions", "/v1/uses", "/v1/peers"} {
		if w := s.send(t, operator, "GET", path+"?after=V08tMQ", "", ""); w.Code != http.StatusBadRequest {
			t.Errorf("%s after WO-1: %d %s", path, w.Code, w.Body)
		}
	}
}
