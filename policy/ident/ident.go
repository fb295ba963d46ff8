// Package ident holds the identifiers that the gateway admits or refuses by:
// SIM, handset, network, device and order numbers.
//
// Every type is a validated value: it can only be had from its Parse function
// (or be the zero value, which IsZero tells), compares with ==, and redacts
// itself in logs through slog.LogValuer, so that a personal identifier never
// reaches a log whole. Use String where the full value is meant: on the wire,
// in the audit chain, in an answer to an authorised operator.
package ident

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// ErrInvalid is wrapped by every parse error of this package.
var ErrInvalid = errors.New("invalid identifier")

func invalid(kind, value, want string) error {
	return fmt.Errorf("%w: %s %q: want %s", ErrInvalid, kind, value, want)
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// redactTail keeps the first n characters of s.
func redactTail(s string, n int) slog.Value {
	if s == "" {
		return slog.StringValue("")
	}
	if n > len(s) {
		n = 0
	}
	return slog.StringValue(s[:n] + strings.Repeat("*", len(s)-n))
}

// IMSI is an International Mobile Subscriber Identity: 6 to 15 digits, the
// first five or six naming the home network (TS 23.003 2.2).
type IMSI struct{ s string }

// ParseIMSI accepts 6 to 15 decimal digits.
func ParseIMSI(s string) (IMSI, error) {
	if len(s) < 6 || len(s) > 15 || !digits(s) {
		return IMSI{}, invalid("IMSI", s, "6 to 15 digits")
	}
	return IMSI{s}, nil
}

// String returns all the digits.
func (i IMSI) String() string { return i.s }

// IsZero tells whether i holds no IMSI.
func (i IMSI) IsZero() bool { return i.s == "" }

// LogValue keeps the home network and hides the subscriber.
func (i IMSI) LogValue() slog.Value { return redactTail(i.s, 5) }

// MSISDN is a telephone number in international form without the plus sign:
// at most 15 digits (ITU-T E.164).
type MSISDN struct{ s string }

// ParseMSISDN accepts 5 to 15 digits, with or without a leading plus.
func ParseMSISDN(s string) (MSISDN, error) {
	d := strings.TrimPrefix(s, "+")
	if len(d) < 5 || len(d) > 15 || !digits(d) {
		return MSISDN{}, invalid("MSISDN", s, "5 to 15 digits, country code first")
	}
	return MSISDN{d}, nil
}

// String returns the digits without a plus sign.
func (m MSISDN) String() string { return m.s }

// IsZero tells whether m holds no number.
func (m MSISDN) IsZero() bool { return m.s == "" }

// LogValue keeps three digits.
func (m MSISDN) LogValue() slog.Value { return redactTail(m.s, 3) }

// IMEI identifies a handset by the 14 digits of type allocation code and
// serial number. The 15th digit (a check digit, or 0 on the wire) and the two
// software version digits of an IMEISV say nothing about which handset it is
// (TS 23.003 6.2), so they are dropped and two forms of one handset are equal.
type IMEI struct{ s string }

// ParseIMEI accepts 14 digits, a 15-digit IMEI or a 16-digit IMEISV.
func ParseIMEI(s string) (IMEI, error) {
	if len(s) < 14 || len(s) > 16 || !digits(s) {
		return IMEI{}, invalid("IMEI", s, "14 to 16 digits")
	}
	return IMEI{s[:14]}, nil
}

// String returns the 14 significant digits.
func (i IMEI) String() string { return i.s }

// TAC returns the type allocation code, the first 8 digits.
func (i IMEI) TAC() string {
	if len(i.s) < 8 {
		return ""
	}
	return i.s[:8]
}

// IsZero tells whether i holds no IMEI.
func (i IMEI) IsZero() bool { return i.s == "" }

// LogValue keeps the handset model and hides the serial number.
func (i IMEI) LogValue() slog.Value { return redactTail(i.s, 8) }

// PLMN is a mobile network: three digits of country code and two or three of
// network code (TS 23.003 2.2).
type PLMN struct{ mcc, mnc string }

// ParsePLMN accepts "46001", "310410" or either with a dash after the country
// code.
func ParsePLMN(s string) (PLMN, error) {
	d := s
	if len(s) > 3 && s[3] == '-' {
		d = s[:3] + s[4:]
	}
	if (len(d) != 5 && len(d) != 6) || !digits(d) {
		return PLMN{}, invalid("PLMN", s, "three digits of MCC and two or three of MNC")
	}
	return PLMN{d[:3], d[3:]}, nil
}

// MCC returns the mobile country code.
func (p PLMN) MCC() string { return p.mcc }

// MNC returns the mobile network code, two or three digits.
func (p PLMN) MNC() string { return p.mnc }

// String returns MCC and MNC joined.
func (p PLMN) String() string { return p.mcc + p.mnc }

// IsZero tells whether p holds no network.
func (p PLMN) IsZero() bool { return p.mcc == "" }

// LogValue is the whole PLMN: a network is not personal.
func (p PLMN) LogValue() slog.Value { return slog.StringValue(p.String()) }

// APN is an access point name's network identifier, lower-cased and without
// the operator identifier (TS 23.003 9.1), so that == is the comparison that
// GTP asks for.
type APN struct{ s string }

// ParseAPN accepts one to sixty-three characters a label, a hundred in all.
// An operator identifier suffix (".mnc001.mcc460.gprs") is cut off.
func ParseAPN(s string) (APN, error) {
	const want = "labels of letters, digits and dashes, joined by dots, at most 100 characters"
	v := strings.ToLower(s)
	if labels := strings.Split(v, "."); len(labels) > 3 {
		n := len(labels)
		if labels[n-1] == "gprs" && operatorLabel(labels[n-2], "mcc") && operatorLabel(labels[n-3], "mnc") {
			v = strings.Join(labels[:n-3], ".")
		}
	}
	if v == "" || len(s) > 100 {
		return APN{}, invalid("APN", s, want)
	}
	for label := range strings.SplitSeq(v, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return APN{}, invalid("APN", s, want)
		}
		for _, c := range label {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return APN{}, invalid("APN", s, want)
			}
		}
	}
	return APN{v}, nil
}

func operatorLabel(label, prefix string) bool {
	rest, ok := strings.CutPrefix(label, prefix)
	return ok && len(rest) == 3 && digits(rest)
}

// String returns the network identifier in lower case.
func (a APN) String() string { return a.s }

// IsZero tells whether a holds no name.
func (a APN) IsZero() bool { return a.s == "" }

// LogValue is the whole name: an APN is not personal.
func (a APN) LogValue() slog.Value { return slog.StringValue(a.s) }

// MAC is a 48-bit IEEE 802 address, unicast and not all zero.
type MAC struct{ s string }

// ParseMAC accepts six pairs of hexadecimal digits, separated by colons or
// dashes, in either case.
func ParseMAC(s string) (MAC, error) {
	const want = `six hexadecimal pairs such as "02:00:5e:10:00:01", neither multicast nor all zero`
	v := strings.ToLower(strings.ReplaceAll(s, "-", ":"))
	if len(v) != 17 {
		return MAC{}, invalid("MAC", s, want)
	}
	for i := range len(v) {
		c := v[i]
		if i%3 == 2 {
			if c != ':' {
				return MAC{}, invalid("MAC", s, want)
			}
		} else if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return MAC{}, invalid("MAC", s, want)
		}
	}
	if strings.ContainsRune("13579bdf", rune(v[1])) || v == "00:00:00:00:00:00" {
		return MAC{}, invalid("MAC", s, want)
	}
	return MAC{v}, nil
}

// String returns the address in lower case with colons.
func (m MAC) String() string { return m.s }

// IsZero tells whether m holds no address.
func (m MAC) IsZero() bool { return m.s == "" }

// LogValue keeps the vendor part and hides the device.
func (m MAC) LogValue() slog.Value {
	if m.s == "" {
		return slog.StringValue("")
	}
	return slog.StringValue(m.s[:8] + ":**:**:**")
}

// BarrelID is the serial number of a smart seal barrel.
type BarrelID struct{ s string }

// ParseBarrelID accepts 1 to 32 letters, digits and dashes, and makes letters
// upper-case.
func ParseBarrelID(s string) (BarrelID, error) {
	v, ok := code(s, 32, "-")
	if !ok {
		return BarrelID{}, invalid("barrel serial", s, "1 to 32 letters, digits and dashes")
	}
	return BarrelID{strings.ToUpper(v)}, nil
}

// String returns the serial number.
func (b BarrelID) String() string { return b.s }

// IsZero tells whether b holds no serial number.
func (b BarrelID) IsZero() bool { return b.s == "" }

// LogValue is the whole serial number: a barrel is not a person.
func (b BarrelID) LogValue() slog.Value { return slog.StringValue(b.s) }

// OrderNo is the number of a work order, as the seal server gives it.
type OrderNo struct{ s string }

// ParseOrderNo accepts 1 to 64 letters, digits, dashes, underscores, dots and
// slashes; case counts.
func ParseOrderNo(s string) (OrderNo, error) {
	v, ok := code(s, 64, "-_./")
	if !ok {
		return OrderNo{}, invalid("order number", s, "1 to 64 letters, digits, and any of - _ . /")
	}
	return OrderNo{v}, nil
}

// String returns the number.
func (o OrderNo) String() string { return o.s }

// IsZero tells whether o holds no number.
func (o OrderNo) IsZero() bool { return o.s == "" }

// LogValue is the whole number: it names a paper, not a person.
func (o OrderNo) LogValue() slog.Value { return slog.StringValue(o.s) }

// PlainName tells whether a name that people give can stand in a reason, a counter or
// a log as it is: 1 to 32 lower-case letters, digits and dashes inside.
func PlainName(s string) bool {
	return s != "" && len(s) <= 32 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" && strings.Trim(s, "-") == s
}

func code(s string, most int, extra string) (string, bool) {
	if s == "" || len(s) > most {
		return "", false
	}
	for _, c := range s {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && !strings.ContainsRune(extra, c) {
			return "", false
		}
	}
	return s, true
}
