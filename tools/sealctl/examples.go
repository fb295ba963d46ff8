package main

// examples are those of commands whose description has none, by their words.
var examples = map[string][]string{
	"barrel list": {"sealctl barrel list", "sealctl barrel list -o json | jq -r '.[] | select(.alive | not).id'", "sealctl barrel list --watch"},
	"barrel lock": {"sealctl barrel lock SB-0001 --reason 'seen outside of the vault'"},

	"order list":    {"sealctl order list", "sealctl order list -o json | jq '.[] | select(.state == \"suspended\")'"},
	"order show":    {"sealctl order show WO-2026-0042", "sealctl order show WO-2026-0042 -o json | jq .left"},
	"order suspend": {"sealctl order suspend WO-2026-0042 --reason 'the applicant withdrew it'"},
	"order resume":  {"sealctl order resume WO-2026-0042 --reason 'the documents are found'"},

	"use list":            {"sealctl use list", "sealctl use list -o json | jq '.[] | select(.state != \"settled\")'", "sealctl use list --watch -o json"},
	"use show":            {"sealctl use show 17", "sealctl use show 17 -o yaml"},
	"use release":         {"sealctl use release 17 --stamped 2 --reason 'the barrel fell into the river'"},
	"use confirm-release": {"sealctl use confirm-release 17"},

	"session list": {"sealctl session list", "sealctl session list -o json | jq -r '.[].imsi'", "sealctl session list --watch"},
	"session show": {"sealctl session show 12"},
	"session end":  {"sealctl session end 12 --reason 'phone left in a taxi'"},
	"peers":        {"sealctl peers"},
	"trace":        {"sealctl trace imsi=460010000000001 -w attach.pcapng --for 2m", "sealctl trace imsi=460010000000001 -w - | tshark -r -"},
	"procedures":   {"sealctl procedures", "sealctl procedures -o json | jq '.[] | select(.cause != \"request accepted (16)\")'"},

	"device list":     {"sealctl device list", "sealctl device list --group finance --state active", "sealctl device list -o json | jq -r '.[].imsi'"},
	"device show":     {"sealctl device show 460010000000001 -o yaml"},
	"device add":      {"sealctl device add 460010000000001 --apn seal.corp --imei 35693803564380 --label 'phone 1'", "sealctl device add SB-0001 --mac 02:00:5e:10:00:01 --seal-type contract --psk-file SB-0001.psk --receipt-public-key $(cat SB-0001.pub)"},
	"device update":   {"sealctl device update 460010000000001 --label 'phone of the front desk'", "sealctl device update 460010000000001 --user phone --password-file password.txt"},
	"device checkout": {"sealctl device checkout SB-0001 460010000000001"},
	"device checkin":  {"sealctl device checkin SB-0001"},

	"policy validate": {"sealctl policy validate policy.yaml"},

	"audit export": {"sealctl audit export chain.jsonl", "sealctl audit export | jq 'select(.type == \"PUT_POLICY\")'"},

	"cluster status":       {"sealctl cluster status", "sealctl cluster status -o json | jq '.[].status.node'"},
	"cluster members":      {"sealctl cluster members"},
	"cluster remove":       {"sealctl cluster remove node2_0b --reason 'its disk was replaced'"},
	"cluster retire":       {"sealctl cluster retire node4 node5 --reason 'back to three nodes'"},
	"cluster addresses":    {"sealctl cluster addresses"},
	"cluster move-address": {"sealctl cluster move-address gw2 node1 --reason maintenance", "sealctl cluster move-address gw2 --reason 'maintenance is over'"},
	"cluster drain":        {"sealctl cluster drain node2 --reason 'a new kernel'"},
	"cluster step-down":    {"sealctl cluster step-down"},

	"drill list":   {"sealctl drill list"},
	"drill run":    {"sealctl drill run --local leader-kill --rounds 5 --report report.json", "sealctl drill run planned-handover --canary canary.yaml"},
	"drill report": {"sealctl drill report report.json --svg gaps.svg"},

	"backup create":  {"sealctl backup create 2026-11-22.backup -r age1..."},
	"backup inspect": {"sealctl backup inspect 2026-11-22.backup -i identity.txt"},

	"token issue":  {"sealctl token issue --role viewer --for 90d --label 'nightly export' --file token", "sealctl --token token device list"},
	"token list":   {"sealctl token list"},
	"token revoke": {"sealctl token revoke tk2hxmivk3vdtqsu"},

	"epoch show":   {"sealctl epoch show"},
	"epoch excuse": {"sealctl epoch excuse SB-0007 --unaccounted 3 --reason 'burnt; its paper log says three'"},
	"epoch close":  {"sealctl epoch close"},
}
