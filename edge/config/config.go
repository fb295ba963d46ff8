// Package config reads the gateway daemon's configuration: one YAML file, over
// which environment variables and then flags are laid.
//
// It is strict. An unknown or repeated key, a missing or impossible value, or
// values that contradict each other are mistakes; all of them are reported at
// once, each with its file and line (or variable, or flag), the key and the
// mend. What Load returns is typed, complete and consistent in itself; Check
// goes on to look at the files that it names.
//
// Every key can be set as SEALEDGE_ and its path in capitals, with "_" for ".":
// SEALEDGE_CLUSTER_LISTEN. Lists are separated by commas there. reference.yaml
// documents all keys and is what Reference returns.
package config

import (
	"log/slog"
	"net/netip"
	"time"

	"github.com/sealedge/sealedge/cluster/address"
	"github.com/sealedge/sealedge/edge/inner"
)

// Config is the whole configuration of one node.
//
// The tags say the key, whether it is required, and the range of a number or
// time span ("0,60s..1h" also takes 0), or the family of an address, and whether the key
// is taken up while a node runs. Paths are
// absolute or relative to the configuration file in the file, and ready to open
// here.
type Config struct {
	Node      Node      `key:"node"`
	Cluster   Cluster   `key:"cluster"`
	TLS       Identity  `key:"tls"`
	Gateway   Gateway   `key:"gateway"`
	Inner     Inner     `key:"inner"`
	RADIUS    RADIUS    `key:"radius"`
	Fallback  Fallback  `key:"fallback"`
	Grant     KeyFile   `key:"grant"`
	Secrets   KeyFile   `key:"secrets"`
	Upstream  Upstream  `key:"upstream"`
	Intranet  Intranet  `key:"intranet"`
	Admin     Admin     `key:"admin"`
	Telemetry Telemetry `key:"telemetry"`
	Log       Log       `key:"log"`
}

// Node is this node.
type Node struct {
	Name    Name `key:"name,required"`
	DataDir Path `key:"data_dir,required"`
	// ListenAt are this machine's own addresses that the listeners are at whose address
	// names no host; none: all of the machine.
	ListenAt []netip.Addr `key:"listen_at"`
}

// Cluster is how the nodes find and time each other.
type Cluster struct {
	Listen            HostPort      `key:"listen,required"`
	Advertise         HostPort      `key:"advertise"` // empty in the file: as listed in Peers
	Peers             []Peer        `key:"peers,required"`
	Bootstrap         bool          `key:"bootstrap"`
	PreferredLeader   Name          `key:"preferred_leader"` // empty: none
	HeartbeatTimeout  time.Duration `key:"heartbeat_timeout" range:"50ms..10s"`
	ElectionTimeout   time.Duration `key:"election_timeout" range:"50ms..10s"`
	LeaderLease       time.Duration `key:"leader_lease" range:"10ms..10s"`
	ApplyTimeout      time.Duration `key:"apply_timeout" range:"100ms..1m"`
	DiskStall         time.Duration `key:"disk_stall" range:"50ms..1m"`
	SnapshotThreshold uint64        `key:"snapshot_threshold" range:"64..10000000"`
	AdmissionStop     int           `key:"admission_stop" range:"1..100"`
}

// Identity is a certificate with its key, and the CA that the other side's is
// verified by.
type Identity struct {
	CA   Path `key:"ca,required"`
	Cert Path `key:"cert,required"`
	Key  Path `key:"key,required"`
}

// Gateway is what the carrier and fallback peers see. Its only address moves to the
// leader; several are spread over the nodes.
type Gateway struct {
	Name      Name         `key:"name"`
	Address   netip.Addr   `key:"address,required" range:"IPv4"`
	Addresses []Outer      `key:"addresses"` // further ones
	Driver    address.Kind `key:"address_driver"`
	Interface string       `key:"interface"` // of address.Netlink
	// Bind is where the sockets are; invalid: at the addresses themselves.
	Bind      netip.Addr `key:"bind" range:"IPv4"`
	Service   Service    `key:"service"` // of address.Service
	GTP       GTP        `key:"gtp"`
	WireGuard WireGuard  `key:"wireguard"`
}

// All lists the addresses, the first first.
func (g Gateway) All() []Outer {
	return append([]Outer{{Name: g.Name, Address: g.Address}}, g.Addresses...)
}

// BoundTo is where the sockets of an address are.
func (g Gateway) BoundTo(o Outer) netip.Addr {
	if g.Bind.IsValid() {
		return g.Bind
	}
	return o.Address
}

// Service is the Service of Kubernetes that brings packets.
type Service struct {
	EndpointSlice string `key:"endpoint_slice"` // its name, in the pod's namespace
	Machine       string `key:"machine"`        // the Kubernetes node that the pod is on
}

// GTP is the carrier's side, GTP-C on UDP 2123 and GTP-U on UDP 2152.
type GTP struct {
	AllowedPeers []netip.Prefix `key:"allowed_peers,required" reload:"yes"`
	T3           time.Duration  `key:"t3" range:"100ms..20s"` // T3-RESPONSE, TS 29.274 7.6
	N3           int            `key:"n3" range:"1..10"`      // N3-REQUESTS
	Answers      int            `key:"answers_per_second" range:"1..100000" reload:"yes"`
	Creates      int            `key:"creates_per_second" range:"1..1000000" reload:"yes"` // of all peers together
	MaxSessions  int            `key:"max_sessions" range:"1..10000000" reload:"yes"`      // of the cluster; beyond it Creates are refused
	// EchoInterval and UserEchoInterval are how often a peer of sessions is asked
	// for an Echo Response, over GTP-C and GTP-U. 0: never.
	EchoInterval     time.Duration `key:"echo_interval" range:"0,60s..1h"`
	UserEchoInterval time.Duration `key:"user_echo_interval" range:"0,60s..1h"`
	FailedPath       FailedPath    `key:"failed_path"`
	FailedPathKeep   time.Duration `key:"failed_path_keep" range:"0,1s..24h"` // with KeepSessions; 0: for ever
	SequenceNumbers  bool          `key:"sequence_numbers"`                   // on G-PDUs that leave
}

// WireGuard is the fallback path.
type WireGuard struct {
	On             bool          `key:"enabled"`
	Port           uint16        `key:"port" range:"1..65535"`
	PrivateKeyFile Path          `key:"private_key_file"`
	Silence        time.Duration `key:"silence" range:"1s..5m"`
}

// Inner is the network inside the tunnels.
type Inner struct {
	// Addresses are the gateway's, of both families.
	Addresses        []netip.Addr `key:"addresses,required"`
	Driver           inner.Driver `key:"driver"`
	Interface        string       `key:"interface"` // of inner.TUN
	MTU              int          `key:"mtu" range:"576..9000"`
	ConnsPerTerminal int          `key:"conns_per_terminal" range:"4..10000"`
	PhoneAPI         InnerAPI     `key:"phone_api"`
	BarrelAPI        InnerAPI     `key:"barrel_api"`
}

// InnerAPI is one service at the gateway's inner addresses.
type InnerAPI struct {
	Port uint16 `key:"port" range:"1..65535"`
	Cert Path   `key:"cert,required"`
	Key  Path   `key:"key,required"`
}

// RADIUS is where travel routers ask who may join their Wi-Fi, at the gateway's inner
// addresses. With port 0 they can't.
type RADIUS struct {
	Port     uint16 `key:"port" range:"0..65535"`
	Requests int    `key:"requests_per_second" range:"1..10000"` // of one router
}

// Enabled tells whether routers can ask.
func (r RADIUS) Enabled() bool { return r.Port != 0 }

// Fallback is where terminals outside of the tunnels ask for the fallback path. With an
// empty Listen they can ask inside of them only.
type Fallback struct {
	Listen HostPort `key:"listen"`
	Cert   Path     `key:"cert"`
	Key    Path     `key:"key"`
	// Endpoints are the gateway addresses as terminals see them, where that isn't as
	// the gateway does.
	Endpoints   []Endpoint `key:"endpoints"`
	Requests    int        `key:"requests_per_minute" range:"1..60000"` // of one source address
	Connections int        `key:"connections" range:"16..65536"`
}

// Enabled tells whether terminals can ask outside of the tunnels.
func (f Fallback) Enabled() bool { return f.Listen != "" }

// FallbackEndpoints lists where terminals reach each gateway address over the fallback
// path, as host:port.
func (c *Config) FallbackEndpoints() (all []string) {
next:
	for _, o := range c.Gateway.All() {
		for _, e := range c.Fallback.Endpoints {
			if e.Name == o.Name {
				all = append(all, string(e.Address))
				continue next
			}
		}
		all = append(all, netip.AddrPortFrom(o.Address, c.Gateway.WireGuard.Port).String())
	}
	return all
}

// KeyFile names a file with one key.
type KeyFile struct {
	KeyFile Path `key:"key_file,required"`
}

// Upstream is the seal server.
type Upstream struct {
	URL        URL           `key:"url,required"`
	ServerName string        `key:"server_name"` // in its certificate; empty in the file: the host of URL
	CA         Path          `key:"ca,required"`
	Cert       Path          `key:"cert,required"`
	Key        Path          `key:"key,required"`
	Timeout    time.Duration `key:"timeout" range:"100ms..2m"`
	MaxConns   int           `key:"max_conns" range:"1..10000"`
}

// Intranet is where the seal server delivers disconnects.
type Intranet struct {
	Listen    HostPort   `key:"listen,required"`
	CA        Path       `key:"ca,required"`
	Cert      Path       `key:"cert,required"`
	Key       Path       `key:"key,required"`
	ClientURI Identifier `key:"client_uri"` // in the certificate of who may
}

// Admin is where operators call.
type Admin struct {
	Listen HostPort `key:"listen,required"`
	CA     Path     `key:"ca,required"`
	Cert   Path     `key:"cert,required"`
	Key    Path     `key:"key,required"`
	// RequestsPerSecond is what one caller, or one token, may ask of this node; 0: no
	// limit. Streams is how many requests of all callers may be followed at a time.
	RequestsPerSecond int `key:"requests_per_second" range:"0..1000000"`
	Streams           int `key:"streams" range:"1..10000"`
}

// Telemetry is where monitoring asks, and what it is sent. An empty address: nowhere.
type Telemetry struct {
	Listen   HostPort `key:"listen"` // metrics and health
	Profiles HostPort `key:"pprof"`  // on loopback
	Traces   Traces   `key:"traces"`
}

// Log is what goes to standard error.
type Log struct {
	Level  slog.Level `key:"level" reload:"yes"`
	Format Format     `key:"format"`
}

// defaults are the values of the keys that needn't be set. reference.yaml
// states them too; a test holds the two equal.
func defaults() Config {
	return Config{
		Cluster: Cluster{
			Bootstrap: true, HeartbeatTimeout: 200 * time.Millisecond, ElectionTimeout: 200 * time.Millisecond,
			LeaderLease: 100 * time.Millisecond, ApplyTimeout: 3 * time.Second, DiskStall: 500 * time.Millisecond, SnapshotThreshold: 8192, AdmissionStop: 85,
		},
		Gateway: Gateway{
			Name: "gw1", Driver: address.Loopback,
			GTP: GTP{
				T3: 3 * time.Second, N3: 3, Answers: 100, Creates: 10_000, MaxSessions: 200_000, EchoInterval: time.Minute, UserEchoInterval: time.Minute,
				FailedPath: KeepSessions, FailedPathKeep: 10 * time.Minute,
			},
			WireGuard: WireGuard{Port: 51820, Silence: 5 * time.Second},
		},
		Inner: Inner{
			Driver: inner.Netstack, Interface: inner.DefaultInterface, MTU: 1400, ConnsPerTerminal: 64,
			PhoneAPI: InnerAPI{Port: 443}, BarrelAPI: InnerAPI{Port: 5684},
		},
		RADIUS:    RADIUS{Requests: 20},
		Fallback:  Fallback{Requests: 60, Connections: 1024},
		Upstream:  Upstream{Timeout: 10 * time.Second, MaxConns: 64},
		Intranet:  Intranet{ClientURI: "sealedge://seal-server"},
		Admin:     Admin{RequestsPerSecond: 200, Streams: 64},
		Telemetry: Telemetry{Traces: Traces{Ratio: 1}},
		Log:       Log{Level: slog.LevelInfo, Format: "text"},
	}
}
