package main

import (
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/urfave/cli/v2"
)

// progress shows on a terminal's standard error how far long work is. Elsewhere
// it shows nothing. What is written to it is counted as bytes.
type progress struct {
	bar *progressbar.ProgressBar // nil: nobody looks
}

// drawEvery is how often a bar is drawn at most.
const drawEvery = 100 * time.Millisecond

// newProgress begins: total things of work (-1: nobody knows how many), which
// what names ("rows", "entries"). Done has to be called before words are said.
func newProgress(c *cli.Context, what string, total int64) *progress {
	return startProgress(c.App.ErrWriter, what, total, false)
}

// newByteProgress is newProgress for bytes, which are written to it.
func newByteProgress(c *cli.Context, what string, total int64) *progress {
	return startProgress(c.App.ErrWriter, what, total, true)
}

func startProgress(w io.Writer, what string, total int64, bytes bool) *progress {
	if !screenOf(w).terminal || total == 0 {
		return &progress{}
	}
	return &progress{progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(),
		progressbar.OptionShowIts(),
		progressbar.OptionSetItsString(what),
		progressbar.OptionShowBytes(bytes),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionThrottle(drawEvery),
		progressbar.OptionSetSpinnerChangeInterval(0), // no goroutine: it moves when work is done
		progressbar.OptionSetWidth(24),
		progressbar.OptionClearOnFinish(),
	)}
}

// Add says that n more are done.
func (p *progress) Add(n int) {
	if p.bar != nil {
		_ = p.bar.Add(n) // drawing is all that can fail
	}
}

// Write counts bytes, as io.TeeReader and io.MultiWriter want it.
func (p *progress) Write(b []byte) (int, error) {
	p.Add(len(b))
	return len(b), nil
}

// Done takes the bar away.
func (p *progress) Done() {
	if p.bar != nil && !p.bar.IsFinished() {
		_ = p.bar.Clear() // drawing, again
		_ = p.bar.Exit()
	}
}
