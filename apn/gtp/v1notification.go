package gtp

import (
	"strings"

	"github.com/wmnsk/go-gtp/gtpv1/ie"
)

// parseMSInfoChangeNotification reads a request of TS 29.060 7.5B.1.1.
func parseMSInfoChangeNotification(h Header, e elementsV1) (*ChangeNotificationRequest, *Error) {
	m := &ChangeNotificationRequest{Header: h, RAT: e.rat(), UserLocation: e.location()}
	if err := e.require(missing, ie.RATType); err != nil {
		return nil, err
	}
	if m.RAT == 0 {
		return nil, incorrect(ie.RATType, 0)
	}
	var err *Error
	if m.IMSI, err = e.imsi(); err != nil {
		return nil, err
	}
	if m.LinkedEBI, err = e.nsapi(); err != nil {
		return nil, err
	}
	m.MEI = e.extras().imei
	// With TEID 0 nothing else names whom it is about.
	if m.IMSI.IsZero() && h.TEID == 0 {
		return nil, conditional(ie.IMSI, 0)
	}
	return m, nil
}

// marshalV1 encodes the response of TS 29.060 7.5B.1.2.
func (m *ChangeNotificationResponse) marshalV1() []byte {
	x := extras{imsi: imsiV1(m.IMSI.String()), linkedEBI: m.EBI, imei: m.MEI}
	return marshalMSInfoChange(Header{Seq: m.Seq}, m.TEID, m.Cause.forV1(TypeMSInfoChangeNotification), x)
}

func marshalMSInfoChange(h Header, teid uint32, cause uint8, repeat extras) []byte {
	ies := []*ie.IE{ie.NewCause(cause)}
	if len(repeat.imsi) > 0 {
		ies = append(ies, ie.New(ie.IMSI, repeat.imsi))
	}
	if repeat.linkedEBI != 0 {
		ies = append(ies, ie.NewNSAPI(repeat.linkedEBI))
	}
	if len(repeat.imei) > 0 {
		ies = append(ies, ie.New(ie.IMEISV, repeat.imei))
	}
	return encodeV1(TypeMSInfoChangeNotification+1, teid, h.Seq, ies...)
}

// imsiV1 codes an IMSI in the eight octets that it has in GTPv1, unused half
// octets being 1111 (TS 29.060 7.7.2); nil for none. go-gtp gives a short one
// fewer octets.
func imsiV1(digits string) []byte {
	if digits == "" {
		return nil
	}
	v := []byte(strings.Repeat("\xff", 8))
	for i, d := range []byte(digits) {
		if i/2 == len(v) {
			return nil
		}
		if i%2 == 0 {
			v[i/2] = 0xf0 | (d - '0')
		} else {
			v[i/2] = v[i/2]&0x0f | (d-'0')<<4
		}
	}
	return v
}
