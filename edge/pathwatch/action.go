package pathwatch

// Action is something for the app to do. Actions are done in their order, and none
// makes the watcher wait.
type Action interface{ action() }

// SendProbe sends a probe with the nonce through the path, whichever is selected.
type SendProbe struct {
	Path  Path
	Nonce uint64
}

// Connect attaches to the carrier, in the place of a bearer that is there, or brings the
// tunnel up with a handshake. It is answered by Connected or ConnectFailed.
type Connect struct{ Path Path }

// Rekey makes a new WireGuard handshake over the tunnel that is up. Attempt counts from
// 0: the app goes round the endpoints of its lease with it.
type Rekey struct{ Attempt int }

// Select sends everything but probes over the path from now on.
type Select struct{ Path Path }

// Announce sends some data over the path, say an ICMP echo request: the gateway follows
// the terminal's data.
type Announce struct{ Path Path }

// Release takes the path down. A bearer of the carrier's is never released.
type Release struct{ Path Path }

// RequestConnection asks for a lease of the fallback: at the phone API through the path
// named, or with NoPath at the public listener of any node. It is answered by Leased or
// RequestFailed.
type RequestConnection struct{ Over Path }

func (SendProbe) action()         {}
func (Connect) action()           {}
func (Rekey) action()             {}
func (Select) action()            {}
func (Announce) action()          {}
func (Release) action()           {}
func (RequestConnection) action() {}
