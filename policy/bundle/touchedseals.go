package bundle

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/sealedge/sealedge/policy"
)

// levels compares what levels ask for. A level that is new is a way to answer
// for every seal type that it is strong enough for.
func (c *comparison) levels() {
	for _, n := range keysOf(c.old.Levels, c.new.Levels) {
		old, was := c.old.Levels[n]
		now, is := c.new.Levels[n]
		key := []string{"spec", "levels", strconv.Itoa(n), "methods"}
		switch {
		case !was:
			c.note(policy.TouchLevels, "", now.Methods.String(), key...)
		case !is:
			c.note(unless(!c.asked(n), policy.TouchLevels), old.Methods.String(), "", key...)
		default:
			c.note(unless(now.Methods.Has(old.Methods), policy.TouchLevels), old.Methods.String(), now.Methods.String(), key...)
		}
	}
}

// asked tells whether a seal type or a rule of the new document asks for a level.
func (c *comparison) asked(n int) bool {
	for _, kind := range c.new.SealTypes {
		if kind.Level == n {
			return true
		}
	}
	return slices.ContainsFunc(c.new.Table, func(r policy.Rule) bool { return r.Require.Level == n })
}

func (c *comparison) sealTypes() {
	for _, name := range keysOf(c.old.SealTypes, c.new.SealTypes) {
		old, was := c.old.SealTypes[name]
		now, is := c.new.SealTypes[name]
		key := []string{"spec", "sealTypes", name}
		at := func(k string) []string { return append(slices.Clone(key), k) }
		switch {
		case !was:
			c.note(policy.TouchSeals, "", "seal type "+name, key...)
		case !is:
			c.note(policy.TouchTightening, "seal type "+name, "", key...)
		default:
			c.level(old.Level, now.Level, at("level"))
			most(c, policy.TouchSeals, old.MaxCount, now.MaxCount, at("maxCount")...)
			most(c, policy.TouchSeals, old.MaxWindow, now.MaxWindow, at("maxWindow")...)
			most(c, policy.TouchSeals, old.GrantLifetime, now.GrantLifetime, at("grantLifetime")...)
			span := func(s uint32) time.Duration { return time.Duration(s) * time.Second }
			most(c, policy.TouchSeals, span(old.EvidenceSeconds), span(now.EvidenceSeconds), at("evidenceWithin")...)
		}
	}
	most(c, policy.TouchSeals, c.old.ClockTolerance, c.new.ClockTolerance, "spec", "clockTolerance")
}

// level compares the weakest level that will do for a seal type. Which paths it
// is used over depends on it as well.
func (c *comparison) level(old, now int, key []string) {
	was, is := c.old.Levels[old].Methods, c.new.Levels[now].Methods
	c.note(unless(now <= old && is.Has(was), policy.TouchLevels), strconv.Itoa(old), strconv.Itoa(now), key...)
	overFallback := func(r *policy.Rules, level int) bool {
		return r.Fallback.Allowed && !slices.Contains(r.Fallback.ForbidLevels, level)
	}
	if old != now && overFallback(c.new, now) && !overFallback(c.old, old) {
		c.note(policy.TouchSeals, "not over the fallback path", "over the fallback path", key...)
	}
}

func (c *comparison) servers() {
	covered := func(s policy.Server) bool {
		return slices.ContainsFunc(c.old.Servers, func(o policy.Server) bool { return o.Host == s.Host && (o.Port == 0 || o.Port == s.Port) })
	}
	wider := slices.ContainsFunc(c.new.Servers, func(s policy.Server) bool { return !covered(s) })
	c.note(unless(!wider, policy.TouchSeals), words(c.old.Servers), words(c.new.Servers), "spec", "servers")
}

// control compares how many people are asked, and how long and how easily one
// of them has his way.
func (c *comparison) control() {
	old, now := c.old.Control, c.new.Control
	for _, t := range policy.Touches() {
		was, is := old.Needed([]policy.Touch{t}), now.Needed([]policy.Touch{t})
		c.note(unless(is >= was, policy.TouchControl), fmt.Sprint(was), fmt.Sprint(is), "spec", "changeControl", "approvals", string(t))
	}
	most(c, policy.TouchControl, old.Lifetime, now.Lifetime, "spec", "changeControl", "lifetime")
	most(c, policy.TouchControl, old.ReviewWithin, now.ReviewWithin, "spec", "changeControl", "reviewWithin")
	c.note(unless(!now.BreakGlass, policy.TouchControl), fmt.Sprint(old.BreakGlass), fmt.Sprint(now.BreakGlass), "spec", "changeControl", "breakGlass")
}
