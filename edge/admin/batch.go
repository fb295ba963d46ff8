package admin

import (
	"errors"
	"fmt"
	"net/http"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/wire"
)

const (
	// batchRounds is how often a row is decided anew when somebody else was faster.
	batchRounds = 3
	// batchBytes bounds one command of a batch, well below what the log takes.
	batchBytes = 800 << 10
)

// batch is a DeviceBatch under way.
type batch struct {
	rows []adminapi.DeviceRow
	done []adminapi.RowOutcome
	// waiting are the changes of rows that are decided, by row.
	waiting []decidedRow
	again   []int    // rows to be decided once more
	changes []uint64 // that rows have become
}

type decidedRow struct {
	row    int
	added  bool
	change *command.DeviceChange
}

// batchDevices carries a DeviceBatch out. A row that asks for what is there already
// doesn't come as far as the log.
func (s *Server) batchDevices(r *http.Request, c Caller) (any, *problem) {
	var asked adminapi.DeviceBatch
	if p := read(r, &asked); p != nil {
		return nil, p
	}
	if n := len(asked.Rows); n == 0 || n > adminapi.MaxBatch || len(asked.Assume) > adminapi.MaxBatch {
		return nil, badRequest(fmt.Errorf("rows: there are %d, want 1 to %d, and as many to assume at most", n, adminapi.MaxBatch))
	}
	if len(asked.Assume) > 0 && !asked.DryRun {
		return nil, badRequest(errors.New("assume: only a dry run assumes anything"))
	}
	b := &batch{rows: asked.Rows, done: make([]adminapi.RowOutcome, len(asked.Rows))}
	for i := range b.rows {
		b.again = append(b.again, i)
	}
	for n := 1; len(b.again) > 0; n++ {
		if p := s.linearize(r); p != nil {
			return nil, p
		}
		s.decideRows(b)
		if asked.DryRun {
			s.tryRows(b, asked.Assume)
			break
		}
		if p := s.putRows(r, c, asked.Reason, b, n < batchRounds); p != nil {
			return nil, p
		}
	}
	return adminapi.DeviceBatchDone{Rows: b.done, Changes: b.changes}, nil
}

// decideRows makes changes of the rows that are to be decided, upon what is stored
// now.
func (s *Server) decideRows(b *batch) {
	stored := make([]storedDevice, len(b.again))
	s.cfg.Cluster.View(func(m *state.Machine) {
		for i, row := range b.again {
			stored[i] = storedFor(m, b.rows[row])
		}
	})
	b.waiting = b.waiting[:0]
	for i, row := range b.again {
		change, err := s.decideRow(b.rows[row], stored[i])
		switch now := stored[i]; {
		case err != nil:
			b.done[row] = adminapi.RowOutcome{Outcome: adminapi.RowRefused, Code: string(wire.CodeBadRequest), Detail: adminapi.RowMistake(err)}
		case change == nil:
			b.done[row] = adminapi.RowOutcome{Outcome: adminapi.RowUnchanged, Version: now.subscriber.GetVersion() + now.barrel.GetVersion()} // one of them is 0
		default:
			custody := change.GetCheckOut() != nil || change.GetCheckIn() != nil
			b.waiting = append(b.waiting, decidedRow{row, !custody && now == (storedDevice{}), change})
		}
	}
	b.again = b.again[:0]
}

// putRows has the decided rows carried out, in commands that fit into the log.
func (s *Server) putRows(r *http.Request, c Caller, reason string, b *batch, more bool) *problem {
	switch v, p := s.deviceApprovals(r); {
	case p != nil:
		return p
	case v.needed > 0:
		s.leaveOutRefused(b) // the others are one change, carried out as a whole
	}
	for from, n := 0, 1; from < len(b.waiting); n++ {
		p, size := new(command.PutDevices), 0
		for _, w := range b.waiting[from:] {
			if size += proto.Size(w.change); size > batchBytes && len(p.Changes) > 0 {
				break
			}
			p.Changes = append(p.Changes, w.change)
		}
		put, change, bad := s.changeDevices(numbered(r, n), c, reason, p)
		if bad != nil {
			return bad
		}
		rows := b.waiting[from : from+len(p.Changes)]
		if change != nil {
			b.proposed(rows, change)
		} else {
			b.note(rows, put, more)
		}
		from += len(p.Changes)
	}
	return nil
}

// numbered is a request for the nth command of a batch, by a name of its own.
func numbered(r *http.Request, n int) *http.Request {
	key := r.Header.Get("Idempotency-Key")
	if n == 1 || key == "" {
		return r
	}
	r = r.Clone(r.Context())
	r.Header.Set("Idempotency-Key", fmt.Sprintf("%s#%d", key, n))
	return r
}

// leaveOutRefused takes the rows out that would be refused.
func (s *Server) leaveOutRefused(b *batch) {
	decided := b.waiting
	s.tryRows(b, nil)
	b.waiting = nil
	for _, w := range decided {
		if b.done[w.row].Outcome != adminapi.RowRefused {
			b.waiting = append(b.waiting, w)
		}
	}
}

// proposed notes rows that are one change: it waits for others, or glass was broken.
func (b *batch) proposed(rows []decidedRow, change *adminapi.Change) {
	for _, w := range rows {
		outcome := adminapi.RowChanged
		switch {
		case change.State == adminapi.ChangePending:
			outcome = adminapi.RowPending
		case w.added:
			outcome = adminapi.RowAdded
		}
		b.done[w.row] = adminapi.RowOutcome{Outcome: outcome}
	}
	b.changes = append(b.changes, change.ID)
}

// tryRows tells what would become of the decided rows.
func (s *Server) tryRows(b *batch, assume []string) {
	if len(b.waiting) == 0 {
		return
	}
	p := new(command.PutDevices)
	for _, w := range b.waiting {
		p.Changes = append(p.Changes, w.change)
	}
	b.note(b.waiting, s.cfg.Cluster.Clone().TryDevices(p, assume...), false)
}

// note writes down what became of rows. Rows that lost a race are decided once
// more, if there is to be another time, unless they named the version that they
// are for.
func (b *batch) note(rows []decidedRow, put *command.DevicesPut, more bool) {
	for i, o := range put.GetOutcomes() {
		w := rows[i]
		done := adminapi.RowOutcome{Outcome: adminapi.RowChanged, Version: o.Version}
		switch known := codes[o.Code]; {
		case o.Code == command.Code_CONFLICT && more && w.change.Idempotent:
			b.again = append(b.again, w.row)
			continue
		case o.Code != command.Code_OK:
			done = adminapi.RowOutcome{Outcome: adminapi.RowRefused, Code: string(known.code), Detail: o.Message}
		case o.Unchanged:
			done.Outcome = adminapi.RowUnchanged
		case w.added:
			done.Outcome = adminapi.RowAdded
		}
		b.done[w.row] = done
	}
}
