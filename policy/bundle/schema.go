package bundle

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/sealedge/sealedge/policy"
)

// SchemaID is where the schema of policy documents lives by name; nothing is fetched
// from there.
const SchemaID = "https://sealedge.dev/schemas/policy-v1.json"

// Schema is the JSON Schema (2020-12) of policy documents, for editors. It knows
// every key and every word that Parse knows, and accepts every document that
// Parse accepts; that names stand elsewhere in the document, and all else that
// Parse looks at, it doesn't see.
func Schema() []byte {
	text := object("A sealedge policy: who may attach, and which seal may be used how.", schema{
		"apiVersion": constant(APIVersion), "kind": constant(Kind),
		"metadata": object("", schema{"name": anyText("what the document is called"), "description": anyText("for people")}),
		"spec":     spec(),
		"tests":    array("questions that the document answers for itself; when one fails it can't be put in force", test()),
	}, "apiVersion", "kind", "spec")
	text["$schema"], text["$id"], text["title"] = "https://json-schema.org/draft/2020-12/schema", SchemaID, "sealedge policy"
	text["$defs"] = definitions()
	out, err := json.MarshalIndent(text, "", "  ")
	if err != nil {
		panic(err) // it has nothing that JSON can't say
	}
	return append(out, '\n')
}

// schema is a part of it.
type schema map[string]any

func described(s schema, about string) schema {
	if about != "" {
		s["description"] = about
	}
	return s
}

// object has exactly these keys.
func object(about string, keys schema, need ...string) schema {
	s := schema{"type": "object", "additionalProperties": false, "properties": keys}
	if len(need) > 0 {
		s["required"] = need
	}
	return described(s, about)
}

// named has keys that the document itself names.
func named(about, pattern string, value schema) schema {
	return described(schema{"type": "object", "propertyNames": schema{"pattern": pattern}, "additionalProperties": value}, about)
}

func array(about string, item schema) schema {
	return described(schema{"type": "array", "items": item}, about)
}

// filled is an array of at least one.
func filled(about string, item schema) schema {
	s := array(about, item)
	s["minItems"] = 1
	return s
}

func constant(word string) schema { return schema{"const": word} }

// anyText is any plain value: 46001 is as good as "46001".
func anyText(about string) schema {
	return described(schema{"type": []string{"string", "number", "boolean"}}, about)
}

// digits is a text that may be all digits, and then needs no quotes unless it begins
// with 0.
func digits(about, pattern string) schema {
	return described(schema{"type": []string{"string", "integer"}, "pattern": pattern, "minimum": 0}, about)
}

// matching is a text by a pattern.
func matching(about, pattern string) schema {
	return described(schema{"type": "string", "pattern": pattern}, about)
}

func number(about string, least, most int64) schema {
	return described(schema{"type": []string{"integer", "string"}, "minimum": least, "maximum": most, "pattern": "^[0-9]+$"}, about)
}

func truth(about string) schema {
	return described(schema{"enum": []any{true, false, "true", "false"}}, about)
}

// oneWord is one of some words.
func oneWord(about string, list []string) schema {
	return described(schema{"type": "string", "enum": list}, about)
}

func ref(name string) schema { return schema{"$ref": "#/$defs/" + name} }

const plainPattern = "^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$"

// definitions are the words that stand in several places.
func definitions() schema {
	touches := schema{}
	for _, t := range policy.Touches() {
		touches[string(t)] = number("approvals of other people", 0, maxApprovals)
	}
	// Radio access types are read in either case.
	rat := schema{"type": "string", "anyOf": []schema{{"enum": policy.RATNames()}, {"pattern": "^[A-Za-z0-9-]+$"}}}
	return schema{
		"span":       matching("a number with its unit, such as 90s, 15m or 72h; 0 needs none", `^[+]?(0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$`),
		"spanOrNone": schema{"anyOf": []schema{ref("span"), {"const": 0}}},
		"plmn":       digits("a mobile network: three digits of country and two or three of network", "^[0-9]{5,6}$"),
		"rat":        described(rat, "a radio access type"),
		"tac":        digits("a handset model: the first 8 digits of its IMEIs", "^[0-9]{8}$"),
		"imsi":       digits("a SIM", "^[0-9]{6,15}$"),
		"tai":        matching("a tracking area: PLMN and four hexadecimal digits", "^[0-9]{5,6}-[0-9a-fA-F]{4}$"),
		"ecgi":       matching("a cell: PLMN and seven hexadecimal digits", "^[0-9]{5,6}-[0-9a-fA-F]{7}$"),
		"mac":        matching("a MAC address", "^([0-9a-fA-F]{2}[:-]?){5}[0-9a-fA-F]{2}$|^([0-9a-fA-F]{4}[.]){2}[0-9a-fA-F]{4}$"),
		"apn":        schema{"type": []string{"string", "number"}, "minLength": 1, "description": "an access point name"},
		"name":       digits("lower-case letters, digits and dashes", plainPattern),
		"barrel":     schema{"type": []string{"string", "number"}, "minLength": 1, "description": "a barrel's id"},
		"address":    schema{"type": "string", "minLength": 2, "description": "an IP address"},
		"method":     oneWord("", policy.MethodNames()),
		"credential": oneWord("", policy.CredentialNames()),
		"path":       oneWord("", policy.PathNames()),
		"level":      number("a level of spec.levels; 1 is the strongest", 1, 9),
		"touches":    object("approvals of other people, by what a change touches", touches),
	}
}

func spec() schema {
	span := func(about string) schema { return described(ref("span"), about) }
	sealType := object("", schema{
		"level": described(ref("level"), "the weakest level that will do"), "maxCount": number("stampings in one order, at most", 1, 10_000),
		"maxWindow": span("length of an order's time window, at most"), "grantLifetime": span("how long an unlock grant is good for (15m)"),
		"evidenceWithin": span("time for the image of a stamping to arrive (5m)"),
	}, "level", "maxCount", "maxWindow")
	credentials := schema{}
	for _, p := range policy.PathNames() {
		credentials[p] = array("what must have been shown over this path", ref("credential"))
	}
	return object("", schema{
		"apns":     filled("the private networks that terminals attach to", apnSchema()),
		"carriers": array("who may speak GTP for which subscribers", carrierSchema()),
		"admission": object("what an attach must show", schema{
			"plmns": array("serving networks; none: any", ref("plmn")), "rats": array("radio access; none: any", ref("rat")),
			"requireIMEI": truth("refuse handsets that don't tell their IMEI"), "handset": oneWord("how a SIM is tied to a handset (listed)", policy.HandsetNames()),
			"tacs": array("the models of handset pool", ref("tac")), "credentials": object("what a terminal must have shown, by path", credentials),
		}),
		"levels":    named("what a barrel verifies before it unlocks", "^[1-9]$", object("", schema{"methods": filled("", ref("method"))}, "methods")),
		"sealTypes": named("the kinds of seals", plainPattern, sealType), "servers": filled("the seal servers that a request may name", anyText("")),
		"clockTolerance": span("how far a terminal's clock may be from the gateway's (2m)"),
		"fallback": object("the WireGuard path", schema{
			"allowed": truth(""), "forbidLevels": array("levels whose seals are not used over it", ref("level")),
			"lifetime":       span("how long a terminal that asked for the path may use it before it asks again, 5m to 168h (12h)"),
			"issuedLifetime": span("how long what an operator issues for a client that can't ask is good for, at most; 1h to 8784h (2160h)"),
			"grace":          span("how long a path that carries nothing any more may be silent before it is released, 10s to 1h (2m)"),
			"placeAge":       described(ref("spanOrNone"), "how long a terminal is taken to be where its carrier told last, up to 168h (12h); 0: only while the carrier's path is there"),
		}),
		"timeZone": schema{"type": "string", "description": "of hours and days, such as Asia/Shanghai (UTC)"},
		"locations": named("places that rules name", plainPattern, object("", schema{
			"tais": array("tracking areas", ref("tai")), "ecgis": array("cells", ref("ecgi")),
		})),
		"hotspot": object("", schema{"devices": array("devices that are no barrels and may be on hotspots", object("", schema{
			"mac": ref("mac"), "role": ref("name"), "label": anyText("what people call it"),
		}, "mac", "role"))}),
		"changeControl": object("how this document and the allow-list are changed", schema{
			"approvals": ref("touches"), "lifetime": span("of a proposal (24h)"), "breakGlass": truth("one may do without the others, for a reason"),
			"reviewWithin": span("of broken glass, by another person (72h)"),
		}),
		"rules": array("of those for an action the first that matches decides; they narrow what the rest of the document allows", ruleSchema()),
	}, "apns", "levels", "sealTypes", "servers")
}

func apnSchema() schema {
	kbps := number("kbit/s", 1, 1<<32-1)
	return object("", schema{
		"name": ref("apn"), "gateway": described(ref("address"), "the gateway's own IPv4 address inside the tunnel"), "gateway6": described(ref("address"), "the gateway's own IPv6 address inside the tunnel"),
		"pools": filled("ranges of addresses for terminals", schema{"type": "string", "pattern": "/[0-9]+$"}), "dns": array("name servers told to terminals", ref("address")),
		"mtu": number("bytes (1400)", 576, 9000), "ambr": object("most that one terminal may carry", schema{"upKbps": kbps, "downKbps": kbps}),
		"quarantine": described(ref("spanOrNone"), "how long an address that was given up is kept from others"), "authentication": oneWord("what a terminal must show in its APN settings (none)", authentications()),
		"idleTimeout": described(ref("spanOrNone"), "a session ends after it without a packet; 0: never"), "sessionTimeout": described(ref("spanOrNone"), "any session ends after it; 0: never"),
	}, "name", "pools")
}

func authentications() []string {
	var out []string
	for a := policy.AuthenticationNone; a <= policy.AuthenticationCHAP; a++ {
		out = append(out, a.String())
	}
	return out
}

func carrierSchema() schema {
	return object("", schema{
		"name": ref("name"), "peers": filled("addresses and ranges", schema{"type": "string", "minLength": 2}),
		"imsiPrefixes": array("of its subscribers", digits("", "^[0-9]{1,15}$")), "plmns": array("serving networks that it may name", ref("plmn")), "rats": array("", ref("rat")),
		"versions": array("of GTP", oneWord("", []string{"gtpv1", "gtpv2"})), "createsPerSecond": number("of one peer; 0: the gateway's limit alone", 0, 1_000_000),
	}, "name", "peers")
}

// ruleSchema has what a rule may match and require, by its action.
func ruleSchema() schema {
	rule := object("", schema{
		"id": ref("name"), "action": oneWord("", policy.ActionNames()), "effect": oneWord("", []string{"permit", "forbid"}),
		"match": schema{"type": "object"}, "require": schema{"type": "object"}, "why": anyText("for people who are refused"),
	}, "id", "action", "effect")
	of := func(a policy.Action, match, require schema) schema {
		then := schema{"match": object("every key must hold, by one of its values", match), "require": object("what a rule that permits asks for besides", require)}
		if require == nil {
			then["require"] = false
		}
		return schema{"if": schema{"properties": schema{"action": constant(a.String())}}, "then": schema{"properties": then}}
	}
	with := func(a, b schema) schema {
		out := maps.Clone(a)
		maps.Copy(out, b)
		return out
	}
	terminal := schema{
		"imsis": filled("", ref("imsi")), "imsiPrefixes": filled("", digits("5 to 14 leading digits", "^[0-9]{5,14}$")), "groups": filled("of the terminal", ref("name")), "tacs": filled("", ref("tac")),
		"apns": filled("", ref("apn")), "paths": filled("", ref("path")), "plmns": filled("", ref("plmn")), "rats": filled("", ref("rat")),
		"locations": filled("names of spec.locations", ref("name")), "hours": hoursSchema(),
	}
	seal := with(terminal, schema{"sealTypes": filled("names of spec.sealTypes", ref("name")), "barrels": filled("", ref("barrel"))})
	device := with(seal, schema{"roles": filled("barrel, or of spec.hotspot.devices", ref("name")), "macs": filled("", ref("mac"))})
	shown := array("all of them were shown", ref("credential"))
	handsets := slices.DeleteFunc(policy.HandsetNames(), func(s string) bool { return s == policy.HandsetAny.String() })
	rule["allOf"] = []schema{
		of(policy.ActionAttach, terminal, schema{"handset": oneWord("", handsets), "credentials": shown}),
		of(policy.ActionHotspot, device, nil),
		of(policy.ActionUse, seal, schema{
			"credentials": shown, "methods": array("these too", ref("method")), "level": ref("level"), "maxCount": number("", 1, 10_000),
			"maxWindow": ref("span"), "evidenceWithin": ref("span"),
		}),
	}
	return rule
}

func hoursSchema() schema {
	clock := matching("", "^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$")
	day := schema{"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}(T.*)?$"}
	return object("", schema{
		"days": filled("", oneWord("", policy.DayNames())), "from": clock, "to": clock,
		"notBefore": described(day, "a day, or an instant"), "notAfter": day,
	})
}

func test() schema {
	terminal, request := schema{}, schema{}
	for _, f := range fieldsOfQuestion {
		value := anyText(f.Help)
		if f.List {
			value = array(f.Help, anyText(""))
		}
		if f.Terminal {
			terminal[f.Key] = value
		} else {
			request[f.Key] = value
		}
	}
	return object("", schema{
		"name": anyText("what the test says"), "action": oneWord("", policy.ActionNames()), "terminal": object("who asks", terminal),
		"request": object("what is asked, where and when; what is left out is as the document would like it", request),
		"expect": object("", schema{
			"decision": oneWord("", []string{"permit", "refuse"}), "code": anyText("of a refusal"), "rule": anyText("id of the rule that decides"),
		}, "decision"),
	}, "name", "action", "expect")
}
