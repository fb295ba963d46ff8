package bundle

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy"
	"github.com/sealedge/sealedge/policy/document"
	"github.com/sealedge/sealedge/policy/ident"
)

// What applies unless the document says otherwise.
const (
	defaultGrantLifetime  = 15 * time.Minute
	defaultEvidenceWithin = 5 * time.Minute
	defaultClockTolerance = 2 * time.Minute

	defaultFallbackLifetime = 12 * time.Hour
	defaultIssuedLifetime   = 90 * 24 * time.Hour
	defaultFallbackGrace    = 2 * time.Minute
	defaultPlaceAge         = 12 * time.Hour
)

func (p *parser) levels(v document.Value) {
	p.source(v, "spec", "levels")
	p.rules.Levels = map[int]policy.Level{}
	places := map[int]document.Value{}
	for key, item := range v.Map().All() {
		m := item.Map()
		methods := m.Need("methods", "methods: [fingerprint]")
		m.Close()
		n, err := strconv.Atoi(key)
		if err != nil || n < 1 || n > 9 || strconv.Itoa(n) != key {
			item.Report("number levels from 1, the strongest, to 9", "%q is no level", key)
			continue
		}
		p.source(methods, "spec", "levels", key, "methods")
		var set policy.Methods
		for _, m := range document.Each(methods, method) {
			set |= m
		}
		if methods.Present() && len(methods.List()) == 0 {
			methods.Report("list at least one of "+strings.Join(policy.MethodNames(), ", "), "a level without a method verifies nothing")
		}
		p.rules.Levels[n] = policy.Level{Methods: set}
		places[n] = methods
	}
	if v.Present() && len(p.rules.Levels) == 0 {
		v.Report("add level 1", "there are no levels")
	}
	p.ordered(places)
}

// ordered holds what the word level promises: a stronger one asks for all that
// a weaker one asks for.
func (p *parser) ordered(places map[int]document.Value) {
	for n := 1; n <= 9; n++ {
		for weaker := n + 1; weaker <= 9; weaker++ {
			a, b := p.rules.Levels[n].Methods, p.rules.Levels[weaker].Methods
			if a != 0 && b != 0 && !a.Has(b) {
				places[n].Report(fmt.Sprintf("add %s", b&^a), "level %d is stronger than level %d but asks for less", n, weaker)
			}
		}
	}
}

func method(name string) (policy.Methods, error) {
	m, ok := policy.ParseMethods([]string{name})
	if !ok {
		guess := ""
		if near := document.Nearest(name, policy.MethodNames()); near != "" {
			guess = fmt.Sprintf("; did you mean %q?", near)
		}
		return 0, fmt.Errorf("unknown method %q: want one of %s%s", name, strings.Join(policy.MethodNames(), ", "), guess)
	}
	return m, nil
}

func (p *parser) sealTypes(v document.Value) {
	p.source(v, "spec", "sealTypes")
	p.rules.SealTypes = map[string]policy.SealType{}
	for name, item := range v.Map().All() {
		if !ident.PlainName(name) {
			item.Report(`use lower-case letters, digits and dashes, such as "legal-representative"`, "%q can't name a seal type", name)
		}
		key := []string{"spec", "sealTypes", name}
		m := item.Map()
		level := m.Need("level", "level: 1")
		count, window := m.Need("maxCount", "maxCount: 10"), m.Need("maxWindow", "maxWindow: 72h")
		p.source(item, key...)
		p.source(level, append(key, "level")...)
		p.source(count, append(key, "maxCount")...)
		p.source(window, append(key, "maxWindow")...)
		evidence := m.Get("evidenceWithin").Duration(10*time.Second, 24*time.Hour, defaultEvidenceWithin)
		p.rules.SealTypes[name] = policy.SealType{
			Level:           p.level(level),
			MaxCount:        uint32(count.Int(1, 10_000, 1)),
			MaxWindow:       window.Duration(time.Minute, math.MaxInt64, time.Hour),
			GrantLifetime:   m.Get("grantLifetime").Duration(time.Minute, 24*time.Hour, defaultGrantLifetime),
			EvidenceSeconds: uint32(evidence / time.Second),
		}
		m.Close()
	}
	if v.Present() && len(p.rules.SealTypes) == 0 {
		v.Report("add at least one", "there are no seal types")
	}
}

// level reads the number of a level that the document has.
func (p *parser) level(v document.Value) int {
	n := int(v.Int(1, 9, 0))
	if _, ok := p.rules.Levels[n]; !ok && n != 0 && len(p.rules.Levels) > 0 {
		v.Report(fmt.Sprintf("add level %d to spec.levels, or name one of %s", n, p.levelNames()), "there is no level %d", n)
	}
	return n
}

func (p *parser) levelNames() string {
	var names []string
	for n := range p.rules.Levels {
		names = append(names, strconv.Itoa(n))
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func (p *parser) servers(spec *document.Map) {
	v := spec.Need("servers", `servers: ["127.0.2.1:8443"]`)
	p.source(v, "spec", "servers")
	p.rules.Servers = document.Each(v, policy.ParseServer)
	if v.Present() && len(v.List()) == 0 {
		v.Report("list the seal server", "no seal server is allowed, so no seal can be used")
	}
	clock := spec.Get("clockTolerance")
	p.source(clock, "spec", "clockTolerance")
	p.rules.ClockTolerance = clock.Duration(time.Second, time.Hour, defaultClockTolerance)
}

func (p *parser) fallback(v document.Value) {
	p.source(v, "spec", "fallback")
	m := v.Map()
	allowed, forbid := m.Get("allowed"), m.Get("forbidLevels")
	p.source(allowed, "spec", "fallback", "allowed")
	p.source(forbid, "spec", "fallback", "forbidLevels")
	p.rules.Fallback.Allowed = allowed.Bool()
	for _, item := range forbid.List() {
		p.rules.Fallback.ForbidLevels = append(p.rules.Fallback.ForbidLevels, p.level(item))
	}
	span := func(key string, least, most, unless time.Duration) time.Duration {
		v := m.Get(key)
		p.source(v, "spec", "fallback", key)
		return v.Duration(least, most, unless)
	}
	f := &p.rules.Fallback
	f.Lifetime = span("lifetime", 5*time.Minute, 7*24*time.Hour, defaultFallbackLifetime)
	f.IssuedLifetime = span("issuedLifetime", time.Hour, command.FallbackFor, defaultIssuedLifetime)
	f.Grace = span("grace", 10*time.Second, time.Hour, defaultFallbackGrace)
	f.PlaceAge = span("placeAge", 0, 7*24*time.Hour, defaultPlaceAge)
	m.Close()
}
