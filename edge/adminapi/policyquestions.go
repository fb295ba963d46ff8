package adminapi

import "github.com/sealedge/sealedge/policy"

// PolicyDiff asks what a document in the place of the one in force would mean.
type PolicyDiff struct {
	Document string `json:"document"`
}

// PolicyDifference is the answer.
type PolicyDifference struct {
	Revision uint64          `json:"revision"` // that is in force; 0: none
	Touches  []string        `json:"touches"`
	Needed   uint32          `json:"needed"` // approvals of other persons
	Settings []PolicySetting `json:"settings"`
	Effects  []PolicyEffect  `json:"effects"`  // on the allow-list, the open orders and the live sessions
	Findings []PolicyFinding `json:"findings"` // about the document as such
}

// PolicySetting is one key that differs.
type PolicySetting struct {
	Key      string `json:"key"`
	Old      string `json:"old,omitempty"`
	New      string `json:"new,omitempty"`
	Touch    string `json:"touch"`
	Where    string `json:"where,omitempty"`
	WhereOld string `json:"where_old,omitempty"`
}

// PolicyEffect is one consequence, and for whom.
type PolicyEffect struct {
	Kind  string           `json:"kind"`
	Loses bool             `json:"loses"`
	Count int              `json:"count"`
	Text  string           `json:"text"`
	Who   []PolicyAffected `json:"who"`
}

// PolicyAffected is one object that an effect is on.
type PolicyAffected struct {
	Kind  string `json:"kind"` // "terminal", "barrel", "order" or "session"
	ID    string `json:"id"`
	Why   string `json:"why,omitempty"`
	Where string `json:"where,omitempty"`
}

// PolicyFinding is something about a document that is most likely meant otherwise.
type PolicyFinding struct {
	Kind  string   `json:"kind"`
	Rule  string   `json:"rule,omitempty"`
	By    []string `json:"by,omitempty"`
	Where string   `json:"where,omitempty"`
	Text  string   `json:"text"`
	Mend  string   `json:"mend,omitempty"`
	Note  bool     `json:"note,omitempty"`
}

// PolicyQuestion asks what would be decided, and why.
type PolicyQuestion struct {
	Action   string `json:"action"`             // "attach", "hotspot" or "use"
	Document string `json:"document,omitempty"` // by this one, instead of the one in force
	// Given is what is known, by key: imsi and barrel name records of the allow-list,
	// and the others say what is so instead. What isn't given is taken from the
	// terminal's session, or assumed to be as the document would like it.
	Given map[string][]string `json:"given"`
}

// PolicyAnswer is a decision with all that was judged.
type PolicyAnswer struct {
	Allowed  bool           `json:"allowed"`
	Code     string         `json:"code,omitempty"`
	Rule     string         `json:"rule,omitempty"` // of the document, that decided
	Revision uint64         `json:"revision"`       // of the policy in force; 0: by the document that was sent
	Text     string         `json:"text"`
	Assumed  []string       `json:"assumed"`
	Reasons  []PolicyReason `json:"reasons"`
}

// PolicyReason is what one rule said.
type PolicyReason struct {
	Rule     string `json:"rule"`
	Where    string `json:"where,omitempty"`
	OK       bool   `json:"ok"`
	Skipped  bool   `json:"skipped,omitempty"`
	Document bool   `json:"document,omitempty"` // it is one of the document's rules
	Text     string `json:"text"`
}

// ReasonsOf shows the reasons of a decision.
func ReasonsOf(d policy.Decision) []PolicyReason {
	out := []PolicyReason{}
	for _, r := range d.Reasons() {
		out = append(out, PolicyReason{Rule: r.Rule, Where: r.Source, OK: r.OK, Skipped: r.Skipped, Document: r.Document, Text: r.Text})
	}
	return out
}
