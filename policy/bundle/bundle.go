// Package bundle reads the policy document, a versioned and strictly decoded
// YAML file, into policy.Rules and the address pools for the cluster.
//
// A document that has any mistake gives no rules, and every mistake is named
// at once with its line, column and mend. default.yaml shows all keys.
package bundle

import (
	"fmt"
	"strings"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/document"
)

// The header that every document begins with.
const (
	APIVersion = "sealedge.dev/v1"
	Kind       = "Policy"
)

// MaxSize bounds a document, in bytes: it goes through the Raft log as one entry.
const MaxSize = 512 << 10

// Parse reads a document and runs the tests that it carries. file names it in
// mistakes and reasons. The error is document.Mistakes. The rules' revision is 0
// until Compile, or whoever puts the document in force, gives it.
func Parse(file string, doc []byte) (*policy.Rules, []*command.Pool, error) {
	p, err := parse(file, doc)
	if err != nil {
		return nil, nil, err
	}
	if p.runTests(); p.doc.Err() != nil {
		return nil, nil, p.doc.Err()
	}
	return p.rules, p.compiled, nil
}

// Compile makes the rules of the policy in force. Its document was parsed when
// it was proposed, so an error means that another version of this program
// wrote it. Its tests were passed then and aren't run again: no policy at all
// would be worse than one whose test fails under a later version.
func Compile(p *command.Policy) (*policy.Rules, error) {
	parsed, err := parse(fmt.Sprintf("policy revision %d", p.GetRevision()), p.GetDocument())
	if err != nil {
		return nil, fmt.Errorf("the policy in force does not compile: %w", err)
	}
	parsed.rules.Revision = p.GetRevision()
	return parsed.rules, nil
}

// parse reads a document, without running its tests.
func parse(file string, doc []byte) (*parser, error) {
	if len(doc) > MaxSize {
		return nil, document.Mistakes{{File: file, Text: fmt.Sprintf("the document has %d bytes", len(doc)), Mend: fmt.Sprintf("keep it under %d", MaxSize)}}
	}
	p := &parser{doc: document.Read(file, doc), rules: &policy.Rules{Sources: map[string]string{}}}
	p.document(p.doc.Root())
	if err := p.doc.Err(); err != nil {
		return nil, err
	}
	p.rules.Index()
	return p, nil
}

// parser fills rules and pools out of one document.
type parser struct {
	doc             *document.Document
	rules           *policy.Rules
	compiled        []*command.Pool
	gateways, pools []claim // of all APNs
	tests           []Test
}

// source notes which line governs a rule, by the key as policy asks for it.
func (p *parser) source(v document.Value, key ...string) {
	if v.Present() {
		p.rules.Sources[strings.Join(key, "/")] = v.Where()
	}
}

func (p *parser) document(root document.Value) {
	top := root.Map()
	exactly(top.Need("apiVersion", "apiVersion: "+APIVersion), APIVersion)
	exactly(top.Need("kind", "kind: "+Kind), Kind)
	meta := top.Get("metadata").Map()
	meta.Get("name").Text()
	meta.Get("description").Text()
	meta.Close()

	at := top.Need("spec", "spec:")
	p.source(at, "spec")
	if spec := at.Map(); at.Present() {
		p.apns(spec.Need("apns", "apns: [{name: seal.corp, gateway: 10.90.0.1, pools: [10.90.0.0/16]}]"))
		p.carriers(spec.Get("carriers"))
		p.admission(spec.Get("admission"))
		p.levels(spec.Need("levels", "levels: {1: {methods: [fingerprint, face]}}"))
		p.sealTypes(spec.Need("sealTypes", "sealTypes: {company: {level: 1, maxCount: 10, maxWindow: 72h}}"))
		p.servers(spec)
		p.fallback(spec.Get("fallback"))
		p.zone(spec.Get("timeZone"))
		p.locations(spec.Get("locations"))
		p.hotspot(spec.Get("hotspot"))
		p.control(spec.Get("changeControl"))
		p.table(spec.Get("rules")) // after all that rules name
		spec.Close()
	}
	p.readTests(top.Get("tests"))
	top.Close()
}

func exactly(v document.Value, want string) {
	if have := v.Text(); have != "" && have != want {
		v.Report(fmt.Sprintf("write %q", want), "want %q, have %q", want, have)
	}
}
