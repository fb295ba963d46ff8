package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/policy/bundle"
)

// The commands of a population: as the gateway makes them when a carrier
// attaches everybody on the allow-list.

// policyCommand puts the first policy in force.
func policyCommand(file string) (*command.Command, error) {
	doc, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	_, pools, err := bundle.Parse(file, doc)
	if err != nil {
		return nil, err
	}
	return command.New("bench", "policy", "bench", &command.PutPolicy{Document: doc, Pools: pools}), nil
}

// subscriberCommand puts subscriber i on the allow-list.
func subscriberCommand(i int) *command.Command {
	return command.New("bench", fmt.Sprintf("subscriber-%d", i), "bench", &command.PutSubscriber{
		AnyVersion: true,
		Subscriber: &command.Subscriber{
			Imsi: imsiOf(i), Msisdn: msisdnOf(i), Imeis: []string{imeiOf(i)}, Apns: []string{apnName},
			WifiMac: macOf(i), State: command.DeviceState_ACTIVE, Label: "bench",
		},
	})
}

// sessionCommand attaches subscriber i, whose record is at its first version
// under the first policy.
func sessionCommand(i int) *command.Command {
	peer := carrierAddress.AsSlice()
	entropy := binary.BigEndian.AppendUint64(make([]byte, 8, 16), uint64(i))
	return command.New("gtpc", fmt.Sprintf("%032x", i), "carrier:"+carrierAddress.String(), &command.OpenSession{
		Imsi: imsiOf(i), Apn: apnName, PolicyRevision: 1, SubscriberVersion: 1, Entropy: entropy, GatewayAddress: "gw1",
		Gtp: &command.GTPPath{
			Version: 2, InterfaceType: 6, Ebi: 5,
			PeerC:   &command.FTEID{Teid: uint32(2*i + 1), Address: peer},
			PeerU:   &command.FTEID{Teid: uint32(2*i + 2), Address: peer},
			RatType: 6, ServingPlmn: "00101", UserLocation: make([]byte, 13), Imei: imeiOf(i),
			AmbrUpKbps: 50_000, AmbrDownKbps: 100_000, Qci: 9, Arp: 9, PeerRestartKnown: true,
		},
	})
}

// stamped is a command as the leader writes it into the log.
func stamped(c *command.Command, at time.Time) []byte {
	c.LeaderTime = at.UnixNano()
	return command.Marshal(c)
}
