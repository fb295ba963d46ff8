package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/hashicorp/raft"
)

// simProver lets the nodes of a schedule say who they are instead of proving it:
// TLS took two fifths of a schedule's time. It checks what identity checks of
// names and ids. Some schedules are run with TLS all the same: see newSim.
type simProver struct{ name string }

func (p simProver) accept(ctx context.Context, raw net.Conn, self raft.ServerID) (link, error) {
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	peer, proto, target, err := hello(raw)
	if err != nil {
		return link{}, err
	}
	verdict := ""
	if proto == protoRaft && target != string(self) {
		err = fmt.Errorf("%w: %q, not %q", errOtherID, self, target)
		verdict = err.Error()
	}
	if _, werr := raw.Write(sentence(p.name, proto, verdict)); err == nil {
		err = werr
	}
	return link{raw, peer, proto}, err
}

func (p simProver) connect(ctx context.Context, raw net.Conn, target raft.ServerID, proto string) (link, error) {
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	if _, err := raw.Write(sentence(p.name, proto, string(target))); err != nil {
		return link{}, err
	}
	peer, _, verdict, err := hello(raw)
	switch {
	case err != nil:
	case verdict != "":
		err = errors.New(verdict)
	case peer != memberName(target):
		err = fmt.Errorf("dialled node %q and found node %q there", memberName(target), peer)
	}
	return link{raw, peer, proto}, err
}

// sentence is three words with their length before them.
func sentence(words ...string) []byte {
	text := strings.Join(words, " ")
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(text))), text...)
}

func hello(r io.Reader) (who, proto, more string, err error) {
	var size [2]byte
	if _, err = io.ReadFull(r, size[:]); err != nil {
		return "", "", "", err
	}
	text := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err = io.ReadFull(r, text); err != nil {
		return "", "", "", err
	}
	words := strings.SplitN(string(text), " ", 3)
	if len(words) != 3 {
		return "", "", "", errFrame
	}
	return words[0], words[1], words[2], nil
}
