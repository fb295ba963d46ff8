//go:build linux

package k8s

import (
	"slices"
	"strings"

	"github.com/sealedge/sealedge/edge/adminapi"
)

// What "helm test" attaches with: a terminal that is no SIM's.
const checkIMSI, checkIMEI = "460019999999999", "35693803999999"

// checkValues has the chart make the test, whose pod is on the carrier's network.
func checkValues() map[string]any {
	return map[string]any{
		"enabled": true, "imsi": checkIMSI, "apn": apn.String(), "options": map[string]string{"imei": checkIMEI},
		"network": map[string]string{"name": "outside", "namespace": "kube-system", "address": "10.77.20.200/16"},
	}
}

// helmTest has helm attach, ask for a decision and detach, which leaves nothing.
func (s *site) helmTest() {
	s.importDevices(map[string]any{"terminals": []any{adminapi.Terminal{IMSI: checkIMSI, IMEIs: []string{checkIMEI}, APNs: []string{apn.String()}, Label: "helm test"}}})
	orders := len(list[adminapi.Order](s, "order", "list"))
	said := s.helm("test", release, "--logs", "--timeout", patience.String())
	s.Logf("helm test:\n%s", said)
	for _, want := range []string{"Phase:          Succeeded", "decision", "detach"} {
		if !strings.Contains(said, want) {
			s.Errorf("helm test doesn't say %q", want)
		}
	}
	if slices.ContainsFunc(list[adminapi.Session](s, "session", "list"), func(v adminapi.Session) bool { return v.IMSI == checkIMSI }) {
		s.Error("the test's session is there still")
	}
	if n := len(list[adminapi.Order](s, "order", "list")); n != orders {
		s.Errorf("there were %d orders, and %d after the test", orders, n)
	}
	s.held("helm test")
}
