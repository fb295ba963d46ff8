package main

import (
	"cmp"
	"slices"
	"time"
)

// Figure is one case that was measured: a row of a table.
type Figure struct {
	Part   string  `json:"part"`
	Nodes  int     `json:"nodes,omitempty"` // of the cluster; 0: there was none
	Case   string  `json:"case"`
	Runs   int     `json:"runs"`
	Values []Value `json:"values"`
}

// Value is one column of a Figure: the median over the runs, and what the runs
// lay between.
type Value struct {
	Name   string  `json:"name"`
	Unit   string  `json:"unit"`
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// sample is what one run measured.
type sample struct {
	name, unit string
	value      float64
}

// figure makes a row of runs, each with the same samples in the same order.
func figure(part string, nodes int, name string, runs [][]sample) Figure {
	f := Figure{Part: part, Nodes: nodes, Case: name, Runs: len(runs)}
	if len(runs) == 0 {
		return f
	}
	for i, s := range runs[0] {
		var all []float64
		for _, run := range runs {
			all = append(all, run[i].value)
		}
		f.Values = append(f.Values, Value{Name: s.name, Unit: s.unit, Median: median(all), Min: slices.Min(all), Max: slices.Max(all)})
	}
	return f
}

// value is the median of a column, 0 if there is no such column.
func (f Figure) value(name string) float64 {
	for _, v := range f.Values {
		if v.Name == name {
			return v.Median
		}
	}
	return 0
}

// add puts a column of one value at the end.
func (f *Figure) add(name, unit string, value float64) {
	f.Values = append(f.Values, Value{Name: name, Unit: unit, Median: value, Min: value, Max: value})
}

// median of an even number of values is the lower of the two in the middle: a
// value that was measured.
func median[T cmp.Ordered](all []T) T { return quantile(all, 0.5) }

// quantile is the least value that a share q of all is not above (nearest
// rank); the zero value of none.
func quantile[T cmp.Ordered](all []T, q float64) T {
	var zero T
	if len(all) == 0 {
		return zero
	}
	s := slices.Sorted(slices.Values(all))
	rank := int(q * float64(len(s)))
	if float64(rank) < q*float64(len(s)) {
		rank++
	}
	return s[min(max(rank, 1), len(s))-1]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// per is a/b, and 0 rather than infinite.
func per(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
