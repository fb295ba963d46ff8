package server

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/tools/sealserver/store"
)

// myOrders lists the approved orders of the token's user, for the app.
func (s *Server) myOrders(w http.ResponseWriter, r *http.Request, u store.User) error {
	orders, err := s.cfg.Store.Orders(r.Context(), u.Name, store.Approved)
	if err != nil {
		return err
	}
	list := wire.OrderList{Orders: []wire.Order{}}
	for _, o := range orders {
		list.Orders = append(list.Orders, wire.Order{
			Number: o.Number, Applicant: o.Applicant, Department: o.Department, Reason: o.Reason, SealType: o.SealType,
			Level: o.Level, Count: o.Count, Used: o.Used, NotBefore: o.NotBefore, NotAfter: o.NotAfter,
			DocumentName: o.DocumentName, DocumentDigest: o.DocumentSHA256,
		})
	}
	return send(w, http.StatusOK, list)
}

// verify says whether an order may be used now, and how.
func (s *Server) verify(w http.ResponseWriter, r *http.Request, _ store.User) error {
	var req wire.VerifyRequest
	if err := wire.DecodeRequest(r.Body, &req); err != nil {
		return err
	}
	u, err := s.user(r)
	if err != nil {
		return err
	}
	o, err := s.cfg.Store.Order(r.Context(), req.Order)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	known := err == nil
	a := judge(u, o, known, s.cfg.Now())
	s.cfg.Logger.Info("verify", "order", req.Order, "user", u.Name, "barrel", req.Barrel, "pass", a.Pass, "code", a.Code)
	return send(w, http.StatusOK, a)
}

// judge is the decision of verify.
func judge(u store.User, o store.Order, known bool, now time.Time) wire.VerifyAnswer {
	refuse := func(code wire.Code, format string, args ...any) wire.VerifyAnswer {
		return wire.VerifyAnswer{Code: code, Reason: fmt.Sprintf(format, args...), User: u.Name}
	}
	switch {
	case !known, o.Applicant != u.Name:
		// Somebody else's order is none of the user's business, not even that it
		// exists.
		return refuse(wire.CodeOrderUnknown, "%s has no such order", u.Name)
	case o.State == store.Ended:
		return refuse(wire.CodeServerRefused, "order %s is ended: %s", o.Number, o.DecisionWords)
	case o.State != store.Approved:
		return refuse(wire.CodeServerRefused, "order %s is %s, not approved", o.Number, o.State)
	case now.Before(o.NotBefore), !now.Before(o.NotAfter):
		a := refuse(wire.CodeOrderNotOpen, "order %s is open from %s to %s", o.Number, o.NotBefore.Format(time.RFC3339), o.NotAfter.Format(time.RFC3339))
		a.NotBefore, a.NotAfter = o.NotBefore, o.NotAfter
		return a
	case o.Used >= o.Count:
		return refuse(wire.CodeOrderExhausted, "all %d uses of order %s are done", o.Count, o.Number)
	}
	return wire.VerifyAnswer{
		Pass: true, User: u.Name, Count: o.Count, Used: o.Used, SealType: o.SealType, Level: o.Level, Methods: o.Methods,
		NotBefore: o.NotBefore, NotAfter: o.NotAfter, DocumentDigest: o.DocumentSHA256,
	}
}

func (s *Server) settled(w http.ResponseWriter, r *http.Request, _ store.User) error {
	var rep wire.SettledReport
	// With a line for each stamping it may be longer than other requests.
	if err := wire.DecodeAnswer(r.Body, &rep); err != nil {
		return err
	}
	if err := s.cfg.Store.Settle(r.Context(), rep.Use, rep.Order, rep.Stamped, rep); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func key(r *http.Request) (store.Key, error) {
	use, err1 := strconv.ParseUint(r.PathValue("use"), 10, 63)
	stamp, err2 := strconv.ParseUint(r.PathValue("stamp"), 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return store.Key{}, badRequest("use and stamp must be numbers: " + err.Error())
	}
	return store.Key{Order: r.PathValue("order"), Use: use, Stamp: uint32(stamp)}, nil
}

func (s *Server) evidenceState(w http.ResponseWriter, r *http.Request, _ store.User) error {
	k, err := key(r)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	e, err := s.cfg.Store.Evidence(r.Context(), k)
	switch {
	case err == nil:
		h.Set(wire.HeaderUploadOffset, strconv.FormatInt(e.Size, 10))
		h.Set(wire.HeaderUploadLength, strconv.FormatInt(e.Size, 10))
		h.Set(wire.HeaderReprDigest, wire.FormatReprDigest([32]byte(e.SHA256)))
		return nil
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	offset, length, err := s.cfg.Store.Offset(k)
	if err != nil {
		return err
	}
	h.Set(wire.HeaderUploadOffset, strconv.FormatInt(offset, 10))
	if length > 0 {
		h.Set(wire.HeaderUploadLength, strconv.FormatInt(length, 10))
	}
	return nil
}

func (s *Server) evidenceAppend(w http.ResponseWriter, r *http.Request, _ store.User) error {
	k, err := key(r)
	if err != nil {
		return err
	}
	offset, err1 := strconv.ParseInt(r.Header.Get(wire.HeaderUploadOffset), 10, 64)
	length, err2 := strconv.ParseInt(r.Header.Get(wire.HeaderUploadLength), 10, 64)
	want, err3 := wire.ParseReprDigest(r.Header.Get(wire.HeaderReprDigest))
	if err := errors.Join(err1, err2, err3); err != nil {
		return badRequest(err.Error())
	}
	if offset < 0 || length <= 0 || offset > length {
		return badRequest(fmt.Sprintf("offset %d of %d bytes", offset, length))
	}
	if length > wire.MaxEvidence {
		return wire.NewProblem(wire.CodeTooLarge, fmt.Sprintf("The image has %d bytes.", length))
	}
	if _, err := s.cfg.Store.Order(r.Context(), k.Order); err != nil {
		return err
	}
	e, err := s.cfg.Store.Evidence(r.Context(), k)
	if err == nil {
		if [32]byte(e.SHA256) != want {
			return store.ErrConflict
		}
		return send(w, http.StatusOK, wire.EvidenceAnswer{Digest: e.SHA256, Size: e.Size})
	} else if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	reached, err := s.cfg.Store.Append(r.Context(), k, offset, length, want, r.Header.Get("Content-Type"), r.Body, s.cfg.Now())
	w.Header().Set(wire.HeaderUploadOffset, strconv.FormatInt(reached, 10))
	if err != nil {
		return err
	}
	if reached < length {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	s.cfg.Logger.Info("evidence stored", "order", k.Order, "use", k.Use, "stamp", k.Stamp, "bytes", length)
	return send(w, http.StatusOK, wire.EvidenceAnswer{Digest: want[:], Size: length})
}
