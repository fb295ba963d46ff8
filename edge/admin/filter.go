package admin

import (
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

// deviceFilter chooses devices of a list: ?group=, ?state=, ?seal_type= and ?text=.
// The zero value chooses all.
type deviceFilter struct {
	group, sealType, text string
	state                 command.DeviceState
}

func deviceFilterOf(r *http.Request) (f deviceFilter, _ *problem) {
	q := r.URL.Query()
	f = deviceFilter{group: q.Get("group"), sealType: q.Get("seal_type"), text: strings.ToLower(q.Get("text"))}
	if said := q.Get("state"); said != "" {
		s, known := states[said]
		if !known {
			return f, badRequest(fmt.Errorf("state: %q is none of active, suspended and revoked", said))
		}
		f.state = s
	}
	return f, nil
}

// states are a device's, as documents have them.
var states = map[string]command.DeviceState{
	"active": command.DeviceState_ACTIVE, "suspended": command.DeviceState_SUSPENDED_DEVICE, "revoked": command.DeviceState_REVOKED_DEVICE,
}

// view is View; with a filter on a clone, because looking for a few devices among
// many takes longer than readers may hold the machine up.
func (f deviceFilter) view(c Cluster, fn func(*state.Machine)) {
	if f == (deviceFilter{}) {
		c.View(fn)
		return
	}
	fn(c.Clone())
}

func (f deviceFilter) subscribers(m *state.Machine, all iter.Seq[*command.Subscriber]) iter.Seq[*command.Subscriber] {
	return chosen(all, func(s *command.Subscriber) bool {
		return (f.state == 0 || s.State == f.state) && (f.group == "" || slices.Contains(s.Groups, f.group)) &&
			f.found(s.Imsi, s.Msisdn, s.Label, s.WifiMac, strings.Join(s.Imeis, " "), strings.Join(s.Groups, " ")) &&
			(f.sealType == "" || f.hasSeal(m, s.Imsi))
	})
}

func (f deviceFilter) hasSeal(m *state.Machine, imsi string) bool {
	for b := range m.BarrelsOf(imsi) {
		if b.SealType == f.sealType {
			return true
		}
	}
	return false
}

// barrels of a group are those that its terminals have.
func (f deviceFilter) barrels(m *state.Machine, all iter.Seq[*command.Barrel]) iter.Seq[*command.Barrel] {
	return chosen(all, func(b *command.Barrel) bool {
		return (f.state == 0 || b.State == f.state) && (f.sealType == "" || b.SealType == f.sealType) &&
			f.found(b.Id, b.Mac, b.Label, b.CheckedOutTo) &&
			(f.group == "" || slices.Contains(m.Subscriber(b.CheckedOutTo).GetGroups(), f.group))
	})
}

// found tells whether the text is in one of the fields.
func (f deviceFilter) found(fields ...string) bool {
	for _, v := range fields {
		if strings.Contains(strings.ToLower(v), f.text) {
			return true
		}
	}
	return false
}

func chosen[T any](all iter.Seq[T], is func(T) bool) iter.Seq[T] {
	return func(yield func(T) bool) {
		for v := range all {
			if is(v) && !yield(v) {
				return
			}
		}
	}
}
