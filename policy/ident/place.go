package ident

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
)

// TAI is a tracking area identity: a network and a tracking area code of 16 bits
// (TS 23.003 19.4.2.3).
type TAI struct {
	plmn PLMN
	tac  uint16
}

// NewTAI puts a tracking area identity together.
func NewTAI(plmn PLMN, tac uint16) TAI { return TAI{plmn, tac} }

// ParseTAI accepts a PLMN, a dash and four hexadecimal digits: "46001-1a2b".
func ParseTAI(s string) (TAI, error) {
	plmn, n, ok := place(s, 4)
	if !ok {
		return TAI{}, invalid("tracking area", s, `a PLMN and four hexadecimal digits, such as "46001-1a2b"`)
	}
	return TAI{plmn, uint16(n)}, nil
}

// String is what ParseTAI reads, in lower case.
func (t TAI) String() string {
	if t.IsZero() {
		return ""
	}
	return fmt.Sprintf("%s-%04x", t.plmn, t.tac)
}

// PLMN is the network that the tracking area is of.
func (t TAI) PLMN() PLMN { return t.plmn }

// IsZero tells whether t holds no tracking area.
func (t TAI) IsZero() bool { return t.plmn.IsZero() }

// LogValue keeps the network: where a terminal is says where a person is.
func (t TAI) LogValue() slog.Value { return redactTail(t.String(), len(t.plmn.String())) }

// ECGI is an E-UTRAN cell global identification: a network and a cell identity of
// 28 bits (TS 23.003 19.6).
type ECGI struct {
	plmn PLMN
	cell uint32
}

// NewECGI puts a cell's identification together; of cell the low 28 bits count.
func NewECGI(plmn PLMN, cell uint32) ECGI { return ECGI{plmn, cell & (1<<28 - 1)} }

// ParseECGI accepts a PLMN, a dash and seven hexadecimal digits: "46001-1a2b3c4".
func ParseECGI(s string) (ECGI, error) {
	plmn, n, ok := place(s, 7)
	if !ok {
		return ECGI{}, invalid("cell", s, `a PLMN and seven hexadecimal digits, such as "46001-1a2b3c4"`)
	}
	return ECGI{plmn, uint32(n)}, nil
}

// String is what ParseECGI reads, in lower case.
func (e ECGI) String() string {
	if e.IsZero() {
		return ""
	}
	return fmt.Sprintf("%s-%07x", e.plmn, e.cell)
}

// IsZero tells whether e holds no cell.
func (e ECGI) IsZero() bool { return e.plmn.IsZero() }

// LogValue keeps the network: where a terminal is says where a person is.
func (e ECGI) LogValue() slog.Value { return redactTail(e.String(), len(e.plmn.String())) }

// place reads a PLMN of digits alone, a dash and a number of so many hexadecimal
// digits.
func place(s string, size int) (PLMN, uint64, bool) {
	network, number, _ := strings.Cut(s, "-")
	plmn, err := ParsePLMN(network)
	if err != nil || len(number) != size || strings.Trim(number, "0123456789abcdefABCDEF") != "" {
		return PLMN{}, 0, false
	}
	n, err := strconv.ParseUint(number, 16, 32)
	return plmn, n, err == nil
}
