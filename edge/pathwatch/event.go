package pathwatch

import "time"

// Path is a way to the gateway.
type Path uint8

// The paths.
const (
	NoPath Path = iota
	Carrier
	Fallback
)

func (p Path) String() string {
	switch p {
	case Carrier:
		return "carrier"
	case Fallback:
		return "fallback"
	}
	return "none"
}

// Event is something that the watcher is told.
type Event interface{ event() }

// Tick is that the time came that Next told.
type Tick struct{}

// LinkUp is that there is a network to connect over: coverage by the carrier; for the
// fallback, the internet. LinkDown is that there is none any more, which takes the
// path along. A terminal that can't tell says LinkUp once.
type (
	LinkUp   struct{ Path Path }
	LinkDown struct{ Path Path }
)

// Connected answers a Connect: there is a bearer, or a tunnel. ConnectFailed is that there
// is none; another try comes after RetryAfter at the earliest.
type (
	Connected     struct{ Path Path }
	ConnectFailed struct {
		Path       Path
		RetryAfter time.Duration
	}
)

// Disconnected is that a bearer or a tunnel ended though nobody released it.
type Disconnected struct{ Path Path }

// ProbeAnswered is that the gateway answered a probe through the path.
type ProbeAnswered struct {
	Path     Path
	Nonce    uint64
	Active   bool // the gateway sends to the terminal by this path
	Admitted bool // the terminal has a session there
}

// Traffic is that something was sent that waits for an answer. It makes the watcher look
// closer for some seconds.
type Traffic struct{}

// UseBegan and UseEnded are about the use of a seal: from the request until the barrel
// is locked and the evidence sent.
type (
	UseBegan struct{}
	UseEnded struct{}
)

// Leased answers a RequestConnection. The app has put the keys and endpoints that came
// with it in the place of the old ones.
type Leased struct{ RenewAfter, Expires time.Time }

// RequestFailed is that a RequestConnection wasn't answered or was refused; another
// comes after RetryAfter at the earliest.
type RequestFailed struct{ RetryAfter time.Duration }

func (Tick) event()          {}
func (LinkUp) event()        {}
func (LinkDown) event()      {}
func (Connected) event()     {}
func (ConnectFailed) event() {}
func (Disconnected) event()  {}
func (ProbeAnswered) event() {}
func (Traffic) event()       {}
func (UseBegan) event()      {}
func (UseEnded) event()      {}
func (Leased) event()        {}
func (RequestFailed) event() {}
