package drill

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
)

// Sizes of the drawing, in pixels.
const (
	svgWidth   = 820
	svgMargin  = 60
	panel      = 130 // height of one panel
	panelSpace = 56  // above one, for its title and the axis of the one before
)

// SVG draws two panels for each drill: what the canary's probes met in the worst
// round, over time, and the gap of each round.
func (r *Report) SVG(out io.Writer) error {
	var b strings.Builder
	height := len(r.Results)*2*(panel+panelSpace) + 30
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", svgWidth, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", svgWidth, height)
	y := float64(panelSpace)
	for i := range r.Results {
		res := &r.Results[i]
		if len(res.Rounds) == 0 {
			continue
		}
		drawTimeline(&b, res, y)
		y += panel + panelSpace
		drawRounds(&b, res, y)
		y += panel + panelSpace
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(out, b.String())
	return err
}

// axes draws the frame of a panel, its title, and ticks below and on the left.
func axes(b *strings.Builder, y float64, title string, xs, ys []tick) {
	fmt.Fprintf(b, `<text x="%d" y="%.1f" font-weight="bold">%s</text>`+"\n", svgMargin, y-8, html.EscapeString(title))
	fmt.Fprintf(b, `<rect x="%d" y="%.1f" width="%d" height="%d" fill="none" stroke="#999"/>`+"\n", svgMargin, y, svgWidth-2*svgMargin, panel)
	for _, t := range xs {
		fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="middle" fill="#555">%s</text>`+"\n", t.at, y+panel+15, t.text)
	}
	for _, t := range ys {
		fmt.Fprintf(b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/>`, svgMargin, svgWidth-svgMargin, t.at, t.at)
		fmt.Fprintf(b, `<text x="%d" y="%.1f" text-anchor="end" fill="#555">%s</text>`+"\n", svgMargin-5, t.at+4, t.text)
	}
}

type tick struct {
	at   float64
	text string
}

// ticks divides a range of values into about n steps of a round number.
func ticks(low, high float64, n int, place func(v float64) float64) (all []tick) {
	if high <= low {
		return nil
	}
	step := math.Pow(10, math.Floor(math.Log10((high-low)/float64(n))))
	for _, f := range []float64{1, 2, 5, 10} {
		if (high-low)/(step*f) <= float64(n) {
			step *= f
			break
		}
	}
	for v := math.Ceil(low/step) * step; v <= high; v += step {
		all = append(all, tick{place(v), fmt.Sprintf("%g", math.Round(v*100)/100)})
	}
	return all
}

// drawTimeline shows the probes of the worst round: the answered ones by their
// round trip time on a logarithmic scale, the lost ones as a band.
func drawTimeline(b *strings.Builder, res *Result, y float64) {
	points := res.Timeline
	if len(points) == 0 {
		return
	}
	low, high := points[0].At, points[len(points)-1].At+10
	x := func(at float64) float64 { return svgMargin + (at-low)/(high-low)*(svgWidth-2*svgMargin) }
	rtt := func(v float64) float64 { // from 0.1 ms to 1 s
		return y + panel - (math.Log10(min(max(v, 0.1), 1000))+1)/4*panel
	}
	var ys []tick
	for _, v := range []float64{0.1, 1, 10, 100, 1000} {
		ys = append(ys, tick{rtt(v), fmt.Sprintf("%g", v)})
	}
	axes(b, y, res.Drill+": probes of the worst round (round trip in ms over ms since the fault; red: not answered)", ticks(low, high, 10, x), ys)
	width := x(10) - x(0)
	for _, p := range points {
		if p.Lost > 0 {
			fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%d" fill="#d33" fill-opacity="0.35"/>`, x(p.At), y, width, panel)
		}
		if p.RTT > 0 {
			fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="2" fill="#273"/>`, x(p.At)+width/2, rtt(p.RTT))
		}
	}
	fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" stroke="black" stroke-dasharray="3"/>`+"\n", x(0), x(0), y, y+panel)
}

// drawRounds shows the gap of each round, with median and 99th percentile.
func drawRounds(b *strings.Builder, res *Result, y float64) {
	gaps := res.Gaps()
	high := max(Quantile(gaps, 1)*1.1, 1)
	place := func(v float64) float64 { return y + panel - v/high*panel }
	width := float64(svgWidth-2*svgMargin) / float64(len(gaps))
	x := func(n float64) float64 { return svgMargin + (n-0.5)*width }
	axes(b, y, res.Drill+": gap of each round, in ms (lines: median, 99th percentile)", ticks(0.99, float64(len(gaps)), 10, x), ticks(0, high, 5, place))
	for i, v := range gaps {
		colour := "#47a"
		if !res.Rounds[i].Passed() {
			colour = "#d33"
		}
		fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`, svgMargin+float64(i)*width, place(v), max(width-1, 0.5), y+panel-place(v), colour)
	}
	for _, q := range []float64{0.5, 0.99} {
		at := place(Quantile(gaps, q))
		fmt.Fprintf(b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#d70" stroke-dasharray="4"/>`+"\n", svgMargin, svgWidth-svgMargin, at, at)
	}
}
