package main

import (
	"fmt"
	"testing"
)

func TestScan(t *testing.T) {
	for _, c := range []struct{ expr, want string }{
		{`a`, "[{a [] false []}] []"},
		{`sum by (x, y) (rate(a{b="c",d=~"e|f \\(7\\)"}[5m])) / 2`, `[{a [{b = c} {d =~ e|f \(7\)}] true [sum rate]}] [x y]`},
		{`sum(rate(a[5m])) by (x) > 14 * 86400`, "[{a [] true [sum rate]}] [x]"},
		{`a - on (x) group_left (y) b offset 2d and (c or up == 0)`, "[{a [] false []} {b [] false []} {c [] false []} {up [] false []}] [x y]"},
		{`max_over_time(a{b!="}\""}[1h:5m]) > time() - 1e3`, `[{a [{b != }"}] true [max_over_time]}] []`},
		{`histogram_quantile(0.99, sum without (x) (increase(a_bucket[5m])))`, "[{a_bucket [] true [histogram_quantile sum increase]}] [x]"},
		{"a\n  unless\nabs(b)", "[{a [] false []} {b [] false [abs]}] []"},
	} {
		u, err := scan(c.expr)
		if got := fmt.Sprint(u.selectors, " ", u.labels); err != nil || got != c.want {
			t.Errorf("%s:\n%s, %v, want\n%s", c.expr, got, err, c.want)
		}
	}
	for _, wrong := range []string{"(a", "a)", "a{b}", "a{b=c}", "a[5m", `a{b="c"`} {
		if u, err := scan(wrong); err == nil {
			t.Errorf("%s is understood as %v", wrong, u)
		}
	}
}
