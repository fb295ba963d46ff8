package wire

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
)

// ContentTypeProblem is the media type of a Problem (RFC 9457 3).
const ContentTypeProblem = "application/problem+json"

// Code is the stable name of a refusal. Programs compare it; people read the
// words beside it.
type Code string

// Refusals of a seal use.
const (
	CodeTerminalUnknown   Code = "terminal-unknown"
	CodeAddressMismatch   Code = "address-mismatch"
	CodeServerNotAllowed  Code = "server-not-allowed"
	CodeClockSkew         Code = "clock-skew"
	CodeBarrelNotBound    Code = "barrel-not-bound"
	CodeBarrelOffline     Code = "barrel-offline"
	CodeMACNotAllowed     Code = "mac-not-allowed"
	CodeOrderUnknown      Code = "order-unknown"
	CodeOrderNotOpen      Code = "order-not-open"
	CodeOrderExhausted    Code = "order-exhausted"
	CodeOrderSuspended    Code = "order-suspended"
	CodeLevelNotMet       Code = "level-not-met"
	CodeServerRefused     Code = "server-refused"
	CodeServerUnreachable Code = "server-unreachable"
	CodeNoQuorum          Code = "no-quorum"
	CodeNoRoom            Code = "no-room"
	CodeEvidenceOverdue   Code = "evidence-overdue"

	CodeNoRule             Code = "no-rule"
	CodeRuleForbids        Code = "rule-forbids"
	CodeRuleRequires       Code = "rule-requires"
	CodeCredentialsMissing Code = "credentials-missing"
)

// Refusals beside those of the design: of states that it implies, and of
// requests that are no requests.
const (
	CodeBarrelBusy        Code = "barrel-busy"
	CodeBarrelRevoked     Code = "barrel-revoked"
	CodeOrderEnded        Code = "order-ended"
	CodeOrderFrozen       Code = "order-frozen"
	CodeUseUnknown        Code = "use-unknown"
	CodeUseEnded          Code = "use-ended"
	CodeRequestReused     Code = "request-reused"
	CodeOutcomeUnknown    Code = "outcome-unknown"
	CodeConflict          Code = "conflict"
	CodeReceiptInvalid    Code = "receipt-invalid"
	CodeReceiptConflict   Code = "receipt-conflict"
	CodeStampUnknown      Code = "stamp-unknown"
	CodeUploadOffset      Code = "upload-offset"
	CodeDigestMismatch    Code = "digest-mismatch"
	CodeEvidenceConflict  Code = "evidence-conflict"
	CodeLockUnknown       Code = "lock-unknown"
	CodeLoginFailed       Code = "login-failed"
	CodeTokenInvalid      Code = "token-invalid"
	CodeDeviceCertificate Code = "device-certificate"
	CodeConnectionRefused Code = "connection-refused"
	CodeFallbackNotReady  Code = "fallback-not-ready"
	CodeRateLimited       Code = "rate-limited"
	CodeTooLarge          Code = "too-large"
	CodeNoPolicy          Code = "no-policy"
	CodeBadRequest        Code = "bad-request"
	CodeNotFound          Code = "not-found"
	CodeMethodNotAllowed  Code = "method-not-allowed"
	CodeInternal          Code = "internal"
)

// Kind is what a code means, whatever the occasion.
type Kind struct {
	Status int    // HTTP
	Title  string // a short sentence that does not change
	Hint   string // what to do
}

var kinds = map[Code]Kind{
	CodeTerminalUnknown:    {403, "This terminal has no session.", "Attach to the private APN (or the fallback tunnel) and try again; if that fails, ask the administrator whether the SIM is on the allow-list."},
	CodeAddressMismatch:    {403, "The terminal address is not the tunnel's own.", "Send the request from the terminal itself, with the address that the APN gave it."},
	CodeServerNotAllowed:   {403, "This seal server is not an allowed one.", "Correct the server address in the app, or have the administrator add it to the policy."},
	CodeClockSkew:          {403, "The terminal's clock is wrong.", "Set the terminal to network time and try again."},
	CodeBarrelNotBound:     {403, "The barrel is not checked out with this terminal.", "Have the barrel checked out to this terminal, or use the terminal that it is checked out with."},
	CodeBarrelOffline:      {409, "The barrel is not heard from.", "Switch the barrel on, near the terminal's hotspot, and wait for its heartbeat."},
	CodeMACNotAllowed:      {403, "This device may not be on the hotspot.", "Disconnect it; if it is a barrel, have its MAC put on the allow-list and the barrel checked out to this terminal."},
	CodeOrderUnknown:       {404, "There is no such order for this user.", "Refresh the list of orders; check that the order is approved and is yours."},
	CodeOrderNotOpen:       {403, "The order's time window is not open.", "Wait for the window, or have the order's window changed."},
	CodeOrderExhausted:     {409, "The order has not that many uses left.", "Ask for fewer, wait until an open use is settled, or apply for a new order."},
	CodeOrderSuspended:     {403, "The order is suspended.", "Mend what suspended it (see the detail), then have an administrator resume it."},
	CodeLevelNotMet:        {403, "The verification does not meet the seal's level.", "Have the order's level and methods corrected on the seal server, or the policy."},
	CodeServerRefused:      {403, "The seal server refused.", "Read its words; the order's applicant or approver can mend it."},
	CodeServerUnreachable:  {502, "The seal server is not reachable.", "Try again soon; if it lasts, tell the administrator of the seal server."},
	CodeNoQuorum:           {503, "The gateway cluster has no quorum.", "Wait and repeat the request with the same request id."},
	CodeNoRoom:             {503, "The gateway's disks are nearly full: nothing new is begun.", "Tell the administrator, who makes room; uses that are open can be finished."},
	CodeEvidenceOverdue:    {403, "Evidence of an earlier stamping is overdue.", "Send the missing image, then have an administrator resume the order."},
	CodeNoRule:             {403, "No rule of the policy permits it here and now.", "Ask the administrator, who sees with \"sealctl policy explain\" what would be permitted."},
	CodeRuleForbids:        {403, "A rule of the policy forbids it.", "Read the detail; it may be permitted elsewhere or at another time."},
	CodeRuleRequires:       {403, "A rule of the policy requires more than was shown.", "Show what the detail names, such as the terminal's certificate, and try again."},
	CodeCredentialsMissing: {403, "The policy asks for more than was shown over this path.", "Show what the detail names, such as the terminal's certificate, and try again."},

	CodeBarrelBusy:        {409, "The barrel has another unsettled use, or a lock pending.", "Finish or settle that use first, with the barrel online so that it can report its count; then ask with a new request id."},
	CodeBarrelRevoked:     {403, "The barrel is revoked or suspended.", "Use another barrel; ask the administrator about this one."},
	CodeOrderFrozen:       {403, "Orders are frozen: the cluster lost a part of its memory, and not every barrel was counted since.", "Switch every barrel on near its terminal, so that it reports its count, and ask an administrator, who opens the orders with \"sealctl epoch close\"."},
	CodeOrderEnded:        {403, "The order is ended.", "Apply for a new order."},
	CodeUseUnknown:        {404, "There is no such use of this terminal.", "Check the use's number; a use is seen only by the terminal that asked for it."},
	CodeUseEnded:          {409, "The use is ended.", "Ask for a new use, with a new request id."},
	CodeRequestReused:     {422, "The request id was used before, for something else.", "Make a new request id for a new request."},
	CodeOutcomeUnknown:    {503, "It is not known whether the request was carried out.", "Repeat the request with the same request id: it is carried out once."},
	CodeConflict:          {409, "The records changed while this was decided; nothing was done.", "Try again."},
	CodeReceiptInvalid:    {422, "The receipt is not valid for this use.", "Send the barrel's receipt as it is; if it still fails, have the barrel's key checked."},
	CodeReceiptConflict:   {409, "Another receipt of this stamping is recorded already.", "Tell the administrator: the barrel signed two receipts for one stamping."},
	CodeStampUnknown:      {404, "The use has no such stamping.", "Check the number: 1 is the first stamping of the use."},
	CodeUploadOffset:      {409, "The upload does not go on where it stopped.", "Ask for the offset with HEAD and send on from there."},
	CodeDigestMismatch:    {422, "The image is not the one that its digest says.", "Send the image again from the start."},
	CodeEvidenceConflict:  {409, "Another image of this stamping is stored already.", "Nothing to do: the first image counts."},
	CodeLockUnknown:       {404, "There is no such lock for this terminal.", "Nothing to do."},
	CodeLoginFailed:       {401, "User or password is wrong.", "Try again; after too many attempts wait, or have the password reset."},
	CodeTokenInvalid:      {401, "The login is missing, wrong or expired.", "Log in again."},
	CodeDeviceCertificate: {403, "The terminal's device certificate is missing or another one.", "Install the certificate that was issued for this terminal."},
	CodeConnectionRefused: {403, "The connection is refused.", "See that keys, certificate, account and password are those that were issued; why it is refused, the administrator finds in the audit chain."},
	CodeFallbackNotReady:  {503, "The gateway has nothing to give for the fallback path yet.", "Try again later; until then the terminal's key alone will do, where the policy lets it."},
	CodeRateLimited:       {429, "Too many requests from this terminal.", "Wait as long as Retry-After says."},
	CodeTooLarge:          {413, "The request is too large.", "Send less; an image may have 64 MiB."},
	CodeNoPolicy:          {503, "No policy is in force.", "Have an administrator apply one with \"sealctl policy apply\"."},
	CodeBadRequest:        {400, "The request cannot be understood.", "Mend the request as the detail says; the API is in docs/api/phone.yaml."},
	CodeNotFound:          {404, "There is nothing at this path.", "The API's paths are in docs/api/phone.yaml."},
	CodeMethodNotAllowed:  {405, "This path does not take this method.", "The API's methods are in docs/api/phone.yaml."},
	CodeInternal:          {500, "The gateway failed.", "Try again; if it lasts, tell the administrator the time of this answer."},
}

// Codes lists every code.
func Codes() []Code { return slices.Sorted(maps.Keys(kinds)) }

// Kind tells what c means; ok is false for a code that this build doesn't know.
func (c Code) Kind() (k Kind, ok bool) {
	k, ok = kinds[c]
	return k, ok
}

// Problem is an RFC 9457 problem with the product's members code, hint, reasons
// and retry_after_seconds. It is an error, so that a refusal travels whole from
// where it is decided to where it is answered.
type Problem struct {
	Type              string   `json:"type"` // urn:sealedge:problem:<code>
	Title             string   `json:"title"`
	Status            int      `json:"status"`
	Detail            string   `json:"detail,omitempty"`
	Code              Code     `json:"code"`
	Hint              string   `json:"hint,omitempty"` // what to do
	Reasons           []Reason `json:"reasons,omitempty"`
	RetryAfterSeconds int      `json:"retry_after_seconds,omitempty"` // also sent as Retry-After
}

// NewProblem makes the problem of a code; a code without a Kind becomes
// CodeInternal.
func NewProblem(code Code, detail string) *Problem {
	k, ok := kinds[code]
	if !ok {
		code, k = CodeInternal, kinds[CodeInternal]
	}
	return &Problem{
		Type: "urn:sealedge:problem:" + string(code), Title: k.Title, Status: k.Status,
		Detail: detail, Code: code, Hint: k.Hint,
	}
}

// Error gives code, title, detail and hint in one line.
func (p *Problem) Error() string {
	s := string(p.Code) + ": " + p.Title
	if p.Detail != "" {
		s += " " + p.Detail
	}
	if p.Hint != "" {
		s += " (" + p.Hint + ")"
	}
	return s
}

// Write answers a request with the problem.
func (p *Problem) Write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", ContentTypeProblem)
	h.Set("Cache-Control", "no-store")
	if p.RetryAfterSeconds > 0 {
		h.Set("Retry-After", strconv.Itoa(p.RetryAfterSeconds))
	}
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client may be gone
}

// Concise is the problem for a CoAP answer.
func (p *Problem) Concise() ConciseProblem {
	detail := p.Title
	if p.Detail != "" {
		detail += " " + p.Detail
	}
	return ConciseProblem{Title: p.Code, Detail: detail + " " + p.Hint}
}
