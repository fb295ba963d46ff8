package main

func userPlane() dashboard {
	return dashboard{
		name: "user-plane", title: "sealedge / User plane and fallback",
		about: "What goes through the tunnels of carriers and of the fallback path, what is dropped and why, and how carriers' nodes do.",
		rows: []row{
			{"Carriers", []panel{
				{
					title: "Bytes in GTP-U tunnels", kind: "timeseries", unit: "Bps",
					about:   "Packets carried between carriers and the network inside the tunnels.",
					queries: []query{{`sum by (direction) (rate(sealedge_gtpu_bytes_total{node}[$__rate_interval]))`, "{{direction}}"}},
				},
				{
					title: "Packets in GTP-U tunnels", kind: "timeseries", unit: "pps",
					about:   "As above, in packets.",
					queries: []query{{`sum by (direction) (rate(sealedge_gtpu_packets_total{node}[$__rate_interval]))`, "{{direction}}"}},
				},
				{
					title: "GTP-U signalling and drops", kind: "timeseries", unit: "pps",
					about:   "Echoes, Error Indications, and packets dropped, by reason.",
					queries: []query{{`topk(15, sum by (event) (rate(sealedge_gtpu_events_total{node}[$__rate_interval])) > 0)`, "{{event}}"}},
				},
				{
					title: "Carriers' nodes: paths", kind: "timeseries", unit: "short",
					about: "Paths to carriers' nodes that failed and came back, of the control and of the user plane.",
					queries: []query{
						{`sum by (event) (increase(sealedge_gtpc_events_total{node,event=~"path-failed|path-restored"}[$__rate_interval]))`, "control: {{event}}"},
						{`sum by (event) (increase(sealedge_gtpu_events_total{node,event=~"path-failures|path-recoveries"}[$__rate_interval]))`, "user: {{event}}"},
					},
				},
				{
					title: "Carriers' nodes: sessions released", kind: "timeseries", unit: "short",
					about:   "Nodes whose sessions were released because they restarted or were silent for too long, and how many sessions those were.",
					queries: []query{{`sum by (event) (increase(sealedge_restoration_events_total{node}[$__rate_interval]))`, "{{event}}"}},
				},
				{
					title: "Signalling and drops", kind: "timeseries", unit: "pps",
					about:   "What became of GTP-C messages: the reasons of the GTP firewall are among them.",
					queries: []query{{`topk(15, sum by (event) (rate(sealedge_gtpc_events_total{node}[$__rate_interval])) > 0)`, "{{event}}"}},
				},
				{
					title: "Peers", kind: "timeseries", unit: "short",
					about:   "Carriers' nodes of which there are records.",
					queries: []query{{`max(sealedge_gtp_peers{cluster})`, "peers"}},
				},
				{
					title: "Inner addresses", kind: "timeseries", unit: "short",
					about:   "Addresses that are tied to a subscriber, in use or not.",
					queries: []query{{`max(sealedge_address_leases{cluster})`, "leases"}},
				},
				{
					title: "Restart counter", kind: "timeseries", unit: "none",
					about:   "The gateway's own, which carriers are told. It changes only when sessions were lost here.",
					queries: []query{{`max by (gateway) (sealedge_gateway_restart_counter{cluster})`, "{{gateway}}"}},
				},
			}},
			{"The fallback path", []panel{
				{
					title: "Bytes over the fallback", kind: "timeseries", unit: "Bps",
					about:   "Packets carried over WireGuard. Empty without a fallback path.",
					queries: []query{{`sum by (direction) (rate(sealedge_wireguard_bytes_total{node}[$__rate_interval]))`, "{{direction}}"}},
				},
				{
					title: "Handshakes and drops", kind: "timeseries", unit: "pps",
					about:   "not-for-this-key: a terminal has another key of the gateway.",
					queries: []query{{`sum by (event) (rate(sealedge_wireguard_events_total{node}[$__rate_interval])) > 0`, "{{event}}"}},
				},
				{
					title: "Requests for the fallback", kind: "timeseries", unit: "reqps",
					about:   "Requests at fallback.listen and inside the tunnels, by the code of the answer.",
					queries: []query{{`sum by (event) (rate(sealedge_connection_events_total{node}[$__rate_interval]))`, "{{event}}"}},
				},
				{
					title: "Moves between the paths", kind: "timeseries", unit: "short",
					about:   "Sessions that moved between carrier and fallback, and those that didn't, by reason.",
					queries: []query{{`sum by (event) (increase(sealedge_paths_events_total{node}[$__rate_interval]))`, "{{event}}"}},
				},
				{
					title: "Sessions on both paths", kind: "timeseries", unit: "short",
					about:   "Sessions that are attached through carrier and fallback.",
					queries: []query{{`max(sealedge_sessions_on_both_paths{cluster})`, "sessions"}},
				},
				{
					title: "Sessions by path", kind: "timeseries", unit: "short", stacked: true,
					about:   "By the path of their downlink.",
					queries: []query{{`max by (path) (sealedge_sessions{cluster})`, "{{path}}"}},
				},
			}},
			{"Inside the tunnels", []panel{
				{
					title: "Bytes to and from the gateway", kind: "timeseries", unit: "Bps",
					about:   "Between terminals and the gateway's inner addresses.",
					queries: []query{{`sum by (direction) (rate(sealedge_inner_bytes_total{node}[$__rate_interval]))`, "{{direction}}"}},
				},
				{
					title: "Dropped at the inner network", kind: "timeseries", unit: "pps",
					about:   "All that isn't for the two APIs is dropped; and what the IP stack refused.",
					queries: []query{{`topk(15, sum by (event) (rate(sealedge_inner_events_total{node}[$__rate_interval])) > 0)`, "{{event}}"}},
				},
				{
					title: "TCP connections", kind: "timeseries", unit: "short",
					about:   "Of terminals, established. Only with inner.driver netstack.",
					queries: []query{{`sum by (instance) (sealedge_inner_tcp_connections{node})`, "{{instance}}"}},
				},
				{
					title: "Travel routers", kind: "timeseries", unit: "reqps",
					about:   "RADIUS requests by what became of them.",
					queries: []query{{`sum by (event) (rate(sealedge_radius_events_total{node}[$__rate_interval])) > 0`, "{{event}}"}},
				},
				{
					title: "Strangers on hotspots", kind: "timeseries", unit: "short",
					about:   "Alarms of devices on a phone's hotspot that are not on the list.",
					queries: []query{{`sum by (event) (increase(sealedge_hotspot_events_total{node}[$__rate_interval]))`, "{{event}}"}},
				},
			}},
		},
	}
}
