package radius

import "sync/atomic"

// counter names what became of a request.
type counter uint8

const (
	_ counter = iota
	accept
	reject
	rejectNoDevice
	status
	duplicate
	dropNotHolder
	dropNoSession
	dropRate
	dropFormat
	dropCode
	dropNoAuthenticator
	dropAuthenticator
	writeError

	numCounters
)

var counterNames = [numCounters]string{
	accept:              "accept",
	reject:              "reject",
	rejectNoDevice:      "reject-no-device",
	status:              "status",
	duplicate:           "duplicate",
	dropNotHolder:       "drop-not-holder",
	dropNoSession:       "drop-no-session",
	dropRate:            "drop-rate",
	dropFormat:          "drop-format",
	dropCode:            "drop-code",
	dropNoAuthenticator: "drop-no-message-authenticator",
	dropAuthenticator:   "drop-message-authenticator",
	writeError:          "write-error",
}

type counters [numCounters]atomic.Uint64

func (c *counters) add(k counter) { c[k].Add(1) }

// Counters tells what became of requests, by reason. "drop-message-authenticator"
// is who doesn't have the secret.
func (s *Server) Counters() map[string]uint64 {
	m := make(map[string]uint64, numCounters)
	for k := accept; k < numCounters; k++ {
		m[counterNames[k]] = s.count[k].Load()
	}
	return m
}
