package policy

import (
	"fmt"
	"slices"
	"time"
)

// handset is what the bindings that apply to a request say of its handset: that of
// the document, and that of the rule that decides, which both must be met.
type handset struct {
	needed bool // it must be told
	bound  bool // it may be with the SIM
	pooled bool // it must be of a model of the pool
	inPool bool
	bind   bool // it becomes the only one
}

func (r *Rules) handset(q *AdmitRequest, ruled HandsetBinding) handset {
	s := &q.Subscriber
	imei := q.IMEI.String()
	base := r.Admission.Handset
	if base == 0 {
		base = HandsetListed
	}
	h := handset{needed: r.Admission.RequireIMEI, bound: true}
	swap := imei != "" && imei == s.AnnouncedIMEI && !q.Now.IsZero() && q.Now.Before(s.AnnouncedUntil)
	listed := imei != "" && slices.Contains(s.IMEIs, imei)
	for _, b := range [...]HandsetBinding{base, ruled} {
		some := len(s.IMEIs) > 0
		switch b {
		case 0, HandsetAny:
			continue
		case HandsetExact:
			some = true
		case HandsetPool:
			h.needed, h.pooled = true, true
		case HandsetFirstUse:
			h.needed = true
			h.bind = h.bind || !some
		}
		h.needed = h.needed || some
		h.bound = h.bound && (!some || listed || swap)
		h.bind = h.bind || swap
		// A binding that isn't known, of another version of this program, is not met.
		h.bound = h.bound && b <= HandsetAny
	}
	h.inPool = swap || slices.Contains(r.Admission.TACs, q.IMEI.TAC())
	return h
}

// announced are words on a swap that could have been meant.
func (q AdmitRequest) announced() string {
	s := q.Subscriber
	switch {
	case s.AnnouncedIMEI == "":
		return ""
	case s.AnnouncedIMEI != q.IMEI.String():
		return "; announced is another one"
	}
	return fmt.Sprintf("; it was announced until %s, and it is %s", s.AnnouncedUntil.UTC().Format(time.RFC3339), clock(q.Now))
}
