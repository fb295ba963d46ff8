package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/hashicorp/raft"
	"go.opentelemetry.io/otel/trace"

	"github.com/sealedge/sealedge/cluster/command"
)

// Defaults of Config, chosen for nodes in one building: a failed leader is
// replaced within two to three heartbeat timeouts.
const (
	DefaultHeartbeatTimeout  = 200 * time.Millisecond
	DefaultElectionTimeout   = 200 * time.Millisecond
	DefaultLeaderLease       = 100 * time.Millisecond
	DefaultApplyTimeout      = 2 * time.Second
	DefaultDiskStall         = 500 * time.Millisecond
	DefaultSnapshotThreshold = 8192
	DefaultAdmissionStop     = 85
)

// MaxCommandSize is the longest command, in bytes of its envelope, that can be
// proposed. Heartbeats queue behind entries on a slow link, so entries are kept
// short.
const MaxCommandSize = 1 << 20

// Peer is a node that may be a member of the cluster.
type Peer struct {
	Name    string // as in its certificate's sealedge://node/<name>
	Address string // host:port that the other nodes dial
}

// Config says how a node runs. Zero values of the optional fields mean their
// defaults.
type Config struct {
	NodeName  string      // this node's name; must be in Peers
	DataDir   string      // this node's own directory; made if missing
	Listen    string      // host:port to listen on; optional, its Address in Peers; see Bind
	Advertise string      // host:port that others dial; optional, must be its Address in Peers
	Peers     []Peer      // all nodes, this one included; the same list on every node
	TLS       *tls.Config // own certificate, and the cluster's CA as RootCAs (and ClientCAs, if they differ)
	Bootstrap bool        // with an empty DataDir, begin a cluster if all Peers have an empty one

	// Bind opens the listener at Listen; optional, TCP at that address.
	Bind func(address string) (net.Listener, error)

	// Renew returns TLS as it is to be from now on; optional. It is called for each
	// new connection, so that certificates are replaced without a restart. While it
	// fails, or returns another node's certificate, the last good one is used.
	Renew func() (*tls.Config, error)

	// HeartbeatTimeout is the silence of the leader after which a follower stands
	// for election; ElectionTimeout the time an election may take. LeaderLease is
	// how long an acknowledgement fences for; it must be shorter than
	// HeartbeatTimeout, and clocks must not run apart by more than the difference.
	HeartbeatTimeout, ElectionTimeout, LeaderLease time.Duration

	// AddressLease is how long a node that doesn't lead may hold a gateway address
	// without hearing from the leader: see AddressLease. It should outlast an election,
	// so that the addresses of those that live are not disturbed by one; an address
	// whose holder died moves after it, and an eighth more. It must be the same on
	// every node. By default it is four times HeartbeatTimeout.
	AddressLease time.Duration

	// PreferredLeader is the name of the node that leads when all is well; optional. It
	// should be the same on every node. See Yields.
	PreferredLeader string

	SnapshotThreshold uint64        // log entries between snapshots, and kept after one
	ApplyTimeout      time.Duration // the longest that Propose and Barrier take
	DiskStall         time.Duration // the longest that a write to the log may take

	// AdmissionStop is how full the file system of DataDir may be, in percent,
	// before new sessions and uses are refused with command.ErrNoRoom. Default 85.
	AdmissionStop int

	// Fatal is called once, when the node must not go on: the disk failed or hung,
	// or the state machine met what it can't apply. By default it logs and exits
	// with status 1. If it returns, the node applies and proposes nothing more.
	Fatal   func(error)
	Logger  *slog.Logger // default slog.Default()
	Timings Timings
	// Tracer makes spans of proposals that are part of a trace; nil: none. It must not
	// block.
	Tracer trace.Tracer

	// Seams for tests.
	diskUsed   func(dir string) (percent int, err error)                   // of the file system of dir
	applies    uint32                                                      // the level of commands that the node says it applies; command.Level
	checkpoint uint64                                                      // entries between comparisons of the nodes' states; checkpointEvery
	disk       func(walStore) walStore                                     // put between the node and its log
	snapshots  func(raft.SnapshotStore) raft.SnapshotStore                 // put between the node and its snapshots
	store      walStore                                                    // instead of a raft-wal in DataDir; stays open
	now        func() time.Time                                            // the clock that commands are stamped by; time.Now
	judge      func(own int64) (stamp int64, ahead time.Duration)          // instead of looking at the other nodes' clocks
	listener   net.Listener                                                // instead of listening on Listen
	dial       func(ctx context.Context, address string) (net.Conn, error) // instead of TCP
	prover     prover                                                      // instead of TLS
	quiet      time.Duration                                               // instead of commitTimeout
	untraced   bool                                                        // it is a build from before frameTraced
}

// Timings hear how long things took. They are called by who did them, must not block,
// and may be nil.
type Timings struct {
	Append  func(time.Duration)        // entries to the log, until they were durable
	Apply   func(time.Duration)        // entries that were committed together, with their audit
	Propose func(time.Duration, error) // a command, from Propose to its result
}

func (c Config) withDefaults() (Config, error) {
	orDefault(&c.HeartbeatTimeout, DefaultHeartbeatTimeout)
	orDefault(&c.ElectionTimeout, max(DefaultElectionTimeout, c.HeartbeatTimeout))
	orDefault(&c.LeaderLease, min(DefaultLeaderLease, c.HeartbeatTimeout/2))
	orDefault(&c.AddressLease, 4*c.HeartbeatTimeout)
	orDefault(&c.ApplyTimeout, DefaultApplyTimeout)
	orDefault(&c.DiskStall, DefaultDiskStall)
	orDefault(&c.SnapshotThreshold, DefaultSnapshotThreshold)
	orDefault(&c.AdmissionStop, DefaultAdmissionStop)
	if c.diskUsed == nil {
		c.diskUsed = diskUsed
	}
	orDefault(&c.applies, command.Level)
	orDefault(&c.checkpoint, checkpointEvery)
	orDefault(&c.quiet, commitTimeout)
	orDefault(&c.Logger, slog.Default())
	c.Logger = c.Logger.With("node", c.NodeName)
	if c.Fatal == nil {
		logger := c.Logger
		c.Fatal = func(err error) {
			logger.Error("this node can't go on and stops", "error", err)
			os.Exit(1)
		}
	}
	if c.Bind == nil {
		c.Bind = func(address string) (net.Listener, error) { return net.Listen("tcp", address) }
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.dial == nil {
		c.dial = newDialer().dial
	}
	var errs []error
	self, ok := c.peer(c.NodeName)
	switch {
	case !ok:
		errs = append(errs, fmt.Errorf("node %q is not among the peers: add it, with the address that the others dial", c.NodeName))
	case c.Advertise == "":
		c.Advertise = self.Address
	case c.Advertise != self.Address:
		errs = append(errs, fmt.Errorf("advertised address %s is not this node's address %s in the list of peers: make them equal", c.Advertise, self.Address))
	}
	orDefault(&c.Listen, self.Address)
	names, addresses := map[string]bool{}, map[string]bool{}
	for _, p := range c.Peers {
		if !validName(p.Name) {
			errs = append(errs, fmt.Errorf("peer name %q: use 1 to 63 lower-case letters, digits, '-' and '.'", p.Name))
		}
		if _, _, err := net.SplitHostPort(p.Address); err != nil {
			errs = append(errs, fmt.Errorf("address of peer %q: %w", p.Name, err))
		}
		if names[p.Name] || addresses[p.Address] {
			errs = append(errs, fmt.Errorf("peer %q at %s is listed twice", p.Name, p.Address))
		}
		names[p.Name], addresses[p.Address] = true, true
	}
	if c.DataDir == "" {
		errs = append(errs, errors.New("no data directory"))
	}
	if c.LeaderLease >= c.HeartbeatTimeout {
		errs = append(errs, fmt.Errorf("leader lease %v must be shorter than the heartbeat timeout %v, or two nodes could hold an address at once", c.LeaderLease, c.HeartbeatTimeout))
	}
	return c, errors.Join(errs...)
}

func (c *Config) peer(name string) (Peer, bool) {
	for _, p := range c.Peers {
		if p.Name == name {
			return p, true
		}
	}
	return Peer{}, false
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// validName tells whether a node name can stand in a URI SAN and a file.
func validName(name string) bool {
	if len(name) == 0 || len(name) > 63 || name[0] == '.' || name[0] == '-' {
		return false
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return true
}
