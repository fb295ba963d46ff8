// Package gtp is the codec boundary of the GPRS Tunnelling Protocol: bytes in,
// typed messages out, and back. It is the only package of the gateway that
// imports go-gtp, and of that only the message and ie packages.
//
// Parse turns one datagram of GTPv2-C (3GPP TS 29.274) or GTPv1-C (3GPP TS
// 29.060) into a Message; Header.Version says which. What comes out has been
// checked as TS 29.274 7.7 or TS 29.060 11.1 asks: mandatory and conditional
// elements are there and make sense, unknown ones were skipped, of repeated
// ones the first was taken. What fails a check comes out as a *Faulty message
// with an *Error that says which cause to answer with and which element
// offended; what the specification orders to be discarded in silence comes out
// as an *Error with cause 0. A response that can't be read still ends the
// transaction that it answers, so it comes out as itself, with cause 0.
//
// Causes are GTPv2's throughout; Cause.V1 has GTPv1's word for each, which is what
// the messages of that version are marshalled with.
//
// The GTP-U header codec (3GPP TS 29.281 clause 5) is our own, because it runs
// once for each packet and must not allocate.
//
// Nothing here keeps state, reads a clock or logs. No input makes it panic:
// lengths are checked here before go-gtp sees a byte, and Parse recovers from
// whatever is left in the library.
package gtp
