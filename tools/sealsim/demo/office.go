package demo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
)

// office is the people at the seal server, each with a browser of his own.
type office struct {
	base   string
	http   *http.Client
	tokens map[string]string
}

// person of the demo and his role there.
type person struct{ name, display, role string }

var people = []person{
	{"li.wei", "Li Wei", "applicant"},
	{"wu.min", "Wu Min", "approver"},
	{"rao.jing", "Rao Jing", "reviewer"},
}

func password(name string) string { return name + "-demo-password" }

func newOffice(server string, roots *x509.CertPool) *office {
	return &office{
		base: "https://" + server, tokens: map[string]string{},
		http: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: clientTLS(roots)}},
	}
}

// as sends a request as one of the people.
func (o *office) as(ctx context.Context, who, method, path string, in, out any) error {
	token := o.tokens[who]
	if token == "" && who != "" {
		var a wire.LoginAnswer
		if err := o.as(ctx, "", http.MethodPost, wire.PathServerLogin, wire.LoginRequest{User: who, Password: password(who)}, &a); err != nil {
			return err
		}
		token, o.tokens[who] = a.Token, a.Token
	}
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, method, o.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := o.http.Do(r)
	if err != nil {
		// The server is being started (again).
		if werr := pause(ctx); werr != nil {
			return errors.Join(werr, err)
		}
		return o.as(ctx, who, method, path, in, out)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusConflict && method == http.MethodPost {
		return nil // an earlier try of the same request was carried out
	}
	if resp.StatusCode >= 300 {
		words, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, words)
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// order is a work order of the demo.
type order struct {
	Number         string    `json:"number"`
	Reason         string    `json:"reason"`
	SealType       string    `json:"seal_type"`
	Count          uint32    `json:"count"`
	NotBefore      time.Time `json:"not_before"`
	NotAfter       time.Time `json:"not_after"`
	DocumentName   string    `json:"document_name"`
	DocumentSHA256 []byte    `json:"document_sha256"`
}

// approved applies for an order and has it approved.
func (o *office) approved(ctx context.Context, w order) error {
	sum := sha256.Sum256([]byte(w.DocumentName))
	w.DocumentSHA256 = sum[:]
	if err := o.as(ctx, "li.wei", http.MethodPost, "/v1/work-orders", w, nil); err != nil {
		return err
	}
	return o.as(ctx, "wu.min", http.MethodPost, "/v1/work-orders/"+url.PathEscape(w.Number)+"/approve", struct{}{}, nil)
}

// evidence of the order, as the reviewer sees it.
type evidence struct {
	Use     uint64 `json:"use"`
	Stamp   uint32 `json:"stamp"`
	SHA256  []byte `json:"sha256"`
	Size    int64  `json:"size"`
	Verdict string `json:"verdict"`
}

func (o *office) evidence(ctx context.Context, order string) ([]evidence, error) {
	var list []evidence
	return list, o.as(ctx, "rao.jing", http.MethodGet, "/v1/evidence?order="+url.QueryEscape(order), nil, &list)
}

// verdict says whether page and document match.
func (o *office) verdict(ctx context.Context, ref wire.EvidenceRef, match bool, words string) error {
	v := map[string]any{"match": match, "words": words}
	return o.as(ctx, "rao.jing", http.MethodPost, wire.ServerEvidencePath(ref)+"/verdict", v, nil)
}
