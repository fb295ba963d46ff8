package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
)

// localError is a failure of this machine.
type localError struct{ error }

func (e localError) Unwrap() error { return e.error }

// errNoPort is a tunnel that works, to a port that doesn't answer.
var errNoPort = errors.New("echoes come back, but the port does not answer")

// explanation is a failure for people and scripts.
type explanation struct {
	outcome    Outcome
	what, hint string
	code       string
}

// explain tells what a failure of a step means, and what to do.
func (r *run) explain(step string, err error) explanation {
	e := explanation{what: err.Error()}
	var refused *carrier.RefusedError
	var problem *wire.Problem
	var local localError
	switch {
	case errors.Is(err, context.Canceled):
		e.outcome, e.what = Local, "interrupted"
	case errors.As(err, &local):
		e.outcome, e.hint = Local, localHint(err)
	case errors.As(err, &refused) && step == StepAttach:
		e.outcome, e.hint, e.code = Refused, causeHint(refused), "cause "+strconv.Itoa(int(refused.Cause))
	case step == StepDetach:
		e.outcome = Detach
		e.hint = "The gateway may still have the session: \"sealctl session list\" shows it, the next check takes its place, and the session timers end it."
	case step == StepEcho, step == StepAttach:
		e.outcome, e.hint = r.silent(err)
	case errors.As(err, &problem):
		e.outcome, e.hint, e.code = refusal(step, problem), problem.Hint, string(problem.Code)
		e.what = fmt.Sprintf("%s: %s", problem.Code, problem.Error())
		if more := r.problemHint(step, problem.Code); more != "" {
			e.hint = more
		}
	case step == StepDecision && !timedOut(err):
		e.outcome, e.hint = Decision, "Choose an order that cannot exist (--order); nothing was reserved."
	case step == StepBarrel:
		e.outcome = Barrel
		e.hint = "Is the barrel on the allow-list with this MAC and pre-shared key, and checked out to this terminal (sealctl device show " + r.cfg.Barrel + ")?"
	default:
		e.outcome, e.hint = r.transport(err)
	}
	return e
}

func timedOut(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

func localHint(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "Another program has the GTP ports (2123, 2152) of this address: a gateway, or another check. Take another address with --local."
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "--local is no address of this machine."
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "This machine has no route to the gateway."
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return "The check takes UDP 2123 and 2152 of its address; no privilege is needed, but something here forbids it."
	}
	return ""
}

// silent explains that GTP-C had no answer.
func (r *run) silent(err error) (Outcome, string) {
	if errors.Is(err, carrier.ErrProtocol) {
		return Refused, "What answers there breaks the protocol: is it a packet gateway, and of this version of GTP (--gtpv1)?"
	}
	local, gateway := r.report.Local, r.cfg.Gateway
	const dropped = "The gateway drops, without a word, what doesn't come from its gateway.gtp.allowed_peers or what the policy's carriers forbid: " +
		"is %[1]s among them? If so, see that no node is without leader (sealctl cluster status) and that no firewall drops UDP 2123 between %[1]s and %[2]s."
	switch answered, err := probe(r.report.Local, gateway); {
	case errors.Is(err, syscall.ECONNREFUSED):
		return Silent, fmt.Sprintf("%s says that nothing listens on UDP 2123: no node holds the gateway address (sealctl cluster status), or --gateway is another machine's.", gateway)
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return Silent, fmt.Sprintf("No machine has %s now, or there is no way to it: no node holds the gateway address (sealctl cluster status), or the route is wrong.", gateway)
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		return Silent, "A firewall on this machine forbids UDP 2123."
	case answered:
		return Silent, fmt.Sprintf("The gateway answers requests from other ports, so something between %s and %s drops UDP from port 2123, or the gateway has just come back: try again.", local, gateway)
	}
	return Silent, fmt.Sprintf(dropped, local, gateway)
}

// probe asks for an echo through a socket that hears of refusals by the network,
// which those of a carrier's node don't.
func probe(local string, gateway netip.Addr) (answered bool, err error) {
	from, err := netip.ParseAddr(local)
	if err != nil {
		return false, err
	}
	conn, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), net.UDPAddrFromAddrPort(netip.AddrPortFrom(gateway, carrier.ControlPort)))
	if err != nil {
		return false, err
	}
	defer conn.Close()
	// Echo Request with Recovery 0 (TS 29.274 7.1.1).
	if _, err := conn.Write([]byte{0x40, 1, 0, 9, 0, 0, 1, 0, 3, 0, 1, 0, 0}); err != nil {
		return false, err
	}
	_ = conn.SetReadDeadline(time.Now().Add(probeTimeout))
	_, err = conn.Read(make([]byte, 2048))
	return err == nil, err
}

// probeTimeout is long enough for ARP to give up (3 s in Linux).
const probeTimeout = 3500 * time.Millisecond

// causeHint says what a cause of a refused attach means here; docs/causes.md has
// them all.
func causeHint(e *carrier.RefusedError) string {
	const why = " Why exactly, the audit chain says: sealctl audit search --device IMSI; and sealctl policy explain attach."
	if hint := causeHints[e.Cause]; hint != "" && !e.GTPv1 {
		return hint + why
	}
	if hint := causeHints[causesV1[e.Cause]]; hint != "" && e.GTPv1 {
		return hint + why
	}
	return "docs/causes.md has what the gateway means by its causes." + why
}

// causeHints is by cause of GTPv2 (TS 29.274 8.4).
var causeHints = map[uint8]string{
	72:  "The gateway could not decide: no policy is in force (sealctl policy apply), or the cluster has no quorum (sealctl cluster status).",
	73:  "The gateway takes no new sessions: gateway.gtp.max_sessions is reached, or its disks are nearly full.",
	78:  "The APN is unknown: it must be one of the policy's.",
	82:  "The policy doesn't allow this radio access.",
	83:  "The APN doesn't have this family of addresses: --inner says which one is asked for.",
	84:  "The APN's pool has no address left.",
	89:  "A rule of the policy says no, here or now: the serving network (--plmn), the place (--tac, --cell) or the time.",
	92:  "The policy asks for more than was shown: a user name and password of the APN (--apn-user).",
	93:  "The subscriber isn't admitted: is the terminal on the allow-list and active, with this IMEI and this APN (sealctl device show)?",
	120: "The gateway has too many requests waiting; try again.",
}

// causesV1 is the cause of GTPv2 that one of GTPv1 stands for (TS 29.060 7.7.1).
var causesV1 = map[uint8]uint8{199: 73, 200: 89, 204: 72, 209: 92, 211: 84, 219: 78, 220: 83, 222: 93}

// refusal is the outcome that a problem of the phone API amounts to.
func refusal(step string, p *wire.Problem) Outcome {
	switch {
	case p.Code == wire.CodeServerUnreachable:
		return SealServer
	case step == StepLogin, p.Code == wire.CodeLoginFailed, p.Code == wire.CodeTokenInvalid && step == StepSealServer:
		return Login
	case step == StepBarrel:
		return Barrel
	case step == StepDecision:
		return Decision
	}
	return PhoneAPI
}

// problemHint is what the check knows better than the problem's own hint, which is
// for a person with a phone; empty: nothing.
func (r *run) problemHint(step string, code wire.Code) string {
	switch code {
	case wire.CodeServerUnreachable:
		return "Does the seal server run, at the gateway's upstream.url, with a certificate of upstream.ca and for upstream.server_name, and does it trust upstream.cert? The gateway's log says what failed."
	case wire.CodeLoginFailed:
		return "Is the user there, with this password (sealserver add-user)?"
	case wire.CodeServerNotAllowed:
		return "--seal-server must be a seal server that the policy allows, as terminals name it."
	case wire.CodeDeviceCertificate:
		return "The terminal's record has a device certificate: give it with --cert and --key."
	case wire.CodeClockSkew:
		return "The clocks of this machine and the gateway differ by more than the policy's clockTolerance."
	case wire.CodeTerminalUnknown:
		return "The session ended meanwhile, or packets come out of the tunnel with another address: does anything between translate addresses?"
	case wire.CodeMACNotAllowed:
		return "--barrel-mac must be the barrel's on the allow-list, and the barrel checked out to this terminal."
	}
	if step == StepDecision {
		return fmt.Sprintf("Expected was %v. If the policy answers like this by design, say so with --expect %s.", r.cfg.Expected(), code)
	}
	return ""
}

// transport explains a failure below the phone API.
func (r *run) transport(err error) (Outcome, string) {
	var certificate *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	var op *net.OpError
	switch {
	case errors.As(err, &authority):
		return TLS, "The phone API's certificate is signed by another CA than --ca has: give the CA that issued inner.phone_api.cert."
	case errors.As(err, &host):
		return TLS, fmt.Sprintf("The phone API's certificate does not name %s: issue inner.phone_api.cert for every address of inner.addresses.", r.cfg.Inner)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return TLS, "The certificate of the phone API has expired, or isn't valid yet: renew inner.phone_api.cert, or set the clock."
	case errors.As(err, &certificate), errors.As(err, &record):
		return TLS, "See that inner.phone_api.cert and its key are the phone API's, and that nothing else listens there."
	case errors.As(err, &op) && op.Op == "remote error":
		return TLS, "The phone API broke off the handshake; the gateway's log says why (log.level debug)."
	case errors.Is(err, errNoPort), strings.Contains(err.Error(), "refused"):
		return Tunnel, "Packets come through, but nothing answers at that port: is --inner-port inner.phone_api.port?"
	}
	return Tunnel, fmt.Sprintf("The session is there, but no packet comes back through it: does a firewall drop UDP 2152 between %s and %s, in either direction, "+
		"does anything between translate addresses, and is --inner (%s) one of inner.addresses?", r.report.Local, r.report.UserPlane, r.cfg.Inner)
}
