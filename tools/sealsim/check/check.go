// Package check walks the way of a seal use through a running gateway and leaves
// nothing behind: a carrier's gateway opens a session, a terminal inside it asks
// what it would be granted for an order that cannot exist, and the session is
// closed. Nothing is reserved and nothing granted; the audit trail shows all of it.
//
// It goes as far as it can without a barrel: policy decides, and that the seal
// server answers is seen by a call of its own. With a barrel that is on the
// allow-list for this purpose (Config.Seal), the decision goes through to the seal
// server.
package check

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
	"github.com/sealedge/sealedge/tools/sealsim/phone"
)

// Config says whom to ask, and as whom.
type Config struct {
	Gateway netip.Addr // for GTP
	Local   netip.Addr // where GTP comes from; the zero Addr: that of the route to Gateway
	Inner   netip.Addr // of the gateway, inside the tunnel
	Port    uint16     // of the phone API there; 0: 443
	SIM     carrier.Subscriber

	RootCAs     *x509.CertPool   // that vouch for the phone API
	Certificate *tls.Certificate // the terminal's own; nil: it has none
	// User and Password log in at the seal server. Without a user the check shows
	// a token that is none, and wants it refused.
	User, Password string

	SealServer string // as terminals name it
	Order      string // must not exist
	Barrel     string
	Seal       *Seal // plays the barrel; nil: nobody does
	// Expect are the codes of the decision that are as it should be; none: see
	// Expected.
	Expect []wire.Code

	T3 time.Duration // a request of GTP is sent again after it; 0: 1 s
	N3 int           // so often; 0: 3
	// Step hears of every step when it is over; nil: nobody does.
	Step   func(Step)
	Logger *slog.Logger // nil: nowhere
}

// Expected are the codes of a decision that shows that all is well: as far as it
// goes with this configuration.
func (c *Config) Expected() []wire.Code {
	switch {
	case len(c.Expect) > 0:
		return c.Expect
	case c.Seal == nil:
		return []wire.Code{wire.CodeBarrelNotBound, wire.CodeBarrelOffline}
	case c.User == "":
		return []wire.Code{wire.CodeTokenInvalid}
	}
	return []wire.Code{wire.CodeOrderUnknown}
}

// detachTimeout bounds the closing of the session, which is tried whatever became
// of the rest.
const detachTimeout = 5 * time.Second

// answerTimeout is a little more than the gateway takes to say that the seal server
// doesn't answer.
const answerTimeout = 20 * time.Second

// Run goes through the steps until one fails. The session is closed in any case,
// also when ctx has ended.
func Run(ctx context.Context, cfg Config) *Report {
	cfg.T3, cfg.N3 = cmp.Or(cfg.T3, time.Second), cmp.Or(cfg.N3, 3)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.SIM.PDNType == 0 && cfg.Inner.Is6() {
		cfg.SIM.PDNType = carrier.IPv6
	}
	r := &run{cfg: cfg, report: &Report{
		Began: time.Now().UTC(), Gateway: cfg.Gateway.String(), Inner: cfg.Inner.String(), Outcome: OK,
		Terminal: cfg.SIM.IMSI.LogValue().String(), APN: cfg.SIM.APN.String(), Order: cfg.Order, Barrel: cfg.Barrel,
	}}
	defer r.close()
	r.all(ctx)
	r.report.Seconds = time.Since(r.report.Began).Seconds()
	return r.report
}

// run is one check.
type run struct {
	cfg     Config
	report  *Report
	carrier *carrier.Carrier
	phone   *phone.Phone
	barrel  *played
}

func (r *run) close() {
	if r.barrel != nil {
		r.barrel.close()
	}
	if r.phone != nil {
		r.phone.Close()
	}
	if r.carrier != nil {
		_ = r.carrier.Close()
	}
}

// all runs the steps.
func (r *run) all(ctx context.Context) {
	if !r.step(ctx, StepEcho, r.echo) {
		return
	}
	attached := r.step(ctx, StepAttach, r.attach)
	if r.phone.Bearer() == nil {
		return
	}
	inside := attached && r.step(ctx, StepTunnel, r.tunnel) && r.step(ctx, StepPhoneAPI, r.phoneAPI) &&
		(r.cfg.User == "" || r.step(ctx, StepLogin, r.login)) && r.step(ctx, StepSealServer, r.sealServer) &&
		(r.cfg.Seal == nil || r.step(ctx, StepBarrel, r.join))
	if inside {
		r.step(ctx, StepDecision, r.decide)
	}
	if r.barrel != nil {
		r.barrel.close()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), detachTimeout)
	defer cancel()
	r.step(ctx, StepDetach, r.detach)
}

// step carries one out, and tells whether it went well.
func (r *run) step(ctx context.Context, name string, do func(context.Context) (string, error)) bool {
	began := time.Now()
	detail, err := do(ctx)
	s := Step{Name: name, OK: err == nil, Seconds: time.Since(began).Seconds(), Detail: detail}
	if err != nil {
		why := r.explain(name, err)
		s.Detail, s.Outcome, s.Code, s.Hint = why.what, why.outcome, why.code, why.hint
		if r.report.Outcome == OK { // what failed first counts
			r.report.Outcome, r.report.ExitCode = why.outcome, ExitCode(why.outcome)
		}
	}
	r.report.Steps = append(r.report.Steps, s)
	if r.cfg.Step != nil {
		r.cfg.Step(s)
	}
	return err == nil
}

// echo opens the sockets and asks whether the gateway lives.
func (r *run) echo(ctx context.Context) (string, error) {
	local := r.cfg.Local
	if !local.IsValid() {
		var err error
		if local, err = route(r.cfg.Gateway); err != nil {
			return "", localError{err}
		}
	}
	r.report.Local = local.String()
	var err error
	r.carrier, err = carrier.New(carrier.Config{
		Address: local, Gateway: r.cfg.Gateway, T3: r.cfg.T3, N3: r.cfg.N3, Logger: r.cfg.Logger,
	})
	if err != nil {
		return "", localError{err}
	}
	r.phone, err = phone.New(phone.Config{
		SIM: r.cfg.SIM, Operator: r.carrier, Gateway: of(r.cfg.Inner, false), Gateway6: of(r.cfg.Inner, true),
		Logger: r.cfg.Logger,
		App: phone.AppConfig{
			RootCAs: r.cfg.RootCAs, Certificate: r.cfg.Certificate, SealServer: r.cfg.SealServer,
			Port: r.cfg.Port, AttemptTimeout: answerTimeout,
		},
	})
	if err != nil {
		return "", localError{err}
	}
	ask, version := r.carrier.Echo, "GTPv2"
	if r.cfg.SIM.GTPv1 {
		ask, version = r.carrier.EchoV1, "GTPv1"
	}
	restarts, err := ask(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("the gateway speaks %s (restart counter %d)", version, restarts), nil
}

// of is an address if it is of the family, else the zero Addr.
func of(a netip.Addr, six bool) netip.Addr {
	if a.Is6() != six {
		return netip.Addr{}
	}
	return a
}

// route is the address that packets to a peer leave with.
func route(to netip.Addr) (netip.Addr, error) {
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, carrier.ControlPort)))
	if err != nil {
		return netip.Addr{}, err
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap(), nil
}

func (r *run) attach(ctx context.Context) (string, error) {
	if err := r.phone.Attach(ctx); err != nil {
		return "", err
	}
	b := r.phone.Bearer()
	if b == nil {
		return "", errEnded
	}
	r.report.UserPlane, r.report.Address = b.UserPlane().String(), r.phone.Address().String()
	return fmt.Sprintf("the terminal has %s, the user plane is at %s", r.report.Address, r.report.UserPlane), nil
}

// tunnel opens a connection to the phone API, as the first packets through the
// user plane.
func (r *run) tunnel(ctx context.Context) (string, error) {
	at := netip.AddrPortFrom(r.cfg.Inner, cmp.Or(r.cfg.Port, wire.PhonePort))
	patience := time.Duration(r.cfg.N3+1) * r.cfg.T3
	dialling, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := r.phone.Stack().DialTCP(dialling, at)
	if err != nil {
		pinging, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		if _, silent := r.phone.Ping(pinging); silent == nil {
			err = errors.Join(errNoPort, err)
		}
		return "", err
	}
	_ = conn.Close()
	return fmt.Sprintf("TCP reaches %s", at), nil
}

func (r *run) phoneAPI(ctx context.Context) (string, error) {
	asked := time.Now()
	status, err := r.phone.App().Status(ctx)
	if err != nil {
		return "", err
	}
	r.report.PolicyRevision = status.PolicyRevision
	half := time.Since(asked) / 2
	ahead := status.Time.Sub(asked.Add(half)).Milliseconds()
	return fmt.Sprintf("HTTPS answers; policy revision %d; the gateway's clock is ahead by %d ms", status.PolicyRevision, ahead), nil
}

func (r *run) login(ctx context.Context) (string, error) {
	if _, err := r.phone.App().Login(ctx, r.cfg.User, r.cfg.Password); err != nil {
		return "", err
	}
	return "the seal server knows the user", nil
}

// noToken is a token that nobody issued.
const noToken = "sealsim-check"

// sealServer has the gateway ask the seal server for the user's orders. Without
// a user it wants the token refused: who refuses it lives.
func (r *run) sealServer(ctx context.Context) (string, error) {
	if r.cfg.User == "" {
		r.phone.App().UseToken(noToken)
	}
	orders, err := r.phone.App().Orders(ctx)
	var p *wire.Problem
	switch {
	case r.cfg.User == "" && errors.As(err, &p) && p.Code == wire.CodeTokenInvalid:
		return "the seal server answers, and refuses a token that is none", nil
	case err != nil:
		return "", err
	case r.cfg.User == "":
		return "", errors.New("the seal server takes a token that nobody issued")
	}
	return fmt.Sprintf("the seal server answers: %d orders", len(orders)), nil
}

// decide asks what a use would be granted, and wants it refused for the right
// reason.
func (r *run) decide(ctx context.Context) (string, error) {
	would, err := r.phone.App().CheckUse(ctx, r.cfg.Order, r.cfg.Barrel, 1)
	var p *wire.Problem
	switch {
	case err == nil:
		return "", fmt.Errorf("order %s exists: %d stampings would be granted", r.cfg.Order, would.Count)
	case !errors.As(err, &p):
		return "", err
	}
	r.report.Decision = string(p.Code)
	if !slices.Contains(r.cfg.Expected(), p.Code) {
		return "", err
	}
	return fmt.Sprintf("refused, as it should be: %s: %s", p.Code, strings.TrimSuffix(cmp.Or(p.Detail, p.Title), ".")), nil
}

func (r *run) detach(ctx context.Context) (string, error) {
	if err := r.phone.Detach(ctx); err != nil {
		return "", err
	}
	return "the session is closed", nil
}

// errEnded is a session that went away by itself.
var errEnded = errors.New("the gateway ended the session")

// Terminal makes a subscriber of what is written in a command line. An empty plmn
// is the home network of the IMSI, with a network code of two digits.
func Terminal(imsi, imei, apn, plmn string) (who carrier.Subscriber, err error) {
	var errs []error
	read := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	who.IMSI, err = ident.ParseIMSI(imsi)
	read(err)
	if imei != "" {
		who.IMEI, err = ident.ParseIMEI(imei)
		read(err)
	}
	who.APN, err = ident.ParseAPN(apn)
	read(err)
	if plmn == "" && len(imsi) >= 5 {
		plmn = imsi[:5]
	}
	who.PLMN, err = ident.ParsePLMN(plmn)
	read(err)
	return who, errors.Join(errs...)
}
