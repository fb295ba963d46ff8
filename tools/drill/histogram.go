package drill

import (
	"fmt"
	"math"
	"strings"
)

// Histogram draws a distribution of milliseconds in lines of text.
func Histogram(all []float64) string {
	const lines, columns = 16, 50
	if len(all) == 0 {
		return ""
	}
	low, high := Quantile(all, 0), Quantile(all, 1)
	width := 1.0
	for _, w := range []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000} {
		width = w
		if math.Floor(high/w)-math.Floor(low/w) < lines {
			break
		}
	}
	first := int(math.Floor(low / width))
	counts := make([]int, int(math.Floor(high/width))-first+1)
	most := 0
	for _, v := range all {
		i := int(math.Floor(v/width)) - first
		counts[i]++
		most = max(most, counts[i])
	}
	var b strings.Builder
	for i, n := range counts {
		bar := strings.Repeat("#", (n*columns+most-1)/most)
		from := float64(first+i) * width
		fmt.Fprintf(&b, "%5.0f to %5.0f ms  %4d  %s\n", from, from+width, n, bar)
	}
	return strings.ReplaceAll(b.String(), "  \n", "\n")
}
