package gtp

import (
	"bytes"
	"reflect"
	"slices"
	"testing"

	"github.com/wmnsk/go-gtp/gtpv2/ie"
	"github.com/wmnsk/go-gtp/gtpv2/message"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

// Types that go-gtp has no name for (TS 29.274 table 8.1-1).
const (
	elementPSCellID uint8 = 217
	elementURI      uint8 = 223
)

// slot is an element's type and instance.
type slot struct{ typ, instance uint8 }

// passedOver are the elements that TS 29.274 foresees in a message and that the
// gateway has no use for, by row of the conformance table.
var passedOver = []struct {
	row      string
	sample   string // the message, as samples has it; empty: all of them
	inBearer bool   // within its first Bearer Context
	elements []slot
}{
	{"29.274/all-messages/elements-of-unknown-type", "", false, []slot{{224, 0}, {240, 3}, {253, 0}, {254, 0}}},
	{"29.274/all-messages/private-extension", "", false, []slot{{ie.PrivateExtension, 0}, {ie.PrivateExtension, 3}}},
	{"29.274/all-messages/overload-control-information-mme-s4-sgsn-sgw-twan-epdg", "", false, []slot{{ie.OverloadControlInformation, 0}, {ie.OverloadControlInformation, 1}, {ie.OverloadControlInformation, 2}}},
	{"29.274/error-handling/unknown-or-unexpected-element", "", false, []slot{{ie.FullyQualifiedTEID, 9}, {ie.S103PDNDataForwardingInfo, 0}, {ie.IMSI, 1}, {ie.BearerContext, 7}}},

	{"29.274/echo-request/sending-node-features", "echo", false, []slot{{ie.NodeFeatures, 0}}},
	{"29.274/echo-response-received/sending-node-features", "echo-response", false, []slot{{ie.NodeFeatures, 0}}},

	{"29.274/create-session-request/pgw-s5-s8-address-for-control-plane-or-pmip", "create", false, []slot{{ie.FullyQualifiedTEID, 1}}},
	{"29.274/create-session-request/selection-mode", "create", false, []slot{{ie.SelectionMode, 0}}},
	{"29.274/create-session-request/maximum-apn-restriction", "create", false, []slot{{ie.APNRestriction, 0}}},
	{"29.274/create-session-request/trusted-wlan-mode-indication", "create", false, []slot{{ie.TrustedWLANModeIndication, 0}}},
	{"29.274/create-session-request/bearer-context-tft", "create", true, []slot{{ie.BearerTFT, 0}}},
	{"29.274/create-session-request/bearer-context-f-teids-of-s1-u-s4-u-s12-s11-u-and-of-the-pgw", "create", true, []slot{
		{ie.FullyQualifiedTEID, 0}, {ie.FullyQualifiedTEID, 1}, {ie.FullyQualifiedTEID, 3}, {ie.FullyQualifiedTEID, 4}, {ie.FullyQualifiedTEID, 7},
	}},
	{"29.274/create-session-request/bearer-contexts-to-be-removed", "create", false, []slot{{ie.BearerContext, 1}}},
	{"29.274/create-session-request/trace-information", "create", false, []slot{{ie.TraceInformation, 0}}},
	{"29.274/create-session-request/ue-time-zone", "create", false, []slot{{ie.UETimeZone, 0}}},
	{"29.274/create-session-request/user-csg-information-uci", "create", false, []slot{{ie.UserCSGInformation, 0}}},
	{"29.274/create-session-request/charging-characteristics", "create", false, []slot{{ie.ChargingCharacteristics, 0}}},
	{"29.274/create-session-request/ldn-mme-s4-sgsn-sgw-epdg-twan", "create", false, []slot{
		{ie.LocalDistinguishedName, 0}, {ie.LocalDistinguishedName, 1}, {ie.LocalDistinguishedName, 2}, {ie.LocalDistinguishedName, 3},
	}},
	{"29.274/create-session-request/signalling-priority-indication", "create", false, []slot{{ie.SignallingPriorityIndication, 0}}},
	{"29.274/create-session-request/ue-local-ip-address-udp-port-tcp-port", "create", false, []slot{{ie.IPAddress, 0}, {ie.PortNumber, 0}, {ie.PortNumber, 2}}},
	{"29.274/create-session-request/h-e-nb-local-ip-address-udp-port", "create", false, []slot{{ie.IPAddress, 1}, {ie.PortNumber, 1}}},
	{"29.274/create-session-request/mme-s4-sgsn-identifier-epdg-ip-address", "create", false, []slot{{ie.IPAddress, 2}, {ie.IPAddress, 3}}},
	{"29.274/create-session-request/twan-identifier-wlan-location-information-and-timestamp", "create", false, []slot{{ie.TWANIdentifier, 0}, {ie.TWANIdentifier, 1}, {ie.TWANIdentifierTimestamp, 0}}},
	{"29.274/create-session-request/cn-operator-selection-entity", "create", false, []slot{{ie.CNOperatorSelectionEntity, 0}}},
	{"29.274/create-session-request/presence-reporting-area-information", "create", false, []slot{{ie.PresenceReportingAreaInformation, 0}}},
	{"29.274/create-session-request/origination-time-stamp-maximum-wait-time", "create", false, []slot{{ie.MillisecondTimeStamp, 0}, {ie.IntegerNumber, 0}}},
	{"29.274/create-session-request/nbifom-container", "create", false, []slot{{ie.FContainer, 0}}},
	{"29.274/create-session-request/remote-ue-context-connected", "create", false, []slot{{ie.RemoteUEContext, 0}}},
	{"29.274/create-session-request/3gpp-aaa-server-identifier", "create", false, []slot{{ie.NodeIdentifier, 0}}},
	{"29.274/create-session-request/serving-plmn-rate-control-mo-exception-data-counter-apn-rate-control-status", "create", false, []slot{
		{ie.ServingPLMNRateControl, 0}, {ie.Counter, 0}, {ie.APNRateControlStatus, 0},
	}},
	{"29.274/create-session-request/mapped-ue-usage-type-up-function-selection-indication-flags", "create", false, []slot{{ie.MappedUEUsageType, 0}, {ie.UPFunctionSelectionIndicationFlags, 0}}},
	{"29.274/create-session-request/user-location-information-for-sgw-sgw-u-node-name", "create", false, []slot{{ie.UserLocationInformation, 1}, {ie.FullyQualifiedDomainName, 0}}},
	{"29.274/create-session-request/secondary-rat-usage-data-report-pscell-id", "create", false, []slot{{ie.SecondaryRATUsageDataReport, 0}, {elementPSCellID, 0}}},
	{"29.274/create-session-request/trace-collection-entity-uri", "create", false, []slot{{elementURI, 0}}},

	{"29.274/bearer-resource-command/flow-qos-tad-pco-epco", "resource-command", false, []slot{
		{ie.FlowQoS, 0}, {ie.TrafficAggregateDescription, 0}, {ie.ProtocolConfigurationOptions, 0}, {ie.ExtendedProtocolConfigurationOptions, 0},
	}},
	{"29.274/bearer-resource-command/rat-type-serving-network-uli-pscell-id-indication-flags-signalling-priority-indication", "resource-command", false, []slot{
		{ie.RATType, 0}, {ie.ServingNetwork, 0}, {ie.UserLocationInformation, 0}, {elementPSCellID, 0}, {ie.Indication, 0}, {ie.SignallingPriorityIndication, 0},
	}},
	{"29.274/bearer-resource-command/eps-bearer-id", "resource-command", false, []slot{{ie.EPSBearerID, 1}}},
	{"29.274/bearer-resource-command/s4-u-sgsn-f-teid-s12-rnc-f-teid", "resource-command", false, []slot{{ie.FullyQualifiedTEID, 0}, {ie.FullyQualifiedTEID, 1}}},
	{"29.274/bearer-resource-command/nbifom-container", "resource-command", false, []slot{{ie.FContainer, 0}}},

	{"29.274/update-bearer-response/bearer-contexts-eps-bearer-id-f-teids-pco-epco-ran-nas-cause", "update-response", true, []slot{
		{ie.EPSBearerID, 0}, {ie.FullyQualifiedTEID, 0}, {ie.FullyQualifiedTEID, 1}, {ie.ProtocolConfigurationOptions, 0}, {ie.ExtendedProtocolConfigurationOptions, 0}, {ie.RANNASCause, 0},
	}},
	{"29.274/update-bearer-response/pco-indication-flags-ue-time-zone-uli-pscell-id", "update-response", false, []slot{
		{ie.ProtocolConfigurationOptions, 0}, {ie.Indication, 0}, {ie.UETimeZone, 0}, {ie.UserLocationInformation, 0}, {elementPSCellID, 0},
	}},
	{"29.274/update-bearer-response/fq-csid-mme-sgw-epdg-twan-mme-s4-sgsn-identifier", "update-response", false, []slot{
		{ie.FullyQualifiedCSID, 0}, {ie.FullyQualifiedCSID, 1}, {ie.FullyQualifiedCSID, 2}, {ie.FullyQualifiedCSID, 3}, {ie.IPAddress, 0},
	}},
	{"29.274/update-bearer-response/twan-identifier-wlan-location-ue-local-ip-address-and-ports", "update-response", false, []slot{
		{ie.TWANIdentifier, 0}, {ie.TWANIdentifier, 1}, {ie.TWANIdentifierTimestamp, 1}, {ie.IPAddress, 0}, {ie.PortNumber, 0}, {ie.PortNumber, 1},
	}},
	{"29.274/update-bearer-response/presence-reporting-area-information-nbifom-container", "update-response", false, []slot{{ie.PresenceReportingAreaInformation, 0}, {ie.FContainer, 0}}},

	{"29.274/delete-bearer-command/bearer-contexts-bearer-flags-ran-nas-release-cause", "delete-command", true, []slot{{ie.BearerFlags, 0}, {ie.RANNASCause, 0}}},
	{"29.274/delete-bearer-command/uli-uli-timestamp-ue-time-zone-secondary-rat-usage-data-report-pscell-id", "delete-command", false, []slot{
		{ie.UserLocationInformation, 0}, {ie.ULITimestamp, 0}, {ie.UETimeZone, 0}, {ie.SecondaryRATUsageDataReport, 0}, {elementPSCellID, 0},
	}},

	{"29.274/modify-bearer-request/me-identity-mei", "modify-all", false, []slot{{ie.MobileEquipmentIdentity, 0}}},
	{"29.274/modify-bearer-request/indication-flags", "modify-all", false, []slot{{ie.Indication, 0}}},
	{"29.274/modify-bearer-request/delay-downlink-packet-notification-request", "modify-all", false, []slot{{ie.DelayValue, 0}}},
	{"29.274/modify-bearer-request/bearer-context-f-teids-of-s1-s12-s4-u-s11-u", "modify-all", true, []slot{
		{ie.FullyQualifiedTEID, 0}, {ie.FullyQualifiedTEID, 2}, {ie.FullyQualifiedTEID, 3}, {ie.FullyQualifiedTEID, 4},
	}},
	{"29.274/modify-bearer-request/ue-time-zone-user-csg-information-uci", "modify-all", false, []slot{{ie.UETimeZone, 0}, {ie.UserCSGInformation, 0}}},
	{"29.274/modify-bearer-request/ue-local-ip-address-udp-port-h-e-nb-local-ip-address-udp-port", "modify-all", false, []slot{
		{ie.IPAddress, 0}, {ie.IPAddress, 1}, {ie.PortNumber, 0}, {ie.PortNumber, 1},
	}},
	{"29.274/modify-bearer-request/mme-s4-sgsn-ldn-sgw-ldn-mme-s4-sgsn-identifier", "modify-all", false, []slot{{ie.LocalDistinguishedName, 0}, {ie.LocalDistinguishedName, 1}, {ie.IPAddress, 2}}},
	{"29.274/modify-bearer-request/cn-operator-selection-entity-presence-reporting-area-information", "modify-all", false, []slot{{ie.CNOperatorSelectionEntity, 0}, {ie.PresenceReportingAreaInformation, 0}}},
	{"29.274/modify-bearer-request/serving-plmn-rate-control-mo-exception-data-counter", "modify-all", false, []slot{{ie.ServingPLMNRateControl, 0}, {ie.Counter, 0}}},
	{"29.274/modify-bearer-request/imsi", "modify-all", false, []slot{{ie.IMSI, 0}}},
	{"29.274/modify-bearer-request/user-location-information-for-sgw-wlan-location-information-and-timestamp", "modify-all", false, []slot{
		{ie.UserLocationInformation, 1}, {ie.TWANIdentifier, 0}, {ie.TWANIdentifierTimestamp, 0},
	}},
	{"29.274/modify-bearer-request/secondary-rat-usage-data-report-pscell-id", "modify-all", false, []slot{{ie.SecondaryRATUsageDataReport, 0}, {elementPSCellID, 0}}},

	{"29.274/delete-session-request/cause", "delete", false, []slot{{ie.Cause, 0}}},
	{"29.274/delete-session-request/protocol-configuration-options-pco-epco", "delete", false, []slot{{ie.ProtocolConfigurationOptions, 0}, {ie.ExtendedProtocolConfigurationOptions, 0}}},
	{"29.274/delete-session-request/originating-node", "delete", false, []slot{{ie.NodeType, 0}}},
	{"29.274/delete-session-request/ue-time-zone-uli-timestamp-ran-nas-release-cause", "delete", false, []slot{{ie.UETimeZone, 0}, {ie.ULITimestamp, 0}, {ie.RANNASCause, 0}}},
	{"29.274/delete-session-request/twan-identifier-wlan-location-information-their-timestamps", "delete", false, []slot{
		{ie.TWANIdentifier, 0}, {ie.TWANIdentifier, 1}, {ie.TWANIdentifierTimestamp, 0}, {ie.TWANIdentifierTimestamp, 1},
	}},
	{"29.274/delete-session-request/ue-local-ip-address-udp-port-tcp-port", "delete", false, []slot{{ie.IPAddress, 0}, {ie.PortNumber, 0}, {ie.PortNumber, 1}}},
	{"29.274/delete-session-request/secondary-rat-usage-data-report-pscell-id", "delete", false, []slot{{ie.SecondaryRATUsageDataReport, 0}, {elementPSCellID, 0}}},

	{"29.274/delete-bearer-response/bearer-contexts-eps-bearer-id-pco-epco-ran-nas-cause", "delete-response", true, []slot{
		{ie.EPSBearerID, 0}, {ie.ProtocolConfigurationOptions, 0}, {ie.ExtendedProtocolConfigurationOptions, 0}, {ie.RANNASCause, 0},
	}},
	{"29.274/delete-bearer-response/linked-eps-bearer-id-lbi", "delete-response", false, []slot{{ie.EPSBearerID, 0}}},
	{"29.274/delete-bearer-response/fq-csid-mme-sgw-epdg-twan-mme-s4-sgsn-identifier", "delete-response", false, []slot{
		{ie.FullyQualifiedCSID, 0}, {ie.FullyQualifiedCSID, 1}, {ie.FullyQualifiedCSID, 2}, {ie.FullyQualifiedCSID, 3}, {ie.IPAddress, 0},
	}},
	{"29.274/delete-bearer-response/pco-ue-time-zone-uli-uli-timestamp-pscell-id", "delete-response", false, []slot{
		{ie.ProtocolConfigurationOptions, 0}, {ie.UETimeZone, 0}, {ie.UserLocationInformation, 0}, {ie.ULITimestamp, 0}, {elementPSCellID, 0},
	}},
	{"29.274/delete-bearer-response/twan-identifier-wlan-location-their-timestamps-ue-local-ip-address-and-ports", "delete-response", false, []slot{
		{ie.TWANIdentifier, 0}, {ie.TWANIdentifier, 1}, {ie.TWANIdentifierTimestamp, 0}, {ie.TWANIdentifierTimestamp, 1}, {ie.IPAddress, 0}, {ie.PortNumber, 0}, {ie.PortNumber, 1},
	}},
	{"29.274/delete-bearer-response/nbifom-container-secondary-rat-usage-data-report", "delete-response", false, []slot{{ie.FContainer, 0}, {ie.SecondaryRATUsageDataReport, 0}}},

	{"29.274/change-notification-request/indication-flags-user-csg-information-uci", "change", false, []slot{{ie.Indication, 0}, {ie.UserCSGInformation, 0}}},
	{"29.274/change-notification-request/pgw-s5-s8-gtp-c-ip-address", "change", false, []slot{{ie.IPAddress, 0}}},
	{"29.274/change-notification-request/presence-reporting-area-information-mo-exception-data-counter", "change", false, []slot{{ie.PresenceReportingAreaInformation, 0}, {ie.Counter, 0}}},
	{"29.274/change-notification-request/secondary-rat-usage-data-report-pscell-id", "change", false, []slot{{ie.SecondaryRATUsageDataReport, 0}, {elementPSCellID, 0}}},

	{"29.274/suspend-notification/imsi-rai-lbi-p-tmsi-originating-node", "suspend", false, []slot{
		{ie.IMSI, 0}, {ie.UserLocationInformation, 0}, {ie.EPSBearerID, 0}, {ie.PacketTMSI, 0}, {ie.NodeType, 0},
	}},
	{"29.274/suspend-notification/address-for-control-plane-udp-source-port-number-hop-counter", "suspend", false, []slot{{ie.IPAddress, 0}, {ie.PortNumber, 0}, {ie.HopCounter, 0}}},
	{"29.274/remote-ue-report-notification/remote-ue-context-connected-remote-ue-context-disconnected", "remote-ue", false, []slot{{ie.RemoteUEContext, 0}, {ie.RemoteUEContext, 1}}},
	{"29.274/update-pdn-connection-set-request/mme-fq-csid-sgw-fq-csid", "update-sets", false, []slot{{ie.FullyQualifiedCSID, 0}, {ie.FullyQualifiedCSID, 1}}},
	{"29.274/resume-notification/lbi-originating-node", "resume", false, []slot{{ie.EPSBearerID, 0}, {ie.NodeType, 0}}},
}

// An element that the gateway has no use for changes nothing, whatever is in it
// and wherever it is.
func TestElementsPassedOver(t *testing.T) {
	all := samples(t)
	s := gtptest.New()
	all["echo-response"] = s.Request(TypeEchoResponse, 0, ie.NewRecovery(1))
	all["remote-ue"] = s.Request(message.MsgTypeRemoteUEReportNotification, 9)
	all["update-sets"] = s.Request(message.MsgTypeUpdatePDNConnectionSetRequest, 0)
	for _, c := range passedOver {
		names := []string{c.sample}
		if c.sample == "" {
			names = names[:0]
			for name := range all {
				names = append(names, name)
			}
		}
		for _, name := range names {
			if all[name] == nil {
				t.Fatalf("%s: there is no sample %q", c.row, name)
			}
			for _, s := range c.elements {
				passesOver(t, c.row, all[name], c.inBearer, s)
			}
		}
		gtptest.Shows(t, c.row)
	}
}

func passesOver(t *testing.T, row string, message []byte, inBearer bool, s slot) {
	t.Helper()
	head, list := cut(t, message)
	rebuild := func(list [][]byte) []byte { return join(head, list...) }
	if inBearer {
		at := slices.IndexFunc(list, func(e []byte) bool { return e[0] == ie.BearerContext })
		outer := list
		_, list = cut(t, slices.Concat(head, outer[at][4:]))
		rebuild = func(list [][]byte) []byte {
			return with(head, outer, at, raw(ie.BearerContext, outer[at][3], slices.Concat(list...)))
		}
	}
	without := slices.DeleteFunc(slices.Clone(list), func(e []byte) bool { return e[0] == s.typ && e[3] == s.instance })
	want, err := Parse(rebuild(without))
	if err != nil {
		t.Fatalf("%s: without IE %d instance %d: %v", row, s.typ, s.instance, err)
	}
	for _, n := range []int{0, 1, 4, 40} {
		e := raw(s.typ, s.instance, bytes.Repeat([]byte{0xee}, n))
		for i := range len(without) + 1 {
			got, err := Parse(rebuild(slices.Insert(slices.Clone(without), i, e)))
			if err != nil || !reflect.DeepEqual(withoutDigest(got), withoutDigest(want)) {
				t.Errorf("%s: IE %d instance %d of %d octets at %d: %v, %+v", row, s.typ, s.instance, n, i, err, got)
			}
		}
	}
}
