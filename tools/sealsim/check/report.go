package check

import (
	"fmt"
	"io"
	"time"
)

// The steps, in their order.
const (
	StepEcho       = "echo"
	StepAttach     = "attach"
	StepTunnel     = "tunnel"
	StepPhoneAPI   = "phone-api"
	StepLogin      = "login" // with a user only
	StepSealServer = "seal-server"
	StepBarrel     = "barrel" // with a barrel only
	StepDecision   = "decision"
	StepDetach     = "detach"
)

// Outcome is a stable name of what became of a check.
type Outcome string

// The outcomes. Each has an exit code of its own.
const (
	OK         Outcome = "ok"
	Local      Outcome = "local"       // this machine: sockets, files
	Usage      Outcome = "usage"       // the command line; nothing was sent
	Silent     Outcome = "silent"      // no answer over GTP-C
	Refused    Outcome = "refused"     // the attach, with a cause
	Tunnel     Outcome = "tunnel"      // the user plane carries nothing
	TLS        Outcome = "tls"         // the phone API isn't who it should be
	PhoneAPI   Outcome = "phone-api"   // it refuses the terminal, or can't work
	SealServer Outcome = "seal-server" // the gateway can't reach it
	Login      Outcome = "login"       // the seal server refuses the user
	Barrel     Outcome = "barrel"      // it isn't heard from
	Decision   Outcome = "decision"    // another one than expected
	Detach     Outcome = "detach"      // a session may be left
)

// outcomes is what scripts may rely on: the exit code is the place. docs/check.md has
// the same table.
var outcomes = []struct {
	name    Outcome
	meaning string
}{
	{OK, "all is well"},
	{Local, "the check can't work here: an address, a port or a file"},
	{Usage, "the command line is not understood; nothing was sent"},
	{Silent, "the gateway doesn't answer over GTP-C"},
	{Refused, "the gateway refuses the session, with a cause"},
	{Tunnel, "the session is there, but no packet comes through it"},
	{TLS, "the phone API's certificate is not the one to trust"},
	{PhoneAPI, "the phone API refuses the terminal, or cannot answer"},
	{SealServer, "the gateway gets no answer of the seal server"},
	{Login, "the seal server refuses the user"},
	{Barrel, "the gateway doesn't hear the barrel"},
	{Decision, "the decision is another one than expected"},
	{Detach, "the session could not be closed; all before went well"},
}

// ExitCode is the process's.
func ExitCode(o Outcome) int {
	for code, known := range outcomes {
		if known.name == o {
			return code
		}
	}
	return 1
}

// ExitCodes lists what the exit codes mean, one a line.
func ExitCodes(w io.Writer) {
	for code, o := range outcomes {
		fmt.Fprintf(w, "%3d  %-12s %s\n", code, o.name, o.meaning)
	}
}

// Step is one step that is over.
type Step struct {
	Name    string  `json:"name"`
	OK      bool    `json:"ok"`
	Seconds float64 `json:"seconds"`
	Detail  string  `json:"detail"`
	Outcome Outcome `json:"outcome,omitempty"` // if it failed
	Code    string  `json:"code,omitempty"`    // the cause of GTP or the code of the phone API, if it was refused
	Hint    string  `json:"hint,omitempty"`    // what to do
}

// Report is what a check found.
type Report struct {
	Outcome  Outcome   `json:"outcome"`
	ExitCode int       `json:"exit_code"`
	Began    time.Time `json:"began"`
	Seconds  float64   `json:"seconds"`

	Gateway   string `json:"gateway"`
	Local     string `json:"local,omitempty"` // where GTP came from
	UserPlane string `json:"user_plane,omitempty"`
	Inner     string `json:"inner"`
	Terminal  string `json:"terminal"` // the IMSI, its end hidden
	Address   string `json:"address,omitempty"`
	APN       string `json:"apn"`
	Order     string `json:"order"`
	Barrel    string `json:"barrel"`

	PolicyRevision uint64 `json:"policy_revision,omitempty"`
	Decision       string `json:"decision,omitempty"` // the code
	Steps          []Step `json:"steps"`
}

// Print writes a step as a line, with its hint on another.
func (s Step) Print(w io.Writer) {
	state := "ok"
	if !s.OK {
		state = "FAILED"
	}
	fmt.Fprintf(w, "%-12s %-7s %8.1f ms  %s\n", s.Name, state, s.Seconds*1000, s.Detail)
	if s.Hint != "" {
		fmt.Fprintf(w, "%-12s %s\n", "", s.Hint)
	}
}

// Print writes the end of a report.
func (r *Report) Print(w io.Writer) {
	meaning := ""
	for _, o := range outcomes {
		if o.name == r.Outcome {
			meaning = o.meaning
		}
	}
	fmt.Fprintf(w, "%s: %s (%.1f ms)\n", r.Outcome, meaning, r.Seconds*1000)
}
