package telemetry

import (
	"context"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/adminapi"
)

// Source is where the values come from, at each scrape.
type Source struct {
	Version string
	Node    func() Node
	// Counters has what every part has counted, by part and reason ("gtpc.sent").
	Counters func() map[string]uint64
	// State returns a copy of the replicated state, to be walked through. It is asked
	// for once in walkEvery at most.
	State         func() *state.Machine
	Procedures    func() []adminapi.Procedure
	Certificates  func() []Certificate
	Configuration func() Configuration
	BackedUp      func() time.Time // when this node last gave out a backup; zero: not since it started
	Traces        *Traces          // nil: none are made
}

// Node is how a node stands in its cluster.
type Node struct {
	Role                   string // "leader", "follower", "candidate" or "shutdown"
	LeaderKnown, Holds     bool
	Term, LastLog, Commit  uint64
	Applied                uint64
	LastContact            time.Time // with the leader; zero on the leader, or when there was none
	Voters, Joining, Heard int       // members; Heard on the leader only
	Level, Applies         uint32
	Admits                 bool
	AuditSequence          uint64
	AuditGaps              int
	DiskUsed               int // percent; -1: not known
	DiskStops              int // percent in use at which nothing new is admitted
	ClockAhead             time.Duration
	Addresses              []Address
}

// Address is a gateway address, by its name in the configuration.
type Address struct {
	Name    string
	Held    bool // by this node
	Epoch   uint64
	Restart uint8 // the GTP restart counter
}

// Configuration is how the configuration's file stands against what the node runs with.
type Configuration struct {
	Refused       bool // it has mistakes, or can't be read
	RestartNeeded bool // it differs in keys that take a restart
}

// Certificate is one that is configured. Name is its key, such as "tls.cert".
type Certificate struct {
	Name     string
	NotAfter time.Time // zero: it can't be read
}

const (
	walkEvery = 5 * time.Second
	maxEvents = 128 // of one part; those beyond are merged
)

// roles of a node.
var roles = []string{"leader", "follower", "candidate", "shutdown"}

// collector implements prometheus.Collector.
type collector struct {
	src    Source
	health *health

	mu     sync.Mutex // guards the rest
	census census
	taken  time.Time
	named  map[string]map[string]bool // the events that are exported, by part
	others map[string]bool            // the names that aren't, up to maxEvents
	ended  map[ending]bool            // the ways for procedures to end that are told apart
}

func newCollector(src Source, h *health) *collector {
	c := &collector{src: src, health: h, named: map[string]map[string]bool{}, others: map[string]bool{}, ended: map[ending]bool{}}
	for _, p := range parts { // they have their place among maxEvents
		for _, event := range p.watched {
			c.exports(p.name, event)
		}
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range definitions {
		if m.kind != "histogram" { // which are registered by themselves
			ch <- m.desc
		}
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	out := sink(ch)
	out.put(buildInfo, 1, c.src.Version, runtime.Version())
	if c.src.Traces != nil {
		c.src.Traces.counted(out)
	}
	out.node(c.src.Node())
	for _, x := range c.src.Certificates() {
		out.put(certReadable, truth(!x.NotAfter.IsZero()), x.Name)
		if !x.NotAfter.IsZero() {
			out.put(certExpiry, float64(x.NotAfter.Unix()), x.Name)
		}
	}
	file := c.src.Configuration()
	out.put(configRefused, truth(file.Refused))
	out.put(configRestart, truth(file.RestartNeeded))
	c.ready(out)
	if t := c.src.BackedUp(); !t.IsZero() {
		out.put(backupDone, float64(t.UnixNano())/1e9)
	}
	counts, ended := c.src.Counters(), c.src.Procedures()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counters(out, counts)
	c.procedures(out, ended)
	if now := time.Now(); c.taken.IsZero() || now.Sub(c.taken) >= walkEvery {
		c.census, c.taken = take(c.src.State()), now
	}
	c.census.put(out)
}

type sink chan<- prometheus.Metric

func (s sink) put(m *metric, value float64, labels ...string) {
	kind := prometheus.GaugeValue
	if m.kind == "counter" {
		kind = prometheus.CounterValue
	}
	s <- prometheus.MustNewConstMetric(m.desc, kind, value, labels...)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (s sink) node(n Node) {
	for _, r := range roles {
		s.put(raftRole, truth(n.Role == r), r)
	}
	s.put(raftTerm, float64(n.Term))
	s.put(raftLeaderKnown, truth(n.LeaderKnown))
	s.put(raftHolds, truth(n.Holds))
	s.put(raftLastIndex, float64(n.LastLog))
	s.put(raftCommit, float64(n.Commit))
	s.put(raftApplied, float64(n.Applied))
	if !n.LastContact.IsZero() {
		s.put(raftContact, max(0, time.Since(n.LastContact).Seconds()))
	}
	s.put(members, float64(n.Voters), "voter")
	s.put(members, float64(n.Joining), "joining")
	if n.Role == "leader" {
		s.put(membersHeard, float64(n.Heard))
	}
	s.put(commandLevel, float64(n.Level))
	s.put(commandApplies, float64(n.Applies))
	s.put(admissionsOpen, truth(n.Admits))
	s.put(auditSequence, float64(n.AuditSequence))
	s.put(auditGaps, float64(n.AuditGaps))
	if n.DiskUsed >= 0 {
		s.put(diskUsed, float64(n.DiskUsed)/100)
	}
	s.put(diskStops, float64(n.DiskStops)/100)
	s.put(clockOffset, n.ClockAhead.Seconds())
	for _, a := range n.Addresses {
		s.put(addressHeld, truth(a.Held), a.Name)
		s.put(addressEpoch, float64(a.Epoch), a.Name)
		s.put(addressRestart, float64(a.Restart), a.Name)
	}
}

// ready puts the checks of readiness. What didn't come to an end isn't met.
func (c *collector) ready(out sink) {
	met := map[string]bool{}
	states, _ := c.health.look(context.Background()) // the error says that there are none
	for _, s := range states {
		met[s.name] = s.err == nil
	}
	for _, check := range c.health.checks {
		out.put(ready, truth(met[check.Name]), check.Name)
	}
}

// established is a counter of the inner network that isn't one: it falls, too.
const established = "stack-tcp-established"

// counters puts what was counted. A name that can't be a label's value, or is one
// too many, is merged with the others of its part for good, so that they never fall.
func (c *collector) counters(out sink, all map[string]uint64) {
	keys := slices.Sorted(maps.Keys(all))
	for _, p := range parts {
		var rest uint64
		for _, event := range p.watched {
			if _, counted := all[p.name+"."+event]; !counted {
				out.put(p.events, 0, event)
			}
		}
		for _, key := range keys {
			event, ok := cutPart(key, p.name)
			if !ok {
				continue
			}
			n := all[key]
			direction, unit := flow(event)
			switch {
			case p.name == "inner" && event == established:
				out.put(innerConnections, float64(n))
			case p.packets != nil && unit == "packets":
				out.put(p.packets, float64(n), direction)
			case p.bytes != nil && unit == "bytes":
				out.put(p.bytes, float64(n), direction)
			case c.exports(p.name, event):
				out.put(p.events, float64(n), event)
			default:
				rest += n
			}
		}
		out.put(p.events, float64(rest), merged)
	}
	for _, key := range keys {
		if !slices.ContainsFunc(parts, func(p *part) bool { _, ok := cutPart(key, p.name); return ok }) {
			c.other(key)
		}
	}
	out.put(namesMerged, float64(len(c.others)))
}

func cutPart(key, part string) (event string, ok bool) {
	if len(key) <= len(part) || key[:len(part)] != part || key[len(part)] != '.' {
		return "", false
	}
	return key[len(part)+1:], true
}

func (c *collector) exports(part, event string) bool {
	named := c.named[part]
	if named[event] {
		return true
	}
	if !nameable(event) || event == merged || len(named) == maxEvents {
		c.other(part + "." + event)
		return false
	}
	if named == nil {
		named = map[string]bool{}
		c.named[part] = named
	}
	named[event] = true
	return true
}

func (c *collector) other(name string) {
	if len(c.others) < maxEvents {
		c.others[name] = true
	}
}

// census is what a walk through the state counted.
type census struct {
	counts         state.Counts
	carrier        int // sessions whose downlink goes there
	both           int
	byState        map[command.UseState]int
	evidence       uint64
	overdue        int
	frozen         bool
	policyRevision uint64
}

func take(m *state.Machine) census {
	c := census{counts: m.Counts(), byState: map[command.UseState]int{}, frozen: m.Frozen(), policyRevision: m.PolicyRevision()}
	for s := range m.Sessions() {
		if s.Active == command.PathKind_GTP {
			c.carrier++
		}
		if s.Gtp != nil && s.Wireguard != nil {
			c.both++
		}
	}
	for u := range m.Uses() {
		c.byState[u.State]++
		for _, st := range u.Stamps {
			if st.EvidenceRecorded != 0 {
				c.evidence += st.EvidenceSize
			} else if st.Overdue {
				c.overdue++
			}
		}
	}
	return c
}

func (c *census) put(out sink) {
	out.put(sessions, float64(c.carrier), "carrier")
	out.put(sessions, float64(c.counts.Sessions-c.carrier), "fallback")
	out.put(sessionsBoth, float64(c.both))
	out.put(subscribers, float64(c.counts.Subscribers))
	out.put(barrels, float64(c.counts.Barrels))
	out.put(addressLeases, float64(c.counts.Leases))
	out.put(gtpPeers, float64(c.counts.Peers))
	out.put(orders, float64(c.counts.Orders))
	out.put(uses, float64(c.byState[command.UseState_RESERVED]), "reserved")
	out.put(uses, float64(c.byState[command.UseState_STOPPED]), "stopped")
	out.put(uses, float64(c.byState[command.UseState_SETTLED]), "settled")
	out.put(locksPending, float64(c.counts.PendingLocks))
	out.put(evidenceBytes, float64(c.evidence))
	out.put(evidenceLate, float64(c.overdue))
	out.put(remembered, float64(c.counts.Remembered))
	out.put(ordersFrozen, truth(c.frozen))
	out.put(policyNumber, float64(c.policyRevision))
}
