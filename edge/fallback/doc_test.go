package fallback

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"

	"github.com/sealedge/sealedge/docs/api"
	"github.com/sealedge/sealedge/edge/wire"
)

// contract has the schemas of the document, by name.
var contract = sync.OnceValues(func() (map[string]*jsonschema.Schema, error) {
	var doc any
	if err := yaml.Unmarshal(api.Fallback, &doc); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	plain, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	if err := c.AddResource("fallback.json", plain); err != nil {
		return nil, err
	}
	all := map[string]*jsonschema.Schema{}
	for _, name := range []string{"Problem", "ConnectionRequest", "ConnectionAnswer", "GatewayKey"} {
		if all[name], err = c.Compile("fallback.json#/components/schemas/" + name); err != nil {
			return nil, err
		}
	}
	return all, nil
})

// documented compares a message with its schema.
func documented(name string, body []byte) error {
	schemas, err := contract()
	if err != nil {
		return err
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return schemas[name].Validate(v)
}

// asDocumented compares an answer of the listener with the document.
func (a reply) asDocumented(path, method string) error {
	kind := a.header.Get("Content-Type")
	if a.status == http.StatusCreated && kind == "application/json" {
		return documented("ConnectionAnswer", a.body)
	}
	if kind != wire.ContentTypeProblem {
		return fmt.Errorf("status %d with %s", a.status, kind)
	}
	var doc struct {
		Paths map[string]map[string]struct{ Responses map[string]any }
	}
	if err := yaml.Unmarshal(api.Fallback, &doc); err != nil {
		return err
	}
	if operation, ok := doc.Paths[path][strings.ToLower(method)]; ok && operation.Responses[strconv.Itoa(a.status)] == nil {
		return fmt.Errorf("status %d is not documented", a.status)
	}
	return documented("Problem", a.body)
}

func TestDocumentListsEveryRouteAndField(t *testing.T) {
	routes, err := api.Routes(api.Fallback)
	if err != nil || !slices.Equal(routes, []string{"POST " + wire.PathConnections}) {
		t.Errorf("documented: %v, %v", routes, err)
	}
	properties, err := api.Properties(api.Fallback)
	if err != nil {
		t.Fatal(err)
	}
	if names := slices.Sorted(maps.Keys(properties)); !slices.Equal(names, []string{"ConnectionAnswer", "ConnectionRequest", "GatewayKey", "Problem"}) {
		t.Errorf("schemas %v", names)
	}
	for _, v := range []any{wire.ConnectionRequest{}, wire.ConnectionAnswer{}, wire.GatewayKey{}} {
		typ := reflect.TypeOf(v)
		var fields []string
		for f := range typ.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			fields = append(fields, name)
		}
		if slices.Sort(fields); !slices.Equal(fields, properties[typ.Name()]) {
			t.Errorf("%s has %v, documented are %v", typ.Name(), fields, properties[typ.Name()])
		}
	}
	// It is the same in the phone API.
	inside, err := api.Properties(api.Phone)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ConnectionRequest", "ConnectionAnswer", "GatewayKey"} {
		if !slices.Equal(inside[name], properties[name]) {
			t.Errorf("%s inside a tunnel has %v, outside %v", name, inside[name], properties[name])
		}
	}
	codes, err := api.Enum(api.Fallback, "Problem", "code")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range codes {
		if _, ok := wire.Code(c).Kind(); !ok {
			t.Errorf("code %s is documented, and there is none", c)
		}
	}
}

// The examples of docs/fallback.md are messages, and its refusal is the one that there is.
func TestExamplesOfTheGuide(t *testing.T) {
	guide, err := os.ReadFile("../../docs/fallback.md")
	if err != nil {
		t.Fatal(err)
	}
	var examples [][]byte
	for _, part := range strings.Split(string(guide), "```json\n")[1:] {
		text, _, _ := strings.Cut(part, "```")
		examples = append(examples, []byte(text))
	}
	if len(examples) < 3 {
		t.Fatalf("%d examples", len(examples))
	}
	for i, name := range []string{"ConnectionRequest", "ConnectionAnswer", "Problem"} {
		if err := documented(name, examples[i]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	var req wire.ConnectionRequest
	if err := wire.DecodeRequest(bytes.NewReader(examples[0]), &req); err != nil {
		t.Fatal(err)
	}
	if _, p := parse(req); p != nil {
		t.Errorf("the request: %v", p)
	}
	var refusal wire.Problem
	if err := json.Unmarshal(examples[2], &refusal); err != nil || !reflect.DeepEqual(&refusal, wire.NewProblem(wire.CodeConnectionRefused, "")) {
		t.Errorf("the refusal is %v, %v", refusal, err)
	}
}
