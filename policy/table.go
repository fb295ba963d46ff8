package policy

// ruleID numbers the rules in the order in which they are judged and named;
// the first that fails gives the decision's code.
type ruleID uint8

// ruleSet is a set of rules, one bit each.
type ruleSet uint64

const (
	rulePolicy ruleID = iota

	ruleSIMListed
	ruleSIMActive
	ruleMSISDN
	ruleHandsetTold
	ruleHandsetBound
	ruleAPNKnown
	ruleAPNAllowed
	rulePLMN
	ruleRAT
	ruleHandsetPool
	ruleCredentials
	rulePath

	ruleTerminalListed
	ruleTerminalActive
	ruleAddressOwn
	ruleServer
	ruleClock
	ruleDeviceListed
	ruleBarrelListed
	ruleBarrelActive
	ruleBarrelCheckedOut
	ruleBarrelAlive
	ruleLedgerOpen
	ruleSealTypeKnown
	rulePathForLevel
	rulePermits
	ruleRequires

	ruleServerPassed
	ruleSealTypeMatches
	ruleLevel
	ruleMethods
	ruleCount
	ruleWindowOpen
	ruleWindowLength
	ruleUsesLeft
)

// ruleTable gives each rule its stable id, the key of the document that
// governs it (* is the decision's APN or seal type, # the seal type's level, @ the
// rule of the document that decided)
// and its words when it holds.
var ruleTable = [...]struct{ id, key, ok string }{
	rulePolicy: {"policy-present", "", "a policy is in force"},

	ruleSIMListed:    {"sim-listed", "", "the SIM is on the allow-list"},
	ruleSIMActive:    {"sim-active", "", "the subscriber is active"},
	ruleMSISDN:       {"msisdn-matches", "", "the telephone number is not contradicted"},
	ruleHandsetTold:  {"handset-told", "spec/admission/requireIMEI", "the handset told its IMEI, or need not"},
	ruleHandsetBound: {"handset-bound", "", "the handset is bound to the SIM, or any will do"},
	ruleAPNKnown:     {"apn-known", "spec/apns/*", "the APN is served here"},
	ruleAPNAllowed:   {"apn-allowed", "", "the subscriber may use the APN"},
	rulePLMN:         {"plmn-allowed", "spec/admission/plmns", "the serving network is allowed"},
	ruleRAT:          {"rat-allowed", "spec/admission/rats", "the radio access is allowed"},
	ruleHandsetPool:  {"handset-in-pool", "spec/admission/tacs", "the handset is of a model of the pool"},
	ruleCredentials:  {"credentials-shown", "spec/admission/credentials", "the terminal has shown what its path asks for"},
	rulePath:         {"path-allowed", "spec/fallback/allowed", "the path is allowed"},

	ruleTerminalListed:   {"terminal-listed", "", "the terminal is on the allow-list"},
	ruleTerminalActive:   {"terminal-active", "", "the terminal is active"},
	ruleAddressOwn:       {"address-own", "", "the terminal address is the tunnel's own"},
	ruleServer:           {"server-allowed", "spec/servers", "the seal server is an allowed one"},
	ruleClock:            {"clock-within", "spec/clockTolerance", "the terminal's clock is within tolerance"},
	ruleDeviceListed:     {"device-listed", "spec/hotspot/devices", "the device is one that may be on hotspots"},
	ruleBarrelListed:     {"barrel-listed", "", "the barrel is on the allow-list"},
	ruleBarrelActive:     {"barrel-active", "", "the barrel is active"},
	ruleBarrelCheckedOut: {"barrel-checked-out", "", "the barrel is checked out with this terminal"},
	ruleBarrelAlive:      {"barrel-alive", "", "the barrel has a live lease"},
	ruleLedgerOpen:       {"ledger-open", "", "the ledger has nothing against the order"},
	ruleSealTypeKnown:    {"seal-type-known", "spec/sealTypes/*", "policy knows the seal type"},
	rulePathForLevel:     {"path-for-level", "spec/fallback/forbidLevels", "the path will do for the level of the seal"},
	rulePermits:          {"rules-permit", "spec/rules/@", "the first rule that matches permits it"},
	ruleRequires:         {"rule-met", "spec/rules/@/require", "what that rule requires was shown"},

	ruleServerPassed:    {"server-passed", "", "the seal server passed the request"},
	ruleSealTypeMatches: {"seal-type-matches", "", "the barrel holds the seal of the order"},
	ruleLevel:           {"level-met", "spec/sealTypes/*/level", "the level answered is not weaker than policy's"},
	ruleMethods:         {"methods-met", "spec/levels/#/methods", "the methods answered include all that policy asks for"},
	ruleCount:           {"count-within", "spec/sealTypes/*/maxCount", "the order's count is within policy"},
	ruleWindowOpen:      {"window-open", "", "it is within the order's window"},
	ruleWindowLength:    {"window-within", "spec/sealTypes/*/maxWindow", "the order's window is within policy"},
	ruleUsesLeft:        {"uses-left", "", "the order has uses left"},
}
