package main

func machinery() dashboard {
	return dashboard{
		name: "machinery", title: "sealedge / Raft, disks, clocks and processes",
		about: "What the cluster stands on: the log and its leader, disks, clocks, versions, memory.",
		rows: []row{
			{"Raft", []panel{
				{
					title: "Term", kind: "timeseries", unit: "none",
					about:   "It rises with every election.",
					queries: []query{{`sealedge_raft_term{node}`, "{{instance}}"}},
				},
				{
					title: "Since the leader was heard", kind: "timeseries", unit: "s", warn: 0.2, alarm: 1,
					about:   "On followers. After cluster.heartbeat_timeout one stands for election.",
					queries: []query{{`sealedge_raft_leader_contact_age_seconds{node}`, "{{instance}}"}},
				},
				{
					title: "Members", kind: "timeseries", unit: "none",
					about: "Voters, those that are joining, and how many answer the leader.",
					queries: []query{
						{`max by (state) (sealedge_cluster_members{cluster})`, "{{state}}"}, {`max(sealedge_cluster_members_heard{cluster})`, "heard"},
					},
				},
				{
					title: "Behind the leader", kind: "timeseries", unit: "short",
					about:   "Entries of the log that others know to be committed and that a node has not applied.",
					queries: []query{{`scalar(max(sealedge_raft_commit_index{cluster})) - sealedge_raft_applied_index{node}`, "{{instance}}"}},
				},
				{
					title: "Entries a second", kind: "timeseries", unit: "wps",
					about:   "How fast the log grows.",
					queries: []query{{`max(deriv(sealedge_raft_last_log_index{cluster}[5m]))`, "entries"}},
				},
				{
					title: "Changes by outcome", kind: "timeseries", unit: "wps", stacked: true,
					about:   "Changes proposed on the nodes: done, no-quorum (not carried out), unknown (perhaps) or refused.",
					queries: []query{{`sum by (outcome) (rate(sealedge_propose_duration_seconds_count{node}[$__rate_interval]))`, "{{outcome}}"}},
				},
				{
					title: "How long changes take", kind: "heatmap", unit: "s", width: 12,
					about:   "From a change's proposal to its result.",
					queries: []query{{`sum by (le) (increase(sealedge_propose_duration_seconds_bucket{node}[$__rate_interval]))`, ""}},
				},
				{
					title: "How long applying takes", kind: "heatmap", unit: "s", width: 12,
					about:   "Entries that were committed together, and their audit.",
					queries: []query{{`sum by (le) (increase(sealedge_raft_apply_duration_seconds_bucket{node}[$__rate_interval]))`, ""}},
				},
				{
					title: "Refused changes, differing states", kind: "timeseries", unit: "short",
					about:   "refused-no-room: disks are too full. states-differ: a node has another state than the others.",
					queries: []query{{`sum by (event) (increase(sealedge_cluster_events_total{node}[$__rate_interval]))`, "{{event}}"}},
				},
				{
					title: "Audit chain", kind: "timeseries", unit: "none",
					about:   "The sequence of its last entry on each node.",
					queries: []query{{`sealedge_audit_sequence{node}`, "{{instance}}"}},
				},
				{
					title: "Gaps of the audit chain", kind: "timeseries", unit: "none",
					about:   "Ranges that are not on a node. It fetches them from its peers.",
					queries: []query{{`sealedge_audit_gaps{node}`, "{{instance}}"}},
				},
			}},
			{"Disks", []panel{
				{
					title: "How long writes take", kind: "heatmap", unit: "s", width: 12,
					about:   "To make entries durable in a node's log. After cluster.disk_stall a node ends itself.",
					queries: []query{{`sum by (le) (increase(sealedge_raft_append_duration_seconds_bucket{node}[$__rate_interval]))`, ""}},
				},
				{
					title: "Slow writes", kind: "timeseries", unit: "s", warn: 0.05, alarm: 0.1,
					about:   "The time within which 99 of 100 writes are durable, by node.",
					queries: []query{{`histogram_quantile(0.99, sum by (instance, le) (rate(sealedge_raft_append_duration_seconds_bucket{node}[$__rate_interval])))`, "{{instance}}"}},
				},
				{
					title: "Used", kind: "timeseries", unit: "percentunit", most: 1, width: 4,
					about: "Of the file system that holds the data directory, and where the cluster stops admitting.",
					queries: []query{
						{`sealedge_data_disk_used_ratio{node}`, "{{instance}}"}, {`max(sealedge_data_disk_admission_stop_ratio{node})`, "nothing new"},
					},
				},
			}},
			{"Clocks and versions", []panel{
				{
					title: "Clocks", kind: "timeseries", unit: "s",
					about:   "How far each node's clock is ahead of the median of all. Beyond two seconds it isn't counted.",
					queries: []query{{`sealedge_clock_offset_seconds{node}`, "{{instance}}"}},
				},
				{
					title: "Versions", kind: "table", unit: "none",
					about:   "What each node runs.",
					queries: []query{{`count by (instance, version, go_version) (sealedge_build_info{node})`, ""}},
				},
				{
					title: "Configuration", kind: "timeseries", unit: "none", most: 1,
					about: "1: the file has changed in what takes a restart, or has mistakes and is not taken.",
					queries: []query{
						{`sealedge_config_restart_needed{node}`, "{{instance}} waits for a restart"}, {`sealedge_config_refused{node}`, "{{instance}} has mistakes"},
					},
				},
				{
					title: "The Service of the gateway address", kind: "timeseries", unit: "short",
					about:   "Writes of its EndpointSlice, and those that failed. Only with gateway.address_driver service.",
					queries: []query{{`sum by (event) (increase(sealedge_address_events_total{node}[$__rate_interval]))`, "{{event}}"}},
				},
				{
					title: "Command level", kind: "timeseries", unit: "none",
					about: "Of the commands that may be in the log, and the highest that each node applies.",
					queries: []query{
						{`max(sealedge_command_level{cluster})`, "in the log"}, {`sealedge_command_level_supported{node}`, "{{instance}} applies"},
					},
				},
			}},
			{"Processes", []panel{
				{
					title: "CPU", kind: "timeseries", unit: "percentunit",
					about:   "1 is one core.",
					queries: []query{{`rate(sealedge_process_cpu_seconds_total{node}[$__rate_interval])`, "{{instance}}"}},
				},
				{
					title: "Memory", kind: "timeseries", unit: "bytes",
					about:   "Resident.",
					queries: []query{{`sealedge_process_resident_memory_bytes{node}`, "{{instance}}"}},
				},
				{
					title: "Goroutines", kind: "timeseries", unit: "short",
					about:   "A number that only grows is a leak.",
					queries: []query{{`sealedge_go_goroutines{node}`, "{{instance}}"}},
				},
				{
					title: "File descriptors", kind: "timeseries", unit: "short",
					about:   "Open ones.",
					queries: []query{{`sealedge_process_open_fds{node}`, "{{instance}}"}},
				},
				{
					title: "Running since", kind: "timeseries", unit: "s",
					about:   "How long each process has run. It falls to 0 with a restart.",
					queries: []query{{`time() - sealedge_process_start_time_seconds{node}`, "{{instance}}"}},
				},
				{
					title: "Spans of traces", kind: "timeseries", unit: "pps",
					about: "Those that the collector took, and those that were dropped, by cause. Only with telemetry.traces.endpoint.",
					queries: []query{
						{`sum(rate(sealedge_traces_exported_total{node}[$__rate_interval]))`, "exported"},
						{`sum by (cause) (rate(sealedge_traces_dropped_total{node}[$__rate_interval]))`, "dropped: {{cause}}"},
					},
				},
				{
					title: "Longest pause", kind: "timeseries", unit: "s",
					about:   "Of the garbage collector, as Go counts it.",
					queries: []query{{`max by (instance) (sealedge_go_gc_duration_seconds{node,quantile="1"})`, "{{instance}}"}},
				},
			}},
		},
	}
}
