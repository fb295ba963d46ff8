package drill

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/wire"
)

// People and papers of a local cluster's seal server.
const (
	applicant = "li.wei"
	approver  = "wu.min"
	password  = "a-password-for-drills"
	drillUse  = "DRILL-1"
	barrelID  = "DRILL-0001"
	barrelMAC = "02:00:5e:10:77:01"
	sealType  = "contract"
)

// Use starts the seal server with an approved order, enlists a phone and a barrel,
// and makes a canary's configuration of them; i is the phone's number.
func (l *Local) Use(ctx context.Context, i int) (UseConfig, error) {
	cfg := UseConfig{
		SealServer: l.sealServer().String(), User: applicant, Password: password, Order: drillUse,
		Barrel: barrelID, MAC: barrelMAC, SealType: sealType, PSKIdentity: barrelID, StateFile: filepath.Join(l.cfg.Dir, "barrel.state"),
	}
	if err := l.openOffice(ctx); err != nil {
		return cfg, err
	}
	identity, err := l.identity("operator")
	if err != nil {
		return cfg, err
	}
	cfg.Roots = identity.RootCAs
	if cfg.GrantKey, err = publicKey(l.layout.GrantKey); err != nil {
		return cfg, err
	}
	if cfg.SIM, err = l.enlist(ctx, i); err != nil {
		return cfg, err
	}
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return cfg, err
	}
	psk := sha256.Sum256(key)
	cfg.Key, cfg.PSK = key, psk[:]
	err = l.admin.call(ctx, http.MethodPut, "/v1/barrels/"+barrelID, adminapi.Barrel{
		ID: barrelID, MAC: barrelMAC, SealType: sealType, PSKIdentity: barrelID, PSK: base64.StdEncoding.EncodeToString(psk[:]),
		ReceiptPublicKey: base64.StdEncoding.EncodeToString(public),
	}, nil)
	if err != nil {
		return cfg, err
	}
	return cfg, l.admin.call(ctx, http.MethodPost, "/v1/barrels/"+barrelID+"/checkout", adminapi.CheckOut{IMSI: cfg.SIM.IMSI.String()}, nil)
}

// openOffice starts the seal server, and has the order applied for and approved.
func (l *Local) openOffice(ctx context.Context) error {
	program := filepath.Join(l.cfg.Bin, "sealserver")
	for user, role := range map[string]string{applicant: "applicant", approver: "approver"} {
		add := exec.CommandContext(ctx, program, "add-user", "--config", l.layout.SealServer, "--role", role, user)
		add.Stdin = strings.NewReader(password + "\n")
		if out, err := add.CombinedOutput(); err != nil {
			return fmt.Errorf("add-user: %w: %s", err, out)
		}
	}
	var err error
	if l.server, err = start(l.cfg.Dir, "sealserver", program, "serve", "--config", l.layout.SealServer); err != nil {
		return err
	}
	ready, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var tokens [2]string
	if !wait(ready, 20*time.Millisecond, func() bool { tokens[0], err = l.login(ready, applicant); return err == nil }) {
		return errors.Join(fmt.Errorf("the seal server doesn't serve: %s", l.server.lastWords()), err)
	}
	if tokens[1], err = l.login(ctx, approver); err != nil {
		return err
	}
	now := time.Now()
	err = l.office(ctx, tokens[0], "/v1/work-orders", map[string]any{
		"number": drillUse, "reason": "drill", "seal_type": sealType, "count": 1, "not_before": now.Add(-time.Hour), "not_after": now.Add(24 * time.Hour),
	}, nil)
	if err != nil {
		return err
	}
	return l.office(ctx, tokens[1], "/v1/work-orders/"+drillUse+"/approve", struct{}{}, nil)
}

func (l *Local) login(ctx context.Context, user string) (string, error) {
	var a wire.LoginAnswer
	err := l.office(ctx, "", wire.PathServerLogin, wire.LoginRequest{User: user, Password: password}, &a)
	return a.Token, err
}

// office makes a call of one of the people to the seal server.
func (l *Local) office(ctx context.Context, token, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+l.sealServer().String()+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	tls, err := l.identity("operator")
	if err != nil {
		return err
	}
	tls.Certificates = nil // people have none
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: tls, DisableKeepAlives: true}}
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode >= 300 {
		return errors.Join(err, fmt.Errorf("%s: %s: %s", path, answer.Status, b))
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, out)
}

// publicKey is the key that barrels pin.
func publicKey(file string) (ed25519.PublicKey, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, errors.New(file + " holds no PEM block")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	public, ok := key.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%s holds a %T", file, key)
	}
	return public, nil
}
