package gtp

import (
	"github.com/wmnsk/go-gtp/gtpv1/ie"
	ie2 "github.com/wmnsk/go-gtp/gtpv2/ie"
)

// Bits of the Common Flags (TS 29.060 7.7.48).
const (
	flagDualAddress      = 0x80
	flagNoQoSNegotiation = 0x10
)

func parseCreatePDPContextRequest(h Header, e elementsV1) (*CreatePDPContextRequest, *Error) {
	m := &CreatePDPContextRequest{
		Header: h, IMEI: e.imei(), ServingNetwork: e.network(), RAT: e.rat(), UserLocation: e.location(),
		DualAddress: e.octet(ie.CommonFlags)&flagDualAddress != 0, PCO: e.pco(), Recovery: e.recovery(),
	}
	_, m.Secondary = e.find(ie.NSAPI, 1)
	m.AMBRUpKbps, m.AMBRDownKbps = e.ambr()
	if err := e.requireTunnel(); err != nil {
		return nil, err
	}
	steps := []func() *Error{
		func() *Error {
			if m.Secondary {
				return nil // has its primary context's (7.3.1)
			}
			// The IMSI is missing in emergency calls only, and there are none here.
			return e.require(conditional, ie.TEIDCPlane, ie.IMSI, ie.EndUserAddress, ie.AccessPointName)
		},
		func() (err *Error) { m.NSAPI, err = e.nsapi(); return },
		func() (err *Error) { m.Control, m.User, err = e.tunnelEnds([]int{0}, []int{1}); return },
		func() (err *Error) { m.QoS, err = e.qos(); return },
		func() (err *Error) { m.IMSI, err = e.imsi(); return },
		func() (err *Error) { m.MSISDN, err = e.msisdn(); return },
		func() (err *Error) {
			v, ok := e.find(ie.AccessPointName, 0)
			if ok {
				if m.APN, ok = apnOf(v); !ok {
					return incorrect(ie.AccessPointName, 0)
				}
			}
			return nil
		},
		func() (err *Error) {
			if !m.Secondary {
				m.PDNType, err = e.endUser()
			}
			return err
		},
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func parseUpdatePDPContextRequest(h Header, e elementsV1) (*UpdatePDPContextRequest, *Error) {
	m := &UpdatePDPContextRequest{
		Header: h, IMEI: e.imei(), ServingNetwork: e.network(), RAT: e.rat(), UserLocation: e.location(),
		NoQoSNegotiation: e.octet(ie.CommonFlags)&flagNoQoSNegotiation != 0, PCO: e.pco(), Recovery: e.recovery(),
	}
	m.AMBRUpKbps, m.AMBRDownKbps = e.ambr()
	if err := e.requireTunnel(); err != nil {
		return nil, err
	}
	// After the two addresses there can be the same of the other family.
	var err *Error
	if m.Control, m.User, err = e.tunnelEnds([]int{0, 2}, []int{1, 3}); err != nil {
		return nil, err
	}
	if m.NSAPI, err = e.nsapi(); err != nil {
		return nil, err
	}
	if m.QoS, err = e.qos(); err != nil {
		return nil, err
	}
	if m.IMSI, err = e.imsi(); err != nil {
		return nil, err
	}
	return m, nil
}

// requireTunnel refuses a Create or Update without what is mandatory in both
// (TS 29.060 tables 5 and 7).
func (e elementsV1) requireTunnel() *Error {
	if err := e.require(missing, ie.TEIDDataI, ie.NSAPI, ie.GSNAddress, ie.QoSProfile); err != nil {
		return err
	}
	if _, ok := e.find(ie.GSNAddress, 1); !ok {
		return missing(ie.GSNAddress, 0)
	}
	return nil
}

// tunnelEnds reads the SGSN's ends of the tunnels; control and user are the
// occurrences of their addresses. The TEID of the control plane can be missing.
func (e elementsV1) tunnelEnds(control, user []int) (c, u FTEID, err *Error) {
	if c.TEID, err = e.teid(ie.TEIDCPlane); err != nil {
		return FTEID{}, FTEID{}, err
	}
	if u.TEID, err = e.teid(ie.TEIDDataI); err != nil {
		return FTEID{}, FTEID{}, err
	}
	if c.Addr, err = e.address(control...); err != nil {
		return FTEID{}, FTEID{}, err
	}
	if u.Addr, err = e.address(user...); err != nil {
		return FTEID{}, FTEID{}, err
	}
	return c, u, nil
}

// pco reads the terminal's options: the octets are those of GTPv2 (TS 29.060
// 7.7.31).
func (e elementsV1) pco() *PCO {
	v, ok := e.find(ie.ProtocolConfigurationOptions, 0)
	if !ok {
		return nil
	}
	return parsePCO(ie2.ProtocolConfigurationOptions, v)
}

func parseDeletePDPContextRequest(h Header, e elementsV1) (*DeletePDPContextRequest, *Error) {
	if err := e.require(missing, ie.NSAPI); err != nil {
		return nil, err
	}
	nsapi, err := e.nsapi()
	if err != nil {
		return nil, err
	}
	return &DeletePDPContextRequest{Header: h, NSAPI: nsapi, Teardown: e.octet(ie.TeardownInd)&0x01 != 0}, nil
}

func parseDeletePDPContextResponse(h Header, e elementsV1) (*DeletePDPContextResponse, *Error) {
	if err := e.require(missing, ie.Cause); err != nil {
		return nil, err
	}
	return &DeletePDPContextResponse{Header: h, Cause: causeOfV1(e.octet(ie.Cause))}, nil
}
