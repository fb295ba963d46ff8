// Package pathwatch decides, on a terminal, which path carries its packets: the
// carrier's private APN, or the fallback over WireGuard where that fails. It is for
// makers of apps: a machine without a clock, a socket or a goroutine of its own. The
// app tells it what happened (Event), does what it says (Action), and calls it again
// when Next says so.
//
// The watcher doesn't believe in radio bars. A path lives if the gateway itself answers
// probes through it (package wire: MarshalProbe, ParseProbeAnswer), which a node does
// only while it holds the gateway address.
//
// # Rules
//
//  1. The selected path is probed every second while a seal is being used or something
//     waits for an answer, and every 15 s otherwise. A probe that isn't answered within a
//     second is followed by another at once. Three in a row make the path lost: 4 s after
//     it died at the latest while in use, 18 s when idle. A barrel's lease lasts 10 s.
//  2. An answer that comes late is a sign of life all the same.
//  3. Make before break: a path is selected only when the gateway has answered through it
//     within the last two seconds, and said that it admits the terminal there.
//  4. The fallback is brought up as soon as one probe of the carrier's path goes
//     unanswered, and when a use begins; it is kept for a minute after it was last of use,
//     and probed meanwhile, every 5 s during a use.
//  5. The carrier's path is preferred: the watcher returns to it when it has answered for
//     10 s without a loss. If it is lost again within 5 minutes of a return, the next
//     return takes twice as long, up to 5 minutes.
//  6. Never are two paths selected within 3 s.
//  7. When neither path lives, both are tried in turn and probed. What answers first is
//     selected. A bearer through which nothing was heard for 30 s is made anew: the gateway
//     may have given it up without the terminal's hearing of it. Tries that fail become
//     rarer, down to one in 2 minutes while the fallback carries, and in 15 s otherwise.
//  8. A fallback that doesn't answer for 3 s shakes hands anew (after a failover, the new
//     holder of the gateway address has none of the old one's sessions), then every 5 s; after
//     10 s the terminal asks for a new connection, since keys or endpoints may be others.
//  9. The connection (lease) for the fallback is asked for while the carrier's path still
//     lives, and renewed when two thirds of its time are over.
//  10. The gateway sends to the terminal by the path that the terminal's data last came
//     by. Probes are no data. So after a selection, and whenever an answer says that the
//     selected path isn't the active one, the app is told to announce itself, that is to
//     send any packet that isn't a probe. So it is on a fallback that answers but doesn't
//     admit the terminal, while no path carries: it may be that nobody asked to be admitted.
package pathwatch
