package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"
)

// Roles of a user.
const (
	RoleApplicant = "applicant" // applies for orders and uses them
	RoleApprover  = "approver"  // approves and rejects orders, never his own
	RoleReviewer  = "reviewer"  // compares page and document
	RoleAdmin     = "admin"     // keeps users, seal types and levels
)

// Roles lists all the roles.
var Roles = []string{RoleApplicant, RoleApprover, RoleReviewer, RoleAdmin}

// ErrLogin is a login that failed, whatever the reason.
var ErrLogin = errors.New("user or password is wrong")

// Lengths of names and passwords, in bytes.
const (
	MaxUser     = 64
	MinPassword = 10
	MaxPassword = 1024
)

// User is a person.
type User struct {
	Name       string   `json:"name"`
	Display    string   `json:"display"`
	Department string   `json:"department"`
	Roles      []string `json:"roles"`
	Disabled   bool     `json:"disabled,omitempty"`
}

// Has tells whether the user has the role.
func (u User) Has(role string) bool { return slices.Contains(u.Roles, role) }

// argon2id parameters: RFC 9106 4, second recommended option.
const (
	argonTime    = 3
	argonMemory  = 64 << 10 // KiB
	argonThreads = 4
	argonKey     = 32
)

func hashPassword(password string) string {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails (crypto/rand)
	key := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonThreads, argonKey)
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonThreads, b64(salt), b64(key))
}

func checkPassword(phc, password string) bool {
	var version int
	var memory, time uint32
	var threads uint8
	parts := strings.Split(phc, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false
	}
	if _, err := fmt.Sscanf(parts[2]+" "+parts[3], "v=%d m=%d,t=%d,p=%d", &version, &memory, &time, &threads); err != nil || version != argon2.Version {
		return false
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	want, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(want) == 0 {
		return false
	}
	got := argon2.IDKey([]byte(password), salt, time, memory, threads, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1
}

// nobody is checked against when there is no such user, so that the time an
// answer takes doesn't tell which names exist.
var nobody = hashPassword("nobody's password")

// AddUser adds a user.
func (s *Store) AddUser(ctx context.Context, u User, password string) error {
	switch {
	case u.Name == "" || len(u.Name) > MaxUser || strings.ContainsAny(u.Name, " \t\r\n,"):
		return fmt.Errorf("user name %q: want 1 to %d characters without spaces or commas", u.Name, MaxUser)
	case len(password) < MinPassword || len(password) > MaxPassword:
		return fmt.Errorf("the password of %s must have %d to %d characters", u.Name, MinPassword, MaxPassword)
	}
	for _, r := range u.Roles {
		if !slices.Contains(Roles, r) {
			return fmt.Errorf("role %q is not known; there are %s", r, strings.Join(Roles, ", "))
		}
	}
	if u.Display == "" {
		u.Display = u.Name
	}
	res, err := s.db.ExecContext(ctx, "INSERT INTO users (name, display, department, roles, password) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
		u.Name, u.Display, u.Department, strings.Join(u.Roles, ","), hashPassword(password))
	return once(res, err, "user", u.Name)
}

// once says ErrExists when an insert did nothing.
func once(res sql.Result, err error, what, name string) error {
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 1 {
		return err
	}
	return fmt.Errorf("%s %q: %w", what, name, ErrExists)
}

// Users lists all users by name.
func (s *Store) Users(ctx context.Context) ([]User, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT name, display, department, roles, disabled FROM users ORDER BY name")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := []User{}
	for rows.Next() {
		u, err := scanUser(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, u)
	}
	return list, rows.Err()
}

type scanner interface{ Scan(...any) error }

func scanUser(r scanner) (User, error) {
	var u User
	var roles string
	err := r.Scan(&u.Name, &u.Display, &u.Department, &roles, &u.Disabled)
	if roles != "" {
		u.Roles = strings.Split(roles, ",")
	}
	return u, err
}

// Login checks a password and makes a token that is good until expires.
func (s *Store) Login(ctx context.Context, name, password string, expires time.Time) (token string, u User, err error) {
	var phc string
	err = s.db.QueryRowContext(ctx, "SELECT password FROM users WHERE name = ? AND NOT disabled", name).Scan(&phc)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		checkPassword(nobody, password)
		return "", u, ErrLogin
	case err != nil:
		return "", u, err
	case !checkPassword(phc, password):
		return "", u, ErrLogin
	}
	token = rand.Text()
	hash := sha256.Sum256([]byte(token))
	err = s.tx(ctx, func(tx *sql.Tx) error {
		if u, err = scanUser(tx.QueryRowContext(ctx, "SELECT name, display, department, roles, disabled FROM users WHERE name = ?", name)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO tokens VALUES (?, ?, ?)", hash[:], name, expires.UnixNano())
		return err
	})
	return token, u, err
}

// ByToken returns the user of a token that is good at now.
func (s *Store) ByToken(ctx context.Context, token string, now time.Time) (User, error) {
	hash := sha256.Sum256([]byte(token))
	u, err := scanUser(s.db.QueryRowContext(ctx, `SELECT u.name, u.display, u.department, u.roles, u.disabled
		FROM tokens t JOIN users u ON u.name = t.user WHERE t.hash = ? AND t.expires > ? AND NOT u.disabled`, hash[:], now.UnixNano()))
	return u, missing(err, "token", "")
}

// ForgetTokens drops the tokens that expired before now.
func (s *Store) ForgetTokens(ctx context.Context, now time.Time) error {
	_, err := s.db.ExecContext(ctx, "DELETE FROM tokens WHERE expires <= ?", now.UnixNano())
	return err
}
