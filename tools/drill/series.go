package drill

import (
	"context"
	"errors"
	"time"
)

// tries is how often a round is begun that doesn't come as far as its fault.
const tries = 3

// Series runs rounds of drills, one drill after the other, and tells of each
// round. It ends early when the cluster is not what it was: then the rest would
// say nothing.
func (t *Target) Series(ctx context.Context, drills []Drill, rounds int, told func(d Drill, n int, r Round)) ([]Result, error) {
	var all []Result
	for _, d := range drills {
		res := Result{Drill: d.Name, Summary: d.Summary}
		for n := range rounds {
			var r Round
			var err error
			for range tries {
				// A node may end by itself in the moment before; it is started again then.
				if r, err = t.Run(ctx, d); err == nil || r.Sent > 0 || ctx.Err() != nil || errors.Is(err, ErrNotAllowed) {
					break
				}
			}
			if r.Sent > 0 {
				res.Add(r)
				told(d, n+1, r)
			}
			if err != nil {
				res.Error = err.Error()
				return append(all, res), err
			}
		}
		all = append(all, res)
	}
	return all, nil
}

// NewReport begins a report on a cluster.
func (t *Target) NewReport(ctx context.Context, where, command string) (*Report, error) {
	r := &Report{Started: time.Now().Truncate(time.Second), Command: command, Where: where, Machine: ThisMachine()}
	for _, s := range t.Admin.statuses(ctx) {
		if s != nil {
			r.Version = s.Version
			return r, nil
		}
	}
	return nil, errors.New("no node answers")
}
