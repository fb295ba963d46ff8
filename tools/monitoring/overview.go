package main

// attaches are the procedures by which a terminal attaches, of both versions of GTP.
const attaches = `procedure=~"create-session|create-pdp-context"`

func dashboards() []dashboard { return []dashboard{overview(), userPlane(), machinery()} }

var yesNo = map[string]string{"0": "no", "1": "yes"}

func overview() dashboard {
	return dashboard{
		name: "overview", title: "sealedge / Overview",
		about: "Whether a cluster of gateways serves: who leads and holds the addresses, sessions, attaches, uses of seals, locks, the seal server.",
		rows: []row{
			{"Is it serving?", []panel{
				{
					title: "Alerts", kind: "table", unit: "none", width: 12,
					about:   "The alerts of sealedge that fire or are about to. Each has a runbook in docs/runbooks.",
					queries: []query{{`ALERTS{cluster,alertname=~"Sealedge.+"}`, ""}},
				},
				{
					title: "Nodes ready", kind: "stat", unit: "none", width: 4, alarm: 1, warn: 2,
					about:   "Nodes that meet every check of /readyz.",
					queries: []query{{`count(min by (instance) (sealedge_ready{cluster}) == 1) or vector(0)`, "ready"}},
				},
				{
					title: "Members heard", kind: "stat", unit: "none", width: 4, alarm: 1, warn: 2,
					about:   "Members that answer the leader, itself included. With fewer than the majority nothing is decided.",
					queries: []query{{`max(sealedge_cluster_members_heard{cluster}) or vector(0)`, "heard"}},
				},
				{
					title: "Leader", kind: "stat", unit: "none", width: 4, alarm: 0.5, warn: 1, values: yesNo,
					about:   "Whether a node leads with a majority behind it.",
					queries: []query{{`max(sealedge_raft_leader_lease_held{cluster}) or vector(0)`, "has a majority"}},
				},
				{
					title: "Gateway addresses held", kind: "stat", unit: "none", width: 4, alarm: 0.5, warn: 1, values: yesNo,
					about:   "Whether a node holds each gateway address. Carriers get no answer at one that nobody holds.",
					queries: []query{{`max by (gateway) (sealedge_gateway_address_held{cluster})`, "{{gateway}}"}},
				},
				{
					title: "New sessions and uses", kind: "stat", unit: "none", width: 4, alarm: 0.5, warn: 1, values: map[string]string{"0": "refused", "1": "admitted"},
					about:   "They are refused while disks are too full.",
					queries: []query{{`min(sealedge_admissions_open{cluster})`, "admissions"}},
				},
				{
					title: "Orders", kind: "stat", unit: "none", width: 4, warn: 0.5, alarm: 1, values: map[string]string{"0": "open", "1": "frozen"},
					about:   "After a restore they are frozen until every barrel is counted.",
					queries: []query{{`max(sealedge_orders_frozen{cluster})`, "orders"}},
				},
			}},
			{"The cluster", []panel{
				{
					title: "Who leads", kind: "timeseries", unit: "none", most: 1,
					about:   "1 for the node that leads.",
					queries: []query{{`sealedge_raft_role{node,role="leader"}`, "{{instance}}"}},
				},
				{
					title: "Who holds the gateway addresses", kind: "timeseries", unit: "none", most: 1,
					about:   "1 for the node that holds an address. Orange lines mark a change of holder.",
					queries: []query{{`sealedge_gateway_address_held{node}`, "{{gateway}} {{instance}}"}},
				},
				{
					title: "Ready", kind: "timeseries", unit: "none", most: 1,
					about:   "1 for each check of /readyz that a node meets.",
					queries: []query{{`sealedge_ready{node}`, "{{instance}} {{check}}"}},
				},
			}},
			{"Sessions and attaches", []panel{
				{
					title: "Sessions", kind: "timeseries", unit: "short", stacked: true,
					about:   "Sessions by the path of their downlink. All nodes tell the same; this is the most that one tells.",
					queries: []query{{`max by (path) (sealedge_sessions{cluster})`, "{{path}}"}},
				},
				{
					title: "Attaches by cause", kind: "timeseries", unit: "reqps", stacked: true,
					about:   "What carriers were answered (docs/causes.md says why each cause). none: no answer.",
					queries: []query{{`sum by (cause) (rate(sealedge_gtp_procedures_total{cluster,` + attaches + `}[$__rate_interval]))`, "{{cause}}"}},
				},
				{
					title: "Procedures by carrier", kind: "timeseries", unit: "reqps", stacked: true,
					about:   "All procedures with carriers, by the carrier's name in the policy.",
					queries: []query{{`sum by (carrier) (rate(sealedge_gtp_procedures_total{cluster}[$__rate_interval]))`, "{{carrier}}"}},
				},
				{
					title: "How long attaches take", kind: "heatmap", unit: "s", width: 12,
					about:   "From a carrier's request to the answer. Carriers repeat one after some seconds.",
					queries: []query{{`sum by (le) (increase(sealedge_gtp_procedure_duration_seconds_bucket{cluster,` + attaches + `}[$__rate_interval]))`, ""}},
				},
				{
					title: "How long attaches take at most", kind: "timeseries", unit: "s", width: 12, warn: 0.5, alarm: 1,
					about: "The time within which half of the attaches, and 99 of 100, are answered.",
					queries: []query{
						{`histogram_quantile(0.5, sum by (le) (rate(sealedge_gtp_procedure_duration_seconds_bucket{cluster,` + attaches + `}[$__rate_interval])))`, "half"},
						{`histogram_quantile(0.99, sum by (le) (rate(sealedge_gtp_procedure_duration_seconds_bucket{cluster,` + attaches + `}[$__rate_interval])))`, "99 of 100"},
					},
				},
			}},
			{"Uses of seals", []panel{
				{
					title: "Requests for a use", kind: "timeseries", unit: "reqps", stacked: true,
					about:   "By outcome: granted, or the code of the refusal.",
					queries: []query{{`sum by (outcome) (rate(sealedge_seal_use_request_duration_seconds_count{cluster}[$__rate_interval]))`, "{{outcome}}"}},
				},
				{
					title: "How long requests for a use take", kind: "heatmap", unit: "s",
					about:   "With the seal server's verification of the order.",
					queries: []query{{`sum by (le) (increase(sealedge_seal_use_request_duration_seconds_bucket{cluster}[$__rate_interval]))`, ""}},
				},
				{
					title: "Uses on record", kind: "timeseries", unit: "short",
					about:   "Reserved ones are under way, or their outcome isn't known.",
					queries: []query{{`max by (state) (sealedge_seal_uses{cluster})`, "{{state}}"}},
				},
				{
					title: "Locks pending", kind: "timeseries", unit: "short",
					about:   "Locks that barrel or terminal has not acknowledged.",
					queries: []query{{`max(sealedge_locks_pending{cluster})`, "locks"}},
				},
				{
					title: "Evidence overdue", kind: "timeseries", unit: "short",
					about:   "Stampings whose image has not come in time.",
					queries: []query{{`max(sealedge_evidence_overdue{cluster})`, "images"}},
				},
				{
					title: "Evidence stored", kind: "timeseries", unit: "bytes",
					about:   "Images that the seal server stored, of the uses on record.",
					queries: []query{{`max(sealedge_evidence_stored_bytes{cluster})`, "images"}},
				},
			}},
			{"Terminals, barrels and the seal server", []panel{
				{
					title: "The seal server doesn't answer", kind: "timeseries", unit: "reqps",
					about:   "Requests of terminals that ended because the seal server could not be reached.",
					queries: []query{{`sum(rate(sealedge_phoneapi_events_total{cluster,event="server-unreachable"}[$__rate_interval]))`, "server-unreachable"}},
				},
				{
					title: "Answers to terminals", kind: "timeseries", unit: "reqps", stacked: true,
					about:   "Requests at the phone API by the code of the answer.",
					queries: []query{{`sum by (event) (rate(sealedge_phoneapi_events_total{cluster}[$__rate_interval]))`, "{{event}}"}},
				},
				{
					title: "Messages of barrels", kind: "timeseries", unit: "reqps", stacked: true,
					about:   "Answers to barrels by code, locks, and what was dropped.",
					queries: []query{{`sum by (event) (rate(sealedge_barrel_events_total{cluster}[$__rate_interval]))`, "{{event}}"}},
				},
				{
					title: "On the list", kind: "timeseries", unit: "short",
					about: "Subscribers, barrels and orders of which there are records.",
					queries: []query{
						{`max(sealedge_subscribers{cluster})`, "subscribers"}, {`max(sealedge_barrels{cluster})`, "barrels"}, {`max(sealedge_orders{cluster})`, "orders"},
					},
				},
				{
					title: "Certificates", kind: "table", unit: "s", valued: true,
					about:   "What is left of each certificate, the first to end on top.",
					queries: []query{{`sort(min by (certificate, instance) (sealedge_certificate_expiry_timestamp_seconds{cluster} - time()))`, ""}},
				},
				{
					title: "The last backup", kind: "stat", unit: "s", width: 8, warn: 86400 * 1.5, alarm: 86400 * 2,
					about:   "How long ago a node last gave out a whole backup, as far as the last week is known.",
					queries: []query{{`time() - max(max_over_time(sealedge_backup_last_success_timestamp_seconds{cluster}[7d]))`, "ago"}},
				},
			}},
		},
	}
}
