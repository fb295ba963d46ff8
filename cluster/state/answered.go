package state

import (
	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
)

// Answered returns the remembered result of a client's request, nil when there
// is none or none any more. A proposer asks it before deciding a repeated
// request anew: what the decision was based on may have changed since, the
// answer must not.
func (m *Machine) Answered(clientID, requestID string) *command.Result {
	r := m.remembered.get(pair{clientID, requestID})
	if r == nil {
		return nil
	}
	result := new(command.Result)
	if err := proto.Unmarshal(r.GetResult(), result); err != nil {
		return nil // the machine wrote these bytes itself
	}
	return result
}
