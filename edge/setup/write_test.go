package setup

import (
	"os"
	"path/filepath"
	"testing"
)

// A disk that fills up half-way leaves nothing that looks like a cluster.
func TestWriteAllOrNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made")
	err := write(dir, []string{"pki", "data"}, []file{
		{name: "policy.yaml", content: []byte("x")},
		{name: "pki/a-key.pem", content: []byte("x"), private: true},
		{name: "nowhere/b.pem", content: []byte("x")}, // can't be written
	})
	if err == nil {
		t.Fatal("a file was written into a directory that isn't there")
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}
