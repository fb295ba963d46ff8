package gtp

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"slices"
	"testing"

	"github.com/wmnsk/go-gtp/gtpv1/ie"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

// passedOverV1 are the elements that TS 29.060 foresees in a request or response
// and that the gateway has no use for, by row of the conformance table.
var passedOverV1 = []struct {
	row    string
	sample string // as in requestsV1 or responsesV1; empty: all of them
	types  []uint8
}{
	{"29.060/all-messages/private-extension", "", []uint8{ie.PrivateExtension}},
	{"29.060/error-handling/unknown-element", "", []uint8{230, 239, 254}},
	{"29.060/error-handling/unexpected-element", "", []uint8{ie.AuthenticationTriplet, ie.MSValidated, ie.RABContext, ie.TEIDDataII, ie.AuthenticationQuintuplet, ie.HopCounter}},

	{"29.060/create-pdp-context-request/selection-mode", "create", []uint8{ie.SelectionMode}},
	{"29.060/create-pdp-context-request/charging-characteristics", "create", []uint8{ie.ChargingCharacteristics}},
	{
		"29.060/create-pdp-context-request/trace-reference-trace-type-trigger-id-omc-identity-additional-trace-info", "create",
		[]uint8{ie.TraceReference, ie.TraceType, ie.TriggerID, ie.OMCIdentity, ie.AdditionalTraceInfo},
	},
	{"29.060/create-pdp-context-request/tft", "create", []uint8{ie.TrafficFlowTemplate}},
	{"29.060/create-pdp-context-request/apn-restriction", "create", []uint8{ie.APNRestriction}},
	{"29.060/create-pdp-context-request/ms-time-zone", "create", []uint8{ie.MSTimeZone}},
	{"29.060/create-pdp-context-request/camel-charging-information-container-correlation-id", "create", []uint8{ie.CAMELChargingInformationContainer, ie.CorrelationID}},
	{"29.060/create-pdp-context-request/evolved-allocation-retention-priority-i", "create", []uint8{ie.EvolvedAllocationRetentionPriorityI}},
	{
		"29.060/create-pdp-context-request/extended-common-flags-user-csg-information-signalling-priority-indication", "create",
		[]uint8{ie.ExtendedCommonFlags, ie.UserCSGInformation, ie.SignallingPriorityIndication},
	},
	{
		"29.060/create-pdp-context-request/cn-operator-selection-entity-mapped-ue-usage-type-up-function-selection-indication-flags", "create",
		[]uint8{ie.CNOperatorSelectionEntity, ie.MappedUEUsageType, ie.UPFunctionSelectionIndicationFlags},
	},

	{
		"29.060/update-pdp-context-request/trace-reference-trace-type-trigger-id-omc-identity-additional-trace-info", "update",
		[]uint8{ie.TraceReference, ie.TraceType, ie.TriggerID, ie.OMCIdentity, ie.AdditionalTraceInfo},
	},
	{"29.060/update-pdp-context-request/tft", "update", []uint8{ie.TrafficFlowTemplate}},
	{"29.060/update-pdp-context-request/ms-time-zone-direct-tunnel-flags", "update", []uint8{ie.MSTimeZone, ie.DirectTunnelFlags}},
	{"29.060/update-pdp-context-request/evolved-allocation-retention-priority-i", "update", []uint8{ie.EvolvedAllocationRetentionPriorityI}},
	{
		"29.060/update-pdp-context-request/extended-common-flags-user-csg-information-signalling-priority-indication-cn-operator-selection-entity", "update",
		[]uint8{ie.ExtendedCommonFlags, ie.UserCSGInformation, ie.SignallingPriorityIndication, ie.CNOperatorSelectionEntity},
	},

	{"29.060/delete-pdp-context-request/cause", "delete", []uint8{ie.Cause}},
	{
		"29.060/delete-pdp-context-request/protocol-configuration-options-user-location-information-ms-time-zone", "delete",
		[]uint8{ie.ProtocolConfigurationOptions, ie.UserLocationInformation, ie.MSTimeZone},
	},
	{"29.060/delete-pdp-context-request/extended-common-flags-uli-timestamp", "delete", []uint8{ie.ExtendedCommonFlags, ie.ULITimestamp}},
	{
		"29.060/delete-pdp-context-response-received/protocol-configuration-options-user-location-information-ms-time-zone-uli-timestamp", "deleted",
		[]uint8{ie.ProtocolConfigurationOptions, ie.UserLocationInformation, ie.MSTimeZone, ie.ULITimestamp},
	},
	{"29.060/ms-info-change-notification-request/extended-common-flags-user-csg-information", "inform", []uint8{ie.ExtendedCommonFlags, ie.UserCSGInformation}},
}

// An element that the gateway has no use for changes nothing, whatever is in it
// and wherever it is.
func TestV1ElementsPassedOver(t *testing.T) {
	s := gtptest.NewSGSN()
	all := requestsV1()
	all["deleted"] = s.Deleted(9, 128)
	all["echo-response"] = s.Request(TypeEchoResponse, 0, ie.NewRecovery(1))
	for _, c := range passedOverV1 {
		for name, b := range all {
			if c.sample != "" && c.sample != name {
				continue
			}
			for _, typ := range c.types {
				passesOverV1(t, c.row, b, typ)
			}
		}
		gtptest.Shows(t, c.row)
	}
}

func passesOverV1(t *testing.T, row string, message []byte, typ uint8) {
	t.Helper()
	var list [][]byte
	for rest := message[12:]; len(rest) > 0; {
		_, n := sizeV1(rest)
		if rest[0] != typ {
			list = append(list, rest[:n])
		}
		rest = rest[n:]
	}
	rebuild := func(list [][]byte) []byte { return appendV1(message[:12], slices.Concat(list...)...) }
	want, err := Parse(rebuild(list))
	if err != nil {
		t.Fatalf("%s: without IE %d: %v", row, typ, err)
	}
	var sizes []int
	if n, fixed := fixedV1[typ]; fixed {
		sizes = []int{n}
	} else {
		sizes = []int{0, 1, 4, 40}
	}
	for _, n := range sizes {
		e := []byte{typ}
		if typ >= 128 {
			e = binary.BigEndian.AppendUint16(e, uint16(n))
		}
		e = append(e, bytes.Repeat([]byte{0xee}, n)...)
		for i := range len(list) + 1 {
			got, err := Parse(rebuild(slices.Insert(slices.Clone(list), i, e)))
			if err != nil || !reflect.DeepEqual(withoutDigest(got), withoutDigest(want)) {
				t.Errorf("%s: IE %d of %d octets at %d: %v, %+v", row, typ, n, i, err, got)
			}
		}
	}
}
