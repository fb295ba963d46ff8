package ident

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"
)

// parse runs the parser of the kind and returns the value's text.
func parse(kind, in string) (string, error) {
	var v fmt.Stringer
	var err error
	switch kind {
	case "IMSI":
		v, err = ParseIMSI(in)
	case "MSISDN":
		v, err = ParseMSISDN(in)
	case "IMEI":
		v, err = ParseIMEI(in)
	case "PLMN":
		v, err = ParsePLMN(in)
	case "APN":
		v, err = ParseAPN(in)
	case "MAC":
		v, err = ParseMAC(in)
	case "BarrelID":
		v, err = ParseBarrelID(in)
	case "OrderNo":
		v, err = ParseOrderNo(in)
	}
	return v.String(), err
}

var kinds = []string{"IMSI", "MSISDN", "IMEI", "PLMN", "APN", "MAC", "BarrelID", "OrderNo"}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		kind, in, want string // want "" means refused
	}{
		{"IMSI", "460010000000001", "460010000000001"},
		{"IMSI", "46001", ""},
		{"IMSI", "4600100000000012", ""},
		{"IMSI", "46001000000000a", ""},
		{"MSISDN", "+8613800000001", "8613800000001"},
		{"MSISDN", "++8613800000001", ""},
		{"IMEI", "35693803564380", "35693803564380"},
		{"IMEI", "356938035643809", "35693803564380"},
		{"IMEI", "3569380356438012", "35693803564380"},
		{"IMEI", "3569380356438", ""},
		{"PLMN", "46001", "46001"},
		{"PLMN", "310-410", "310410"},
		{"PLMN", "4600", ""},
		{"APN", "Seal.Corp", "seal.corp"},
		{"APN", "seal.corp.mnc001.mcc460.gprs", "seal.corp"},
		{"APN", "mnc001.mcc460.gprs", "mnc001.mcc460.gprs"},
		{"APN", "seal..corp", ""},
		{"APN", "-seal", ""},
		{"APN", "", ""},
		{"MAC", "02-00-5E-10-00-0A", "02:00:5e:10:00:0a"},
		{"MAC", "01:00:5e:10:00:0a", ""},
		{"MAC", "00:00:00:00:00:00", ""},
		{"MAC", "02:00:5e:10:00:0g", ""},
		{"MAC", "02:00:5e:10:00:0a:", ""},
		{"BarrelID", "sb-0001", "SB-0001"},
		{"BarrelID", "sb 0001", ""},
		{"OrderNo", "WO/2026-11_22.1", "WO/2026-11_22.1"},
		{"OrderNo", "WO 1", ""},
	} {
		got, err := parse(c.kind, c.in)
		if c.want == "" {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("Parse%s(%q) = %q, %v; want a refusal", c.kind, c.in, got, err)
			}
			continue
		}
		if err != nil || got != c.want {
			t.Errorf("Parse%s(%q) = %q, %v; want %q", c.kind, c.in, got, err, c.want)
		}
	}
}

func TestLogValueHidesPersons(t *testing.T) {
	imsi, _ := ParseIMSI("460010000000001")
	imei, _ := ParseIMEI("35693803564380")
	msisdn, _ := ParseMSISDN("8613800000001")
	mac, _ := ParseMAC("02:00:5e:10:00:0a")
	for want, v := range map[string]slog.LogValuer{
		"46001**********":   imsi,
		"35693803******":    imei,
		"861**********":     msisdn,
		"02:00:5e:**:**:**": mac,
		"":                  IMSI{},
	} {
		if got := v.LogValue().String(); got != want {
			t.Errorf("%T logs as %q, want %q", v, got, want)
		}
	}
}

// A parsed value's text parses to the same value.
func FuzzParse(f *testing.F) {
	for i := range kinds {
		f.Add(i, "460010000000001")
		f.Add(i, "seal.corp.mnc001.mcc460.gprs")
		f.Add(i, "02-00-5E-10-00-0A")
	}
	f.Fuzz(func(t *testing.T, k int, in string) {
		kind := kinds[uint(k)%uint(len(kinds))]
		once, err := parse(kind, in)
		if err != nil {
			return
		}
		twice, err := parse(kind, once)
		if err != nil || twice != once {
			t.Fatalf("Parse%s(%q) = %q, which parses to %q, %v", kind, in, once, twice, err)
		}
	})
}
