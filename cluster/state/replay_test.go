package state

import (
	"bufio"
	"encoding/hex"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
)

const (
	replayFile   = "testdata/replay.log"
	releasedFile = "testdata/replay-v0.1.0.log" // as that release recorded it; never anew
)

var recordReplay = flag.Bool("replay", false, "record "+replayFile+" anew: only before a release that other versions must agree with")

// TestReplay applies a log that was recorded once and compares every link of
// the audit chain. It fails when a build would answer an old command in another
// way, be it in the words of a refusal: two versions in one cluster would then
// have different chains. What a command does may change with a new level only.
func TestReplay(t *testing.T) {
	if *recordReplay {
		record(t)
	}
	carriedOut := replay(t, replayFile)
	for number, name := range command.Type_name {
		if number != 0 && !carriedOut[command.Type(number)] {
			t.Errorf("the log has no %s that was carried out", name)
		}
	}
}

// TestReplayOfReleases does so with the logs that releases left.
func TestReplayOfReleases(t *testing.T) {
	if carriedOut := replay(t, releasedFile); len(carriedOut) < 30 || carriedOut[command.Type_RAISE_LEVEL] {
		t.Errorf("%d types were carried out, or one of a later level: %v", len(carriedOut), carriedOut)
	}
}

// replay applies a recorded log, and tells what was carried out.
func replay(t *testing.T, file string) map[command.Type]bool {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m := New()
	carriedOut := map[command.Type]bool{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		raw, hash, ok := strings.Cut(lines.Text(), " ")
		b, err := hex.DecodeString(raw)
		if !ok || err != nil {
			t.Fatalf("line %d: %v", m.Index()+1, err)
		}
		result, entry, err := m.Apply(m.Index()+1, 1, b)
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(entry.Hash); got != hash {
			t.Fatalf("entry %d of the log is answered in another way than when it was recorded: now %v", entry.Index, result)
		}
		if c, _, _ := command.Decode(b); result.Code == command.Code_OK {
			carriedOut[c.Type] = true
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return carriedOut
}

func record(t *testing.T) {
	t.Helper()
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 2026))
		w := newWorld(t, rng.IntN, false)
		w.log.loose = true // TestRandomCommands checks the invariants
		var out strings.Builder
		carriedOut := map[command.Type]bool{}
		for n := 0; n < 900 || n < 4_000 && len(carriedOut) < len(command.Type_name)-1; n++ {
			w.step()
			e := w.log.chain[len(w.log.chain)-1]
			fmt.Fprintf(&out, "%x %x\n", e.Command, e.Hash)
			c, _, _ := command.Decode(e.Command)
			r := new(command.Result)
			if err := proto.Unmarshal(e.Result, r); err != nil {
				t.Fatal(err)
			}
			if r.Code == command.Code_OK {
				carriedOut[c.Type] = true
			}
		}
		if len(carriedOut) < len(command.Type_name)-1 {
			continue // not every command was reached
		}
		if err := os.WriteFile(replayFile, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatal("no log has every command in it")
}
