package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// States of an order.
const (
	Applied  = "applied"
	Approved = "approved"
	Rejected = "rejected"
	Ended    = "ended" // by a disconnect, for ever
)

// Order is a work order.
type Order struct {
	Number         string    `json:"number"`
	Applicant      string    `json:"applicant"`
	Department     string    `json:"department"`
	Reason         string    `json:"reason"`
	SealType       string    `json:"seal_type"`
	Count          uint32    `json:"count"`
	NotBefore      time.Time `json:"not_before"`
	NotAfter       time.Time `json:"not_after"`
	DocumentName   string    `json:"document_name,omitempty"`
	DocumentSHA256 []byte    `json:"document_sha256,omitempty"`
	State          string    `json:"state"`
	DecidedBy      string    `json:"decided_by,omitempty"`
	DecisionWords  string    `json:"decision_words,omitempty"`
	Created        time.Time `json:"created"`

	// Drawn from other tables.
	Used    uint32   `json:"used"`
	Level   uint32   `json:"level"`
	Methods []string `json:"methods"`
}

const selectOrder = `SELECT o.number, o.applicant, o.department, o.reason, o.seal_type, o.count, o.not_before, o.not_after,
	o.document_name, o.document_sha256, o.state, coalesce(o.decided_by, ''), o.decision_words, o.created,
	coalesce((SELECT sum(stamped) FROM uses u WHERE u.order_number = o.number), 0), t.level, l.methods
	FROM orders o JOIN seal_types t ON t.name = o.seal_type JOIN levels l ON l.level = t.level `

func scanOrder(r scanner) (Order, error) {
	var o Order
	var before, after, created int64
	var methods string
	err := r.Scan(&o.Number, &o.Applicant, &o.Department, &o.Reason, &o.SealType, &o.Count, &before, &after,
		&o.DocumentName, &o.DocumentSHA256, &o.State, &o.DecidedBy, &o.DecisionWords, &created, &o.Used, &o.Level, &methods)
	o.NotBefore, o.NotAfter, o.Created = time.Unix(0, before).UTC(), time.Unix(0, after).UTC(), time.Unix(0, created).UTC()
	o.Methods = strings.Split(methods, ",")
	return o, err
}

// AddOrder adds an order in the state Applied.
func (s *Store) AddOrder(ctx context.Context, o Order) error {
	var known int
	if err := s.db.QueryRowContext(ctx, "SELECT count(*) FROM seal_types WHERE name = ?", o.SealType).Scan(&known); err != nil {
		return err
	}
	if known == 0 {
		return fmt.Errorf("seal type %q: %w", o.SealType, ErrNotFound)
	}
	res, err := s.db.ExecContext(ctx, `INSERT INTO orders (number, applicant, department, reason, seal_type, count, not_before, not_after, document_name, document_sha256, state, created)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		o.Number, o.Applicant, o.Department, o.Reason, o.SealType, o.Count, o.NotBefore.UnixNano(), o.NotAfter.UnixNano(),
		o.DocumentName, o.DocumentSHA256, Applied, o.Created.UnixNano())
	return once(res, err, "order", o.Number)
}

// Order returns one order.
func (s *Store) Order(ctx context.Context, number string) (Order, error) {
	o, err := scanOrder(s.db.QueryRowContext(ctx, selectOrder+"WHERE o.number = ?", number))
	return o, missing(err, "order", number)
}

// Orders lists orders by number; empty arguments don't narrow the list.
func (s *Store) Orders(ctx context.Context, applicant, state string) ([]Order, error) {
	rows, err := s.db.QueryContext(ctx, selectOrder+"WHERE (?1 = '' OR o.applicant = ?1) AND (?2 = '' OR o.state = ?2) ORDER BY o.number", applicant, state)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := []Order{}
	for rows.Next() {
		o, err := scanOrder(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, o)
	}
	return list, rows.Err()
}

// Decide approves or rejects an applied order. Nobody decides on his own.
func (s *Store) Decide(ctx context.Context, number, by string, approve bool, words string) error {
	to := Rejected
	if approve {
		to = Approved
	}
	return s.tx(ctx, func(tx *sql.Tx) error {
		var applicant, state string
		if err := tx.QueryRowContext(ctx, "SELECT applicant, state FROM orders WHERE number = ?", number).Scan(&applicant, &state); err != nil {
			return missing(err, "order", number)
		}
		if applicant == by {
			return fmt.Errorf("order %s is %s's own: somebody else must decide: %w", number, by, ErrState)
		}
		if state != Applied {
			return fmt.Errorf("order %s is %s: %w", number, state, ErrState)
		}
		_, err := tx.ExecContext(ctx, "UPDATE orders SET state = ?, decided_by = ?, decision_words = ? WHERE number = ?", to, by, words, number)
		return err
	})
}

// Settle notes the gateway's report of a use. A use that is noted already is
// left as it is: reports are repeated.
func (s *Store) Settle(ctx context.Context, use uint64, order string, stamped uint32, report any) error {
	b, err := json.Marshal(report)
	if err != nil {
		return err
	}
	return s.tx(ctx, func(tx *sql.Tx) error {
		var known int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM orders WHERE number = ?", order).Scan(&known); err != nil {
			return err
		}
		if known == 0 {
			return fmt.Errorf("order %q: %w", order, ErrNotFound)
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO uses VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", int64(use), order, string(b), stamped)
		return err
	})
}

// SealType is a kind of seal and its level.
type SealType struct {
	Name    string   `json:"name"`
	Title   string   `json:"title"`
	Level   uint32   `json:"level"`
	Methods []string `json:"methods,omitempty"`
}

// SealTypes lists the seal types by name.
func (s *Store) SealTypes(ctx context.Context) ([]SealType, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT t.name, t.title, t.level, l.methods FROM seal_types t JOIN levels l ON l.level = t.level ORDER BY t.name")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := []SealType{}
	for rows.Next() {
		var t SealType
		var methods string
		if err := rows.Scan(&t.Name, &t.Title, &t.Level, &methods); err != nil {
			return nil, err
		}
		t.Methods = strings.Split(methods, ",")
		list = append(list, t)
	}
	return list, rows.Err()
}

// PutSealType adds or changes a seal type. Its level must exist.
func (s *Store) PutSealType(ctx context.Context, t SealType) error {
	if t.Name == "" {
		return errors.New("a seal type needs a name")
	}
	return s.tx(ctx, func(tx *sql.Tx) error {
		var known int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM levels WHERE level = ?", t.Level).Scan(&known); err != nil {
			return err
		}
		if known == 0 {
			return fmt.Errorf("level %d: %w", t.Level, ErrNotFound)
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO seal_types VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET title = excluded.title, level = excluded.level", t.Name, t.Title, t.Level)
		return err
	})
}
