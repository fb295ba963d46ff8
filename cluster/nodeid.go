package cluster

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/raft"
)

// A node's id is its name, '_', and 128 random bits in hexadecimal, made with its
// data directory. Raft knows nodes by it, so that a node whose disk was lost is
// not taken for the one that acknowledged and voted before; people and
// certificates know it by its name. A directory that is older than ids has its
// node's name for an id.
const idSeparator = "_"

// The id is kept in the log's own store, beside the vote: it can't outlive what
// it stands for. The file node-id tells it to people only.
var (
	keyNodeID = []byte("sealedge/node-id")
	keyJoined = []byte("sealedge/joined") // set once the node was a member
)

func newNodeID(name string) raft.ServerID {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return raft.ServerID(name + idSeparator + hex.EncodeToString(b[:]))
}

// memberName is the name of the node that has an id.
func memberName(id raft.ServerID) string {
	name, _, _ := strings.Cut(string(id), idSeparator)
	return name
}

// validNewID tells whether id is one that newNodeID makes for name.
func validNewID(id raft.ServerID, name string) bool {
	random, ok := strings.CutPrefix(string(id), name+idSeparator)
	raw, err := hex.DecodeString(random)
	return ok && err == nil && len(raw) == 16 && validName(name)
}

// lookUp reads a key of the stable store; nil if it isn't there. Stores don't
// agree on how to say so.
func lookUp(store raft.StableStore, key []byte) ([]byte, error) {
	v, err := store.Get(key)
	if err != nil && err.Error() == "not found" {
		return nil, nil
	}
	return v, err
}

// claimID reads the id of the node whose log the store is, or makes it with an
// empty one.
func claimID(store walStore, dataDir, name string) (raft.ServerID, error) {
	raw, err := lookUp(store, keyNodeID)
	if err != nil {
		return "", err
	}
	id := raft.ServerID(raw)
	if len(raw) == 0 {
		if id, err = firstID(store, dataDir, name); err != nil {
			return "", err
		}
		if err := store.Set(keyNodeID, []byte(id)); err != nil {
			return "", err
		}
	}
	if memberName(id) != name {
		return "", fmt.Errorf("the log in %s belongs to node %q, not to %q: each node needs its own", dataDir, memberName(id), name)
	}
	return id, os.WriteFile(filepath.Join(dataDir, "node-id"), []byte(id+"\n"), 0o600)
}

// firstID is the id of a log that has none yet.
func firstID(store walStore, dataDir, name string) (raft.ServerID, error) {
	last, err := store.LastIndex()
	if err != nil {
		return "", err
	}
	term, err := store.GetUint64([]byte("CurrentTerm")) // as Raft calls it
	if err != nil && err.Error() != "not found" {
		return "", err
	}
	if last > 0 || term > 0 {
		return raft.ServerID(name), nil
	}
	// Snapshots without the log: what was acknowledged after them is forgotten.
	left, err := os.ReadDir(filepath.Join(dataDir, "snapshots"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if len(left) > 0 {
		return "", fmt.Errorf("data directory %s has snapshots but has lost its log: move it away, and this node joins the cluster anew with an empty one", dataDir)
	}
	return newNodeID(name), nil
}
