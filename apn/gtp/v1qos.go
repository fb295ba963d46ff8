package gtp

import (
	"slices"

	"github.com/wmnsk/go-gtp/gtpv1/ie"
)

// QoSProfile is a quality of service as GTPv1 carries it (TS 24.008 10.5.6.5,
// TS 29.060 7.7.34). The zero value is "not told".
type QoSProfile struct {
	ARP uint8 // allocation/retention priority, the first octet of the element
	// Data is the profile from octet 3 of TS 24.008 on: 3 octets as in Release
	// 97, 11 as in Release 99, and 12, 14, 16, 18 or 20 of the releases after.
	Data []byte
}

// A profile's length in octets, by what it has (TS 24.008 figure 10.5.138).
const (
	qosRelease97 = 3
	qosRelease99 = 11
	qosLongest   = 20
)

// qosRate is where a bit rate is in a profile: its octet, and those of its two
// extensions, which shorter profiles lack.
type qosRate struct{ base, extended, extended2 int }

var (
	maxUp          = qosRate{5, 14, 18}
	maxDown        = qosRate{6, 12, 16}
	guaranteedUp   = qosRate{9, 15, 19}
	guaranteedDown = qosRate{10, 13, 17}
)

// qosStep is a range of octets that stand for bit rates with even distances: an
// octet from first to last is from plus what it is above first, times unit.
type qosStep struct {
	first, last uint8
	from, unit  uint32 // kbit/s
}

// The codings of TS 24.008 table 10.5.156, ascending.
var (
	qosBase      = []qosStep{{1, 63, 1, 1}, {64, 127, 64, 8}, {128, 254, 576, 64}}
	qosExtended  = []qosStep{{1, 74, 8700, 100}, {75, 186, 17_000, 1000}, {187, 250, 130_000, 2000}}
	qosExtended2 = []qosStep{{1, 61, 260_000, 4000}, {62, 161, 510_000, 10_000}, {162, 246, 1_600_000, 100_000}}
)

const (
	qosZero         = 255 // in the base octet: 0 kbit/s
	qosBaseMost     = 254
	qosExtendedMost = 250
)

func decodeRate(steps []qosStep, v uint8) uint32 {
	top := steps[len(steps)-1]
	for _, s := range steps {
		if v <= s.last {
			return s.from + uint32(v-s.first)*s.unit
		}
	}
	// Not defined: the highest that is.
	return top.from + uint32(top.last-top.first)*top.unit
}

// encodeRate finds the highest rate that isn't above kbps; 0: all are.
func encodeRate(steps []qosStep, kbps uint32) uint8 {
	for _, s := range slices.Backward(steps) {
		if kbps >= s.from {
			return uint8(min(uint32(s.first)+(kbps-s.from)/s.unit, uint32(s.last)))
		}
	}
	return 0
}

// kbps reads a bit rate of a profile that has Release 99's octets. told is false
// for the value 0, which leaves the rate to the subscription.
func (r qosRate) kbps(data []byte) (kbps uint32, told bool) {
	if r.extended2 < len(data) && data[r.extended2] != 0 {
		return decodeRate(qosExtended2, data[r.extended2]), true
	}
	if r.extended < len(data) && data[r.extended] != 0 {
		return decodeRate(qosExtended, data[r.extended]), true
	}
	switch v := data[r.base]; v {
	case 0:
		return 0, false
	case qosZero:
		return 0, true
	default:
		return decodeRate(qosBase, v), true
	}
}

// lower brings a bit rate down to a limit, 0 for none. It never raises one, so the
// octets that the profile has are enough.
func (r qosRate) lower(data []byte, limit uint32) {
	if asked, told := r.kbps(data); limit == 0 || !told || asked <= limit {
		return
	}
	base, extended, extended2 := encodeRate(qosBase, limit), encodeRate(qosExtended, limit), encodeRate(qosExtended2, limit)
	// A rate beyond the octet's range is given as its highest, and the next octet
	// counts instead.
	if extended != 0 {
		base = qosBaseMost
	}
	if extended2 != 0 {
		extended = qosExtendedMost
	}
	data[r.base] = base
	if r.extended < len(data) {
		data[r.extended] = extended
	}
	if r.extended2 < len(data) {
		data[r.extended2] = extended2
	}
}

// MaxKbps is the maximum bit rate in each direction; 0: not told, or none. Of a
// Release 97 profile it is the peak throughput.
func (q QoSProfile) MaxKbps() (up, down uint32) {
	switch {
	case len(q.Data) >= qosRelease99:
		up, _ = maxUp.kbps(q.Data)
		down, _ = maxDown.kbps(q.Data)
	case len(q.Data) >= qosRelease97:
		up = peakKbps(q.Data[1] >> 4)
		down = up
	}
	return up, down
}

// Within is the profile with its maximum bit rates lowered to a limit in each
// direction, 0 for none, and guaranteed ones that would be above their maximum
// with them. Otherwise it repeats what was asked: a GGSN negotiates downwards
// only (TS 29.060 7.3.2).
func (q QoSProfile) Within(upKbps, downKbps uint32) QoSProfile {
	q.Data = slices.Clone(q.Data)
	switch {
	case len(q.Data) >= qosRelease99:
		maxUp.lower(q.Data, upKbps)
		maxDown.lower(q.Data, downKbps)
		guaranteedUp.lower(q.Data, upKbps)
		guaranteedDown.lower(q.Data, downKbps)
	case len(q.Data) >= qosRelease97:
		limit := upKbps
		if limit == 0 || downKbps != 0 && downKbps < limit {
			limit = downKbps // there is one class for both directions
		}
		for class := q.Data[1] >> 4; class > 1 && limit != 0 && peakKbps(class) > limit; {
			class--
			q.Data[1] = class<<4 | q.Data[1]&0x0f
		}
	}
	return q
}

// peakKbps is a peak throughput class (TS 24.008 table 10.5.156): from 1000
// octets a second, doubling to 256,000; 0: not told.
func peakKbps(class uint8) uint32 {
	if class < 1 || class > 9 {
		return 0
	}
	return 8 << (class - 1)
}

// qos reads the Quality of Service Profile. Octets beyond those that are defined
// are cut off (TS 29.060 11.1.6).
func (e elementsV1) qos() (QoSProfile, *Error) {
	v, _ := e.find(ie.QoSProfile, 0)
	if len(v) < 1+qosRelease97 {
		return QoSProfile{}, incorrect(ie.QoSProfile, 0)
	}
	return QoSProfile{ARP: v[0], Data: slices.Clone(v[1:min(len(v), 1+qosLongest)])}, nil
}

func (q QoSProfile) element() *ie.IE {
	if len(q.Data) == 0 {
		return nil
	}
	return ie.New(ie.QoSProfile, append([]byte{q.ARP}, q.Data...))
}
