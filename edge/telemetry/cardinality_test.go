package telemetry

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/sealedge/sealedge/cluster/state"
)

// gather returns the families that a source makes, by name.
func gather(t *testing.T, r interface {
	Gather() ([]*dto.MetricFamily, error)
},
) map[string]*dto.MetricFamily {
	t.Helper()
	all, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*dto.MetricFamily{}
	for _, f := range all {
		out[f.GetName()] = f
	}
	return out
}

// values are a family's, by the value of its only label.
func values(f *dto.MetricFamily) map[string]float64 {
	out := map[string]float64{}
	for _, m := range f.GetMetric() {
		label := ""
		if len(m.Label) > 0 {
			label = m.Label[0].GetValue()
		}
		out[label] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return out
}

// What peers send can make no series, whatever a part may come to count by: what
// could name somebody, or is one too many, is merged, and the sum stays right.
func TestCardinalityIsBounded(t *testing.T) {
	hostile := []string{
		"001010000000001", "imsi-001010000000001", "create-refused-4915112345678", "127.0.20.0/24", "from-192.0.2.1", "2001-db8--1",
		"order-A1234", `x"} 1` + "\nsealedge_fake 1", "", "ünïcode", "a b", strings.Repeat("long", 100), "\xff\xfe", merged,
	}
	counts := map[string]uint64{"gtpc.sent": 7, "gtpu.uplink-packets": 3, "gtpu.uplink-bytes": 300, "barrel.answer-Content": 5}
	for _, h := range hostile {
		for _, p := range []string{"gtpc", "phoneapi", "radius"} {
			counts[p+"."+h] = 2
		}
		counts[h] = 2            // of no part
		counts["part."+h] = 2    // of an unknown one
		counts["gtpc"+h+"."] = 2 // nearly a known one
	}
	src := quiet()
	src.Counters = func() map[string]uint64 { return counts }
	r := registry(src, nil, new(health))
	check := func() map[string]float64 {
		t.Helper()
		all := gather(t, r)
		for name, f := range all {
			if len(f.Metric) > maxEvents+1 {
				t.Errorf("%s has %d series", name, len(f.Metric))
			}
			for _, m := range f.Metric {
				for _, l := range m.Label {
					for _, h := range hostile {
						if h != "" && h != merged && strings.Contains(l.GetValue(), h) {
							t.Errorf("%s has the label %s=%q", name, l.GetName(), l.GetValue())
						}
					}
				}
			}
		}
		if n := values(all["sealedge_telemetry_names_merged"])[""]; n == 0 || n > maxEvents {
			t.Errorf("%v names are said to be merged", n)
		}
		return values(all["sealedge_gtpc_events_total"])
	}
	got := check()
	if got["sent"] != 7 || got[merged] != float64(2*len(hostile)) {
		t.Errorf("sent %v, merged %v; want 7 and %d", got["sent"], got[merged], 2*len(hostile))
	}

	// A part that begins to count by ever new names.
	for i := range 10_000 {
		name := fmt.Sprintf("gtpc.x-%c%c%c", 'a'+i%26, 'a'+i/26%26, 'a'+i/676)
		counts[name] = 1
	}
	for range 3 {
		next := check()
		for event, n := range got {
			if next[event] < n {
				t.Errorf("event %s fell from %v to %v", event, n, next[event])
			}
		}
		var sum, want float64
		for _, n := range next {
			sum += n
		}
		for key, n := range counts {
			if strings.HasPrefix(key, "gtpc.") {
				want += float64(n)
			}
		}
		if sum != want {
			t.Errorf("the events sum up to %v, want %v", sum, want)
		}
		got = next
		for key := range maps.Keys(counts) {
			counts[key]++
		}
	}
}

func TestPacketsAndBytes(t *testing.T) {
	src := quiet()
	src.Counters = func() map[string]uint64 {
		return map[string]uint64{
			"gtpu.uplink-packets": 3, "gtpu.uplink-bytes": 300, "inner.in-packets": 4, "inner.stack-tcp-established": 2,
			"inner.stack-udp-checksum": 1, "wireguard.downlink-bytes": 5, "paths.moves": 6,
		}
	}
	all := gather(t, registry(src, nil, new(health)))
	for _, c := range []struct {
		family, label string
		want          float64
	}{
		{"gtpu_packets_total", "uplink", 3},
		{"gtpu_bytes_total", "uplink", 300},
		{"inner_packets_total", "in", 4},
		{"inner_tcp_connections", "", 2},
		{"inner_events_total", "stack-udp-checksum", 1},
		{"wireguard_bytes_total", "downlink", 5},
		{"paths_events_total", "moves", 6},
		{"telemetry_names_merged", "", 0},
	} {
		if got, ok := values(all[prefix+c.family])[c.label]; !ok || got != c.want {
			t.Errorf("%s of %q: %v, want %v", c.family, c.label, got, c.want)
		}
	}
	if _, ok := values(all["sealedge_inner_events_total"])["stack-tcp-established"]; ok {
		t.Error("the open connections, which fall too, are exported as a counter")
	}
}

// However often somebody scrapes, the state is walked through once in a while.
func TestStateIsWalkedSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		walks, src := 0, quiet()
		src.State = func() *state.Machine { walks++; return state.New() }
		r := registry(src, nil, new(health))
		for range 100 {
			gather(t, r)
		}
		if walks != 1 {
			t.Errorf("%d walks at one time, want 1", walks)
		}
		time.Sleep(walkEvery)
		gather(t, r)
		if walks != 2 {
			t.Errorf("%d walks, want 2", walks)
		}
	})
}
