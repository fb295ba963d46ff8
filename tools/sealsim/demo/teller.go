package demo

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// teller prints the story as it happens, and the table at its end.
type teller struct {
	out   io.Writer
	began time.Time
	shown []shown
}

// shown is one thing that the demo has shown.
type shown struct {
	what, how string
	took      time.Duration
}

func (t *teller) at() string {
	d := time.Since(t.began)
	return fmt.Sprintf("[%02d:%06.3f]", int(d.Minutes()), d.Seconds()-60*float64(int(d.Minutes())))
}

// say prints a step on the way.
func (t *teller) say(format string, args ...any) {
	fmt.Fprintf(t.out, "%s   %s\n", t.at(), fmt.Sprintf(format, args...))
}

// show runs what shows something and notes how it went.
func (t *teller) show(what string, fn func() (how string, err error)) error {
	fmt.Fprintf(t.out, "%s %s\n", t.at(), what)
	start := time.Now()
	how, err := fn()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	took := time.Since(start)
	t.say("-> %s (%s)", how, took.Round(time.Millisecond))
	t.shown = append(t.shown, shown{what, how, took})
	return nil
}

// table lists what was shown.
func (t *teller) table() {
	width := 0
	for _, s := range t.shown {
		width = max(width, len(s.what))
	}
	fmt.Fprintf(t.out, "\n     %-*s  %8s  %s\n     %s\n", width, "SHOWN", "TIME", "HOW", strings.Repeat("-", width+40))
	for i, s := range t.shown {
		fmt.Fprintf(t.out, "%3d  %-*s  %8s  %s\n", i+1, width, s.what, s.took.Round(time.Millisecond), s.how)
	}
	fmt.Fprintf(t.out, "\nAll %d shown in %s.\n", len(t.shown), time.Since(t.began).Round(100*time.Millisecond))
}
