package store

import (
	"context"
	"time"
)

// Disconnect is a demand to the gateway to lock a barrel and end an order.
type Disconnect struct {
	ID        string    `json:"id"`
	Order     string    `json:"order"`
	Use       uint64    `json:"use"`
	Reason    string    `json:"reason"`
	Created   time.Time `json:"created"`
	Delivered time.Time `json:"delivered,omitzero"`
	Attempts  int       `json:"attempts"`
	LastError string    `json:"last_error,omitempty"`
}

// Disconnects lists disconnects by age, only those not yet accepted by the
// gateway when pending.
func (s *Store) Disconnects(ctx context.Context, pending bool) ([]Disconnect, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT id, order_number, use, reason, created, delivered, attempts, last_error
		FROM disconnects WHERE NOT ?1 OR delivered = 0 ORDER BY created, id`, pending)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := []Disconnect{}
	for rows.Next() {
		var d Disconnect
		var created, delivered, use int64
		if err := rows.Scan(&d.ID, &d.Order, &use, &d.Reason, &created, &delivered, &d.Attempts, &d.LastError); err != nil {
			return nil, err
		}
		d.Use, d.Created = uint64(use), time.Unix(0, created).UTC()
		if delivered != 0 {
			d.Delivered = time.Unix(0, delivered).UTC()
		}
		list = append(list, d)
	}
	return list, rows.Err()
}

// NoteDelivery notes an attempt: failure is empty when the gateway accepted.
func (s *Store) NoteDelivery(ctx context.Context, id, failure string, now time.Time) error {
	delivered := int64(0)
	if failure == "" {
		delivered = now.UnixNano()
	}
	_, err := s.db.ExecContext(ctx, "UPDATE disconnects SET attempts = attempts + 1, last_error = ?, delivered = ? WHERE id = ?", failure, delivered, id)
	return err
}
