package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/adminapi"
)

func TestListsAreFiltered(t *testing.T) {
	s, n := newServer(t)
	var rows []string
	for i := range 9 {
		group := []string{"a", "b", "c"}[i%3]
		rows = append(rows, fmt.Sprintf(`{"terminal":{"imsi":"46001000000000%d","apns":["a"],"label":"Phone %d","groups":[%q],"msisdn":"861380000000%d"}}`, i, i, group, i))
	}
	for i := range 3 {
		rows = append(rows, fmt.Sprintf(`{"barrel":{"id":"SB-%d","mac":"02:00:00:00:00:0%d","label":"Vault %d","seal_type":%q,"dtls_cert_sha256":"%064d","receipt_public_key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}}`,
			i, i, i, []string{"contract", "finance", "finance"}[i], i))
	}
	rows = append(rows, `{"check_out":{"barrel":"SB-0","imsi":"460010000000000"}}`, `{"check_out":{"barrel":"SB-1","imsi":"460010000000001"}}`)
	for _, r := range sendBatch(t, s, "", rows...) {
		if r.Outcome == adminapi.RowRefused {
			t.Fatal(r)
		}
	}
	if _, err := n.Propose(t.Context(), command.New("test", "", "test", &command.SuspendDevice{Imsi: "460010000000002", Reason: "x"})); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{
		"terminals?group=b":                       "1 4 7",
		"terminals?group=d":                       "",
		"terminals?state=suspended":               "2",
		"terminals?state=active&group=c":          "5 8",
		"terminals?text=pHONE%207":                "7",
		"terminals?text=8613800000003":            "3",
		"terminals?seal_type=finance":             "1",
		"terminals?seal_type=finance&group=a":     "",
		"terminals?limit=2&group=b&after=":        "1 4 next",
		"barrels?seal_type=finance":               "1 2",
		"barrels?group=a":                         "0",
		"barrels?text=vault":                      "0 1 2",
		"barrels?text=460010000000001":            "1",
		"barrels?state=revoked":                   "",
		"terminals?limit=9&text=phone&state=":     "0 1 2 3 4 5 6 7 8",
		"terminals?limit=1&state=suspended":       "2",
		"terminals?limit=1&state=suspended&text=": "2",
	} {
		w := s.send(t, operator, "GET", "/v1/"+query, "", "")
		var list adminapi.List[struct{ IMSI, ID string }]
		if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", query, w.Code, w.Body)
		}
		var got []string
		for _, v := range list.Items {
			name := v.IMSI + v.ID
			got = append(got, name[len(name)-1:])
		}
		if list.Next != "" {
			got = append(got, "next")
		}
		if g := strings.Join(got, " "); g != want {
			t.Errorf("%s: %q, want %q", query, g, want)
		}
	}
	if w := s.send(t, operator, "GET", "/v1/terminals?state=lost", "", ""); w.Code != http.StatusBadRequest {
		t.Errorf("a state that is none: %d", w.Code)
	}
}
