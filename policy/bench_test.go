package policy

import (
	"fmt"
	"testing"
	"time"

	"github.com/sealedge/sealedge/policy/ident"
)

// large is a policy of 1,000 rules for attaching and 1,000 for seal uses, none of
// which matches but one after them, and 100,000 terminals to ask about.
func large(tb testing.TB) (*Rules, []UseRequest, []AdmitRequest) {
	tb.Helper()
	r := rules()
	r.Zone = must(time.LoadLocation("Asia/Shanghai"))
	r.Locations = map[string]Location{}
	for i := range 100 {
		r.Locations[fmt.Sprintf("site-%d", i)] = Location{TAIs: []string{fmt.Sprintf("46001-%04x", i+1)}}
	}
	for i := range 1000 {
		for _, action := range []Action{ActionUse, ActionAttach} {
			m := Match{
				Groups: []string{fmt.Sprintf("group-%d", i), "some"}, Locations: []string{fmt.Sprintf("site-%d", i%100)},
				IMSIPrefixes: []string{fmt.Sprintf("46001%05d", i)}, APNs: []ident.APN{must(ident.ParseAPN("seal.corp"))}, Paths: []PathKind{PathGTP},
				PLMNs: []ident.PLMN{must(ident.ParsePLMN("46001"))}, RATs: []RAT{6}, TACs: []string{fmt.Sprintf("%08d", i)},
				Hours: &Hours{Days: [7]bool{1: true, 2: true, 3: true}, From: i % 1440, To: (i + 600) % 1440, NotBefore: noon.Add(time.Duration(i) * time.Hour)},
			}
			if action == ActionUse {
				m.SealTypes, m.Barrels = []string{"company"}, []string{fmt.Sprintf("SB-%d", i)}
			}
			r.Table = append(r.Table, Rule{ID: fmt.Sprintf("%s-%d", action, i), Action: action, Match: m})
		}
	}
	r.Table = append(r.Table, Rule{ID: "use", Action: ActionUse, Permit: true}, Rule{ID: "attach", Action: ActionAttach, Permit: true})
	uses, attaches := make([]UseRequest, 100_000), make([]AdmitRequest, 100_000)
	for i := range uses {
		imsi := fmt.Sprintf("46001%010d", i*1009)
		s := subscriber()
		s.IMSI, s.Groups = imsi, []string{fmt.Sprintf("group-%d", i%700), "some"}
		place := Place{TAI: must(ident.ParseTAI(fmt.Sprintf("46001-%04x", i%200)))}
		q := use()
		q.Terminal, q.Barrel.CheckedOutTo, q.Access = s, imsi, Access{IMEI: admission().IMEI, PLMN: admission().PLMN, RAT: 6, Place: place}
		q.APN, q.Shown = admission().APN, CredentialSIM
		a := admission()
		a.Subscriber, a.IMSI, a.Now, a.Place, a.Shown = s, must(ident.ParseIMSI(imsi)), noon, place, CredentialSIM
		uses[i], attaches[i] = q, a
	}
	return r, uses, attaches
}

// The way to yes doesn't allocate with as many rules either.
func TestAllowingByRulesDoesNotAllocate(t *testing.T) {
	r, uses, attaches := large(t)
	r.Index()
	i := 0
	for name, ask := range map[string]func() Decision{
		"Admit":     func() Decision { return r.Admit(attaches[i%len(attaches)]) },
		"PermitUse": func() Decision { return r.PermitUse(uses[i%len(uses)]) },
	} {
		if n := testing.AllocsPerRun(1000, func() {
			i += 101
			if d := ask(); !d.Allowed {
				t.Fatal(d.Denials())
			}
		}); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

// BenchmarkLarge asks about 100,000 terminals with 1,000 rules for each action: by the index, and
// by walking, as there would be nothing to gain otherwise.
func BenchmarkLarge(b *testing.B) {
	r, uses, attaches := large(b)
	walked := *r
	r.Index()
	for _, by := range []struct {
		name  string
		rules *Rules
	}{{"index", r}, {"walk", &walked}} {
		b.Run("PermitUse/"+by.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if !by.rules.PermitUse(uses[i%len(uses)]).Allowed {
					b.Fatal("refused")
				}
			}
		})
		b.Run("Admit/"+by.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if !by.rules.Admit(attaches[i%len(attaches)]).Allowed {
					b.Fatal("refused")
				}
			}
		})
	}
}

func BenchmarkIndex(b *testing.B) {
	r, _, _ := large(b)
	for b.Loop() {
		r.Index()
	}
}
