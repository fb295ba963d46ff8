package bundle

import (
	"time"

	"github.com/sealedge/sealedge/policy"
)

// Population is what two documents are compared over: the allow-list as it is,
// the orders that are open and the sessions that live. Nothing in it is changed.
type Population struct {
	Now       time.Time // by the cluster's clock
	Terminals []policy.Subscriber
	Barrels   []policy.Barrel
	MACs      map[string]string // of barrels, by id; nil: not known
	Orders    []Order
	Sessions  []Session
}

// Order is an order that isn't ended and has uses left.
type Order struct {
	Number    string
	SealType  string
	Permitted uint32
	NotBefore time.Time
	NotAfter  time.Time
	// Level and Methods are as the seal server answered last; 0 and none: not known.
	Level   int
	Methods []string
}

// Session is a session that lives, as it would ask to be admitted now.
type Session struct {
	ID      uint64
	Request policy.AdmitRequest
}

// Difference is what a change of the policy means.
type Difference struct {
	Touches  []policy.Touch `json:"touches"`
	Settings []Setting      `json:"settings"` // key by key
	Effects  []Effect       `json:"effects"`  // on the population, losses first
}

// Effect is one consequence, and for whom.
type Effect struct {
	Kind  string     `json:"kind"` // see the Effect constants
	Loses bool       `json:"loses"`
	Count int        `json:"count"`
	Text  string     `json:"text"` // "2 terminals lose finance seals"
	Who   []Affected `json:"who"`  // the first MostNamed of them

	having int // of the terminals: have such a seal in hand
}

// Affected is one object that an effect is on.
type Affected struct {
	Kind  string `json:"kind"` // "terminal", "barrel", "order" or "session"
	ID    string `json:"id"`
	Why   string `json:"why,omitempty"`
	Where string `json:"where,omitempty"` // file:line of what decides it now
}

// MostNamed bounds how many objects an effect names. All are counted.
const MostNamed = 100

// Words are the effects as sentences.
func (d Difference) Words() []string {
	out := make([]string, len(d.Effects))
	for i, e := range d.Effects {
		out[i] = e.Text
	}
	return out
}
