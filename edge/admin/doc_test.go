package admin

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/sealedge/sealedge/docs/api"
	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/wire"
)

func TestDocumentListsEveryRoute(t *testing.T) {
	documented, err := api.Routes(api.Admin)
	if err != nil {
		t.Fatal(err)
	}
	var served []string
	for _, rt := range new(Server).routes() {
		served = append(served, rt.pattern)
	}
	slices.Sort(served)
	if !slices.Equal(served, documented) {
		t.Errorf("served:\n%s\ndocumented:\n%s", strings.Join(served, "\n"), strings.Join(documented, "\n"))
	}
}

// The tag of an operation is the role that it needs.
func TestDocumentNamesEveryRole(t *testing.T) {
	var doc struct {
		Paths map[string]map[string]yaml.Node
	}
	if err := yaml.Unmarshal(api.Admin, &doc); err != nil {
		t.Fatal(err)
	}
	for _, rt := range new(Server).routes() {
		method, path, _ := strings.Cut(rt.pattern, " ")
		node := doc.Paths[path][strings.ToLower(method)]
		var operation struct{ Tags []string }
		if err := node.Decode(&operation); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(operation.Tags, []string{string(rt.role)}) {
			t.Errorf("%s needs %s, documented are %v", rt.pattern, rt.role, operation.Tags)
		}
	}
}

func TestDocumentListsEveryField(t *testing.T) {
	documented, err := api.Properties(api.Admin)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{
		adminapi.MoveAddress{},
		adminapi.Drain{},
		adminapi.Terminal{},
		adminapi.Router{},
		adminapi.RouterRADIUS{},
		adminapi.RouterDevice{},
		adminapi.Credentials{},
		adminapi.Barrel{},
		adminapi.Session{},
		adminapi.Peer{},
		adminapi.Procedure{},
		adminapi.Order{},
		adminapi.Use{},
		adminapi.Release{},
		adminapi.ReleaseUse{},
		adminapi.ConfirmRelease{},
		adminapi.Stamp{},
		adminapi.Status{},
		adminapi.GatewayAddress{},
		adminapi.Member{},
		adminapi.Removed{},
		adminapi.Policy{},
		adminapi.PolicyDiff{},
		adminapi.PolicyDifference{},
		adminapi.PolicySetting{},
		adminapi.PolicyEffect{},
		adminapi.PolicyAffected{},
		adminapi.PolicyFinding{},
		adminapi.PolicyQuestion{},
		adminapi.PolicyAnswer{},
		adminapi.PolicyReason{},
		adminapi.Revoked{},
		adminapi.Timing{},
		adminapi.Change{},
		adminapi.Approval{},
		adminapi.Proposal{},
		adminapi.Plan{},
		adminapi.Approve{},
		adminapi.Review{},
		adminapi.Revision{},
		adminapi.Reason{},
		adminapi.CheckOut{},
		adminapi.DeviceBatch{},
		adminapi.DeviceRow{},
		adminapi.Custody{},
		adminapi.DeviceBatchDone{},
		adminapi.RowOutcome{},
		adminapi.AuditLine{},
		adminapi.AuditHead{},
		adminapi.AuditSince{},
		adminapi.AuditProof{},
		adminapi.Epoch{},
		adminapi.Uncounted{},
		adminapi.CloseEpoch{},
		adminapi.ExcuseBarrel{},
		adminapi.Backup{},
		adminapi.Token{},
		adminapi.IssueToken{},
		adminapi.IssuedToken{},
		adminapi.FallbackLease{},
		adminapi.Fallback{},
		adminapi.IssueFallback{},
		adminapi.IssuedFallback{},
		wire.ConnectionAnswer{},
		wire.GatewayKey{},
		adminapi.FallbackKey{},
		adminapi.RotateFallbackKey{},
	} {
		typ := reflect.TypeOf(v)
		var fields []string
		for field := range typ.Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			fields = append(fields, name)
		}
		slices.Sort(fields)
		if !slices.Equal(fields, documented[typ.Name()]) {
			t.Errorf("%s has %v, documented are %v", typ.Name(), fields, documented[typ.Name()])
		}
		delete(documented, typ.Name())
	}
	delete(documented, "Problem") // edge/wire's, as the phone API documents it
	delete(documented, "Next")    // no object
	for name, fields := range documented {
		if strings.HasSuffix(name, "List") && slices.Equal(fields, []string{"items", "next"}) {
			continue // adminapi.List
		}
		t.Errorf("schema %s is no message", name)
	}
}
