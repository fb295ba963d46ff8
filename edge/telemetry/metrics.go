package telemetry

import (
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// prefix of every metric.
const prefix = "sealedge_"

// metric is one family, as it is exported and documented.
type metric struct {
	name   string // after prefix
	kind   string // as Prometheus calls it
	help   string
	labels []string
	when   string // it is exported; empty: always
	desc   *prometheus.Desc

	buckets []float64 // of a histogram, in seconds
}

// definitions lists the families of this package, in the order of docs/metrics.md.
var definitions []*metric

func define(m metric) *metric {
	m.desc = prometheus.NewDesc(prefix+m.name, m.help, m.labels, nil)
	definitions = append(definitions, &m)
	return &m
}

func gauge(name, help string, labels ...string) *metric {
	return define(metric{name: name, kind: "gauge", help: help, labels: labels})
}

func gaugeWhen(when, name, help string, labels ...string) *metric {
	return define(metric{name: name, kind: "gauge", help: help, labels: labels, when: when})
}

func counter(name, help string, labels ...string) *metric {
	return counterWhen("", name, help, labels...)
}

func counterWhen(when, name, help string, labels ...string) *metric {
	return define(metric{name: name, kind: "counter", help: help, labels: labels, when: when})
}

func histogram(when, name, help string, buckets []float64, labels ...string) *metric {
	return define(metric{name: name, kind: "histogram", help: help, labels: labels, when: when, buckets: buckets})
}

// once is when most of what happens seldom is exported.
const once = "once there was one"

// The families. A truth is 1 or 0.
var (
	buildInfo = gauge("build_info", "1, with what runs.", "version", "go_version")

	raftRole        = gauge("raft_role", "1 for the role that this node has in the cluster: leader, follower, candidate or shutdown.", "role")
	raftTerm        = gauge("raft_term", "Term of the cluster, as this node knows it. It rises with every election.")
	raftLeaderKnown = gauge("raft_leader_known", "Whether this node knows a leader.")
	raftHolds       = gauge("raft_leader_lease_held", "Whether this node leads and a majority confirmed it within the lease.")
	raftLastIndex   = gauge("raft_last_log_index", "Index of the last entry in this node's log.")
	raftCommit      = gauge("raft_commit_index", "Index up to which this node knows entries to be committed.")
	raftApplied     = gauge("raft_applied_index", "Index of the last command applied here. Entries of Raft itself are none, so it may stay a little below the commit index.")
	raftContact     = gaugeWhen("not on the leader", "raft_leader_contact_age_seconds", "Time since the leader was last heard.")
	members         = gauge("cluster_members", "Members of the cluster by state: voter, or joining.", "state")
	membersHeard    = gaugeWhen("on the leader", "cluster_members_heard", "Members that answered within the lease, this node included.")
	commandLevel    = gauge("command_level", "Level of the commands that may be in the log.")
	commandApplies  = gauge("command_level_supported", "The highest level of commands that this node applies.")
	admissionsOpen  = gauge("admissions_open", "Whether new sessions and uses are admitted; not while a disk is nearly full.")
	auditSequence   = gauge("audit_sequence", "Sequence of the last entry of the audit chain.")
	auditGaps       = gauge("audit_gaps", "Ranges of the audit chain that are not on this node.")
	diskUsed        = gaugeWhen("where it can be told", "data_disk_used_ratio", "Used part of the file system that holds the data directory, 0 to 1.")
	diskStops       = gauge("data_disk_admission_stop_ratio", "Used part of the file system at which the cluster admits nothing new, as configured, 0 to 1.")
	clockOffset     = gauge("clock_offset_seconds", "How far this node's clock is ahead of the median of the nodes' clocks.")

	ready      = gauge("ready", "Whether the node meets a check of readiness, by the check's name in /readyz.", "check")
	backupDone = gaugeWhen(once, "backup_last_success_timestamp_seconds", "When this node last gave out a whole backup, in Unix time, since it started.")

	addressHeld    = gauge("gateway_address_held", "Whether this node holds the gateway address, by its name in the configuration.", "gateway")
	addressEpoch   = gauge("gateway_address_epoch", "Epoch of the gateway address. It rises with every change of holder.", "gateway")
	addressRestart = gauge("gateway_restart_counter", "GTP restart counter of the gateway address (TS 23.007). It changes only when sessions were lost.", "gateway")

	sessions      = gauge("sessions", "Sessions by the path that carries their downlink: carrier or fallback.", "path")
	sessionsBoth  = gauge("sessions_on_both_paths", "Sessions that are attached through both paths.")
	subscribers   = gauge("subscribers", "Subscribers on the allow-list.")
	barrels       = gauge("barrels", "Barrels on the allow-list.")
	addressLeases = gauge("address_leases", "Inner addresses that are tied to a subscriber, in use or not.")
	gtpPeers      = gauge("gtp_peers", "GTP peers of which there are records.")
	orders        = gauge("orders", "Work orders of which there are records.")
	uses          = gauge("seal_uses", "Uses of seals by state: reserved, stopped or settled.", "state")
	locksPending  = gauge("locks_pending", "Locks that barrel or terminal has not acknowledged.")
	evidenceBytes = gauge("evidence_stored_bytes", "Size of the images that the seal server stored as evidence of the uses on record.")
	evidenceLate  = gauge("evidence_overdue", "Stampings whose image is overdue.")
	remembered    = gauge("remembered_requests", "Results that are kept for repeated requests.")
	ordersFrozen  = gauge("orders_frozen", "Whether orders are frozen until barrels are counted, after a restore or a forced recovery.")
	policyNumber  = gauge("policy_revision", "Revision of the policy in force; 0: there is none.")

	certExpiry    = gaugeWhen("while the file can be read", "certificate_expiry_timestamp_seconds", "When the certificate ends, in Unix time; of several in a file, the first that does. By its key in the configuration.", "certificate")
	configRefused = gauge("config_refused", "Whether the configuration's file as it is now has mistakes or can't be read. The node runs with what it had.")
	configRestart = gauge("config_restart_needed", "Whether the configuration's file differs from what the node runs with in keys that take a restart.")
	certReadable  = gauge("certificate_readable", "Whether the certificate's file can be read, and its key is the one that belongs to it.", "certificate")
)

// What takes time.
var (
	diskBuckets    = []float64{.000_25, .000_5, .001, .002_5, .005, .01, .025, .05, .1, .25, .5, 1}
	requestBuckets = []float64{.001, .002_5, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20}

	appendTime    = histogram("", "raft_append_duration_seconds", "Time to make entries durable in this node's log.", diskBuckets)
	applyTime     = histogram("", "raft_apply_duration_seconds", "Time to apply entries that were committed together, and to write their audit.", diskBuckets)
	proposeTime   = histogram("", "propose_duration_seconds", "Time from a change's proposal on this node to its result, by outcome: done, no-quorum (not carried out), unknown (perhaps), or refused.", requestBuckets, "outcome")
	procedureTime = histogram(once, "gtp_procedure_duration_seconds", "Time from a carrier's request to its answer, by procedure and by the answer's cause.", requestBuckets, "procedure", "cause")
	useTime       = histogram("", "seal_use_request_duration_seconds", "Time of a terminal's request for a use, by outcome: granted, or the code of the refusal; other refusals than the gateway's or the seal server's own failures once there was one.", requestBuckets, "outcome")

	tracesExported = counterWhen("with telemetry.traces.endpoint", "traces_exported_total", "Spans of traces that the collector took.")
	tracesDropped  = counterWhen("with telemetry.traces.endpoint", "traces_dropped_total", "Spans of traces that were dropped, by cause: queue-full (the collector is too slow), refused (it is, and the trace is of a request that failed: others go first), undelivered (it can't be reached, or doesn't answer), or rejected (by the collector).", "cause")

	procedures = counterWhen(once, "gtp_procedures_total", "Procedures with carriers, theirs and ours, by how they ended. The carrier is called as in the policy, or unnamed.", "protocol", "procedure", "cause", "carrier")
)

// part is what counts: one of the node's components.
type part struct {
	name    string // before the dot in a counter's name
	events  *metric
	packets *metric // nil: it counts none
	bytes   *metric
	// watched are events that are exported as 0 before the first: an increase from
	// nothing at all is none to Prometheus, and alerts wait for them.
	watched []string
}

func (p *part) watch(events ...string) *part {
	p.watched = events
	return p
}

// merged is the event that stands for all whose name can't be a label's value.
const merged = "other"

func newPart(name, what string) *part {
	return &part{name: name, events: counter(name+"_events_total", what, "event")}
}

func newPacketPart(when, name, what, packets string) *part {
	p := newPart(name, what)
	p.packets = counterWhen(when, name+"_packets_total", fmt.Sprintf("Packets %s.", packets), "direction")
	p.bytes = counterWhen(when, name+"_bytes_total", fmt.Sprintf("Bytes of packets %s.", packets), "direction")
	return p
}

// parts are all that count.
var parts = []*part{
	newPart("gtpc", "What became of GTP-C messages, by event or by the reason for which one was dropped.").watch("path-failed", "path-restored"),
	newPacketPart("", "gtpu", "GTP-U signalling, and packets dropped, by reason.", "carried through GTP-U tunnels: uplink or downlink"),
	newPacketPart("with the fallback path", "wireguard", "Handshakes of the fallback path, and packets dropped, by reason.", "carried by the fallback path: uplink or downlink"),
	newPart("paths", "Moves of sessions between carrier and fallback, and those not made, by reason."),
	newPart("connection", "Requests for the fallback path, by the code of the answer."),
	newPacketPart("", "inner", "Packets dropped at the inner network, and what its IP stack refused, by reason.", "between terminals and the gateway's inner addresses: in or out"),
	newPart("phoneapi", "Requests of terminals, by the code of the answer.").watch("server-unreachable"),
	newPart("barrel", "Messages of barrels: answers by code, locks, and what was dropped, by reason."),
	newPart("hotspot", "Alarms of devices on a hotspot that are not on the list."),
	newPart("radius", "Requests of travel routers, by what became of them."),
	newPart("restoration", "Carriers' nodes whose sessions were released, by why, and how many sessions those were."),
	newPart("address", "What the holder of the gateway address had a Kubernetes Service do (gateway.address_driver service): writes of its EndpointSlice, and those that failed."),
	newPart("cluster", "Changes that the cluster refused, by reason, and comparisons that found the nodes' states to differ."),
}

var (
	innerConnections = gaugeWhen("with inner.driver netstack", "inner_tcp_connections", "TCP connections of terminals that are established.")
	namesMerged      = gauge("telemetry_names_merged", `Events whose name can't be a label's value, and that are counted as "other". It should be 0.`)
)

// directions of packets.
var directions = []string{"uplink", "downlink", "in", "out"}

// flow takes an event's name apart if it counts packets or bytes.
func flow(event string) (direction, unit string) {
	direction, unit, _ = strings.Cut(event, "-")
	for _, d := range directions {
		if d == direction && (unit == "packets" || unit == "bytes") {
			return direction, unit
		}
	}
	return "", ""
}

// nameable tells whether an event's name may be a label's value: it is made of
// words, and can be no address, number of a subscriber or certificate's name.
func nameable(event string) bool {
	digits := 0
	for _, c := range event {
		switch {
		case c >= '0' && c <= '9':
			digits++
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '-':
		default:
			return false
		}
	}
	return event != "" && len(event) <= 48 && digits <= 3
}

func processCollector() prometheus.Collector {
	return collectors.NewProcessCollector(collectors.ProcessCollectorOpts{Namespace: strings.TrimSuffix(prefix, "_")})
}

func goCollector() prometheus.Collector { return collectors.NewGoCollector() }
