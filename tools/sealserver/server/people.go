package server

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/tools/sealserver/store"
)

func (s *Server) users(w http.ResponseWriter, r *http.Request, _ store.User) error {
	list, err := s.cfg.Store.Users(r.Context())
	if err != nil {
		return err
	}
	return send(w, http.StatusOK, list)
}

// NewUser is the body of POST /v1/users.
type NewUser struct {
	store.User
	Password string `json:"password"`
}

func (s *Server) addUser(w http.ResponseWriter, r *http.Request, _ store.User) error {
	var n NewUser
	if err := wire.DecodeRequest(r.Body, &n); err != nil {
		return err
	}
	if err := s.cfg.Store.AddUser(r.Context(), n.User, n.Password); err != nil {
		return ask(err)
	}
	return send(w, http.StatusCreated, n.User)
}

// ask makes an error without a kind of its own the caller's: bad input.
func ask(err error) error {
	if p := problemOf(err); p.Code != wire.CodeInternal {
		return p
	}
	return badRequest(err.Error())
}

func (s *Server) sealTypes(w http.ResponseWriter, r *http.Request, _ store.User) error {
	list, err := s.cfg.Store.SealTypes(r.Context())
	if err != nil {
		return err
	}
	return send(w, http.StatusOK, list)
}

func (s *Server) putSealType(w http.ResponseWriter, r *http.Request, _ store.User) error {
	var t store.SealType
	if err := wire.DecodeRequest(r.Body, &t); err != nil {
		return err
	}
	t.Name = r.PathValue("name")
	if err := s.cfg.Store.PutSealType(r.Context(), t); err != nil {
		return ask(err)
	}
	return send(w, http.StatusOK, t)
}

// workOrders lists one's own orders; who decides or reviews sees all of them.
func (s *Server) workOrders(w http.ResponseWriter, r *http.Request, u store.User) error {
	applicant := u.Name
	if seesAll(u) {
		applicant = ""
	}
	list, err := s.cfg.Store.Orders(r.Context(), applicant, r.URL.Query().Get("state"))
	if err != nil {
		return err
	}
	return send(w, http.StatusOK, list)
}

func seesAll(u store.User) bool {
	return u.Has(store.RoleApprover) || u.Has(store.RoleReviewer) || u.Has(store.RoleAdmin)
}

// Application is the body of POST /v1/work-orders.
type Application struct {
	Number         string    `json:"number,omitempty"` // made by the server when empty
	Reason         string    `json:"reason"`
	SealType       string    `json:"seal_type"`
	Count          uint32    `json:"count"`
	NotBefore      time.Time `json:"not_before"`
	NotAfter       time.Time `json:"not_after"`
	DocumentName   string    `json:"document_name,omitempty"`
	DocumentSHA256 []byte    `json:"document_sha256,omitempty"`
}

func (s *Server) apply(w http.ResponseWriter, r *http.Request, u store.User) error {
	var a Application
	if err := wire.DecodeRequest(r.Body, &a); err != nil {
		return err
	}
	now := s.cfg.Now()
	if a.Number == "" {
		a.Number = "WO-" + now.UTC().Format("20060102") + "-" + rand.Text()[:8]
	}
	if _, err := ident.ParseOrderNo(a.Number); err != nil {
		return badRequest(err.Error())
	}
	switch {
	case a.Reason == "":
		return badRequest("reason: missing: say what the seal is for")
	case a.Count == 0 || a.Count > 10_000:
		return badRequest("count: want 1 to 10000")
	case !a.NotAfter.After(a.NotBefore) || !a.NotAfter.After(now):
		return badRequest("not_after: the window must end after it begins, and not in the past")
	case len(a.DocumentSHA256) != 0 && len(a.DocumentSHA256) != 32:
		return badRequest("document_sha256: want 32 bytes")
	}
	o := store.Order{
		Number: a.Number, Applicant: u.Name, Department: u.Department, Reason: a.Reason, SealType: a.SealType, Count: a.Count,
		NotBefore: a.NotBefore, NotAfter: a.NotAfter, DocumentName: a.DocumentName, DocumentSHA256: a.DocumentSHA256, Created: now,
	}
	if err := s.cfg.Store.AddOrder(r.Context(), o); err != nil {
		return err
	}
	o, err := s.cfg.Store.Order(r.Context(), a.Number)
	if err != nil {
		return err
	}
	return send(w, http.StatusCreated, o)
}

func (s *Server) workOrder(w http.ResponseWriter, r *http.Request, u store.User) error {
	o, err := s.cfg.Store.Order(r.Context(), r.PathValue("number"))
	if err != nil {
		return err
	}
	if o.Applicant != u.Name && !seesAll(u) {
		return fmt.Errorf("order %q: %w", o.Number, store.ErrNotFound)
	}
	return send(w, http.StatusOK, o)
}

// Words is the body of a decision.
type Words struct {
	Words string `json:"words,omitempty"`
}

func (s *Server) approve(w http.ResponseWriter, r *http.Request, u store.User) error {
	return s.decide(w, r, u, true)
}

func (s *Server) reject(w http.ResponseWriter, r *http.Request, u store.User) error {
	return s.decide(w, r, u, false)
}

func (s *Server) decide(w http.ResponseWriter, r *http.Request, u store.User, approve bool) error {
	var b Words
	if err := wire.DecodeRequest(r.Body, &b); err != nil {
		return err
	}
	if err := s.cfg.Store.Decide(r.Context(), r.PathValue("number"), u.Name, approve, b.Words); err != nil {
		return err
	}
	return s.workOrder(w, r, u)
}

func (s *Server) evidence(w http.ResponseWriter, r *http.Request, _ store.User) error {
	list, err := s.cfg.Store.EvidenceOf(r.Context(), r.URL.Query().Get("order"))
	if err != nil {
		return err
	}
	return send(w, http.StatusOK, list)
}

func (s *Server) image(w http.ResponseWriter, r *http.Request, _ store.User) error {
	k, err := key(r)
	if err != nil {
		return err
	}
	e, err := s.cfg.Store.Evidence(r.Context(), k)
	if err != nil {
		return err
	}
	f, err := s.cfg.Store.Image(k)
	if err != nil {
		return err
	}
	defer f.Close()
	h := w.Header()
	h.Set("Content-Type", imageType(e.ContentType))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set(wire.HeaderReprDigest, wire.FormatReprDigest([32]byte(e.SHA256)))
	_, _ = io.Copy(w, f) // the client may be gone
	return nil
}

// imageType lets a browser show images and nothing else that a terminal sent.
func imageType(t string) string {
	switch t {
	case "image/jpeg", "image/png", "image/webp":
		return t
	}
	return "application/octet-stream"
}

// Verdict is the body of a reviewer's verdict.
type Verdict struct {
	Match bool   `json:"match"`
	Words string `json:"words,omitempty"` // needed for a mismatch
}

// verdict notes what a reviewer saw. A mismatch ends the order and has the
// gateway disconnect terminal and barrel.
func (s *Server) verdict(w http.ResponseWriter, r *http.Request, u store.User) error {
	k, err := key(r)
	if err != nil {
		return err
	}
	var v Verdict
	if err := wire.DecodeRequest(r.Body, &v); err != nil {
		return err
	}
	if !v.Match && v.Words == "" {
		return badRequest("words: missing: say what differs")
	}
	if err := s.cfg.Store.Judge(r.Context(), k, v.Match, u.Name, v.Words, s.cfg.Now()); err != nil {
		return err
	}
	if !v.Match {
		select {
		case s.cfg.Wake <- struct{}{}:
		default: // it is awake already
		}
	}
	e, err := s.cfg.Store.Evidence(r.Context(), k)
	if err != nil {
		return err
	}
	return send(w, http.StatusOK, e)
}

func (s *Server) disconnects(w http.ResponseWriter, r *http.Request, _ store.User) error {
	list, err := s.cfg.Store.Disconnects(r.Context(), r.URL.Query().Get("pending") == "true")
	if err != nil {
		return err
	}
	return send(w, http.StatusOK, list)
}
