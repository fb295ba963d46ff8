package backup

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/cluster/state"
)

var made = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)

// history is a machine that has carried a few commands out, and its audit chain.
func history(t testing.TB, commands int) (*state.Machine, []*command.AuditEntry) {
	t.Helper()
	m := state.New()
	var chain []*command.AuditEntry
	for i := range commands {
		c := command.New("test", fmt.Sprint("request ", i), "tester", &command.PutSubscriber{
			Subscriber: &command.Subscriber{Imsi: fmt.Sprintf("46001%010d", i), State: command.DeviceState_ACTIVE}, AnyVersion: true,
		})
		c.LeaderTime = made.UnixNano() + int64(i)
		_, e, err := m.Apply(uint64(10+2*i), 3, command.Marshal(c))
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, e)
	}
	return m, chain
}

func each(chain []*command.AuditEntry) iter.Seq2[*command.AuditEntry, error] {
	return func(yield func(*command.AuditEntry, error) bool) {
		for _, e := range chain {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func identityOf(t testing.TB) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func written(t testing.TB, to age.Recipient, m *state.Machine, chain []*command.AuditEntry) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, []age.Recipient{to}, Source{Node: "n1", Created: made, Machine: m, Audit: each(chain)}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// opened is the archive in a backup.
func opened(t testing.TB, id age.Identity, file []byte) []byte {
	t.Helper()
	r, err := age.Decrypt(bytes.NewReader(file), id)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sealed(t testing.TB, to age.Recipient, archive []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := age.Encrypt(&b, to)
	if err == nil {
		_, err = w.Write(archive)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRoundTrip(t *testing.T) {
	id, second := identityOf(t), identityOf(t)
	m, chain := history(t, 20)
	var b bytes.Buffer
	if err := Write(&b, []age.Recipient{id.Recipient(), second.Recipient()}, Source{Node: "n1", Created: made, Machine: m, Audit: each(chain)}); err != nil {
		t.Fatal(err)
	}
	for _, i := range []age.Identity{id, second} {
		var got []*command.AuditEntry
		manifest, back, err := Read(bytes.NewReader(b.Bytes()), []age.Identity{i}, func(e *command.AuditEntry) error {
			got = append(got, e)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if back.Digest() != m.Digest() || back.Index() != 48 {
			t.Errorf("the state at %d is another than that at %d", back.Index(), m.Index())
		}
		if !slices.EqualFunc(got, chain, func(a, b *command.AuditEntry) bool { return proto.Equal(a, b) }) {
			t.Errorf("%d entries of the chain, other than the %d that were written", len(got), len(chain))
		}
		if manifest.Node != "n1" || !manifest.Created.Equal(made) || manifest.Index != 48 || manifest.Term != 3 || manifest.Counts.Subscribers != 20 || manifest.AuditSequence != 20 || manifest.Epoch != 1 {
			t.Errorf("%+v", manifest)
		}
	}
	if bytes.Contains(b.Bytes(), []byte("46001000")) {
		t.Error("it is not encrypted")
	}
}

// The chain is in several parts when it is long.
func TestLongChain(t *testing.T) {
	id := identityOf(t)
	m := state.New()
	var chain []*command.AuditEntry
	for i := range 6 {
		c := command.New("test", fmt.Sprint(i), "tester", &command.RecordDecision{Kind: "test", Subject: strings.Repeat("x", maxAuditFile/2)})
		_, e, err := m.Apply(uint64(i+1), 1, command.Marshal(c))
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, e)
	}
	file := written(t, id.Recipient(), m, chain)
	parts := 0
	for in := tar.NewReader(bytes.NewReader(opened(t, id, file))); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(h.Name, dirAudit) {
			parts++
		}
	}
	n := 0
	if _, _, err := Read(bytes.NewReader(file), []age.Identity{id}, func(*command.AuditEntry) error { n++; return nil }); err != nil || n != 6 || parts != 3 {
		t.Errorf("%d entries in %d parts, %v", n, parts, err)
	}
}

func TestWriteRefuses(t *testing.T) {
	id := identityOf(t)
	m, chain := history(t, 3)
	broken := errors.New("the disk is gone")
	failing := func(yield func(*command.AuditEntry, error) bool) { yield(nil, broken) }
	for name, tc := range map[string]struct {
		to   []age.Recipient
		from Source
		want string
	}{
		"nothing":       {[]age.Recipient{id.Recipient()}, Source{Machine: state.New(), Audit: each(nil)}, ErrEmpty.Error()},
		"nobody":        {nil, Source{Machine: m, Audit: each(chain)}, "never written in clear"},
		"a broken disk": {[]age.Recipient{id.Recipient()}, Source{Machine: m, Audit: failing}, broken.Error()},
	} {
		var b bytes.Buffer
		err := Write(&b, tc.to, tc.from)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
		if _, _, err := Read(&b, []age.Identity{id}, nil); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: what was written reads as a backup: %v", name, err)
		}
	}
}

// A backup that is cut off anywhere, that has another bit anywhere, or something
// behind its end, is none.
func TestDamage(t *testing.T) {
	id := identityOf(t)
	m, chain := history(t, 3)
	file := written(t, id.Recipient(), m, chain)
	refused := func(what string, b []byte) {
		t.Helper()
		_, got, err := Read(bytes.NewReader(b), []age.Identity{id}, nil)
		if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrIdentity) || got != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for n := range len(file) {
		if n%7 == 0 || n > len(file)-40 { // a tar archive is zeros, mostly
			refused(fmt.Sprintf("cut off at %d of %d", n, len(file)), file[:n])
		}
	}
	for n := 0; n < len(file); n += 5 {
		b := bytes.Clone(file)
		b[n] ^= 1 << (n % 8)
		refused(fmt.Sprintf("bit %d of byte %d changed", n%8, n), b)
	}
	refused("longer", append(bytes.Clone(file), 0))
	refused("longer within", sealed(t, id.Recipient(), append(opened(t, id, file), 0)))
	refused("cut off at a place that encryption doesn't know", sealed(t, id.Recipient(), opened(t, id, file)[:2048]))
}

// Whoever has a recipient can make an archive; what is in it must still be true.
func TestLies(t *testing.T) {
	id := identityOf(t)
	m, chain := history(t, 4)
	type content struct{ name, data string }
	var good []content
	for in := tar.NewReader(bytes.NewReader(opened(t, id, written(t, id.Recipient(), m, chain)))); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		data, rerr := io.ReadAll(in)
		if err != nil || rerr != nil {
			t.Fatal(err, rerr)
		}
		good = append(good, content{h.Name, string(data)})
	}
	if len(good) != 4 {
		t.Fatalf("%d files", len(good))
	}
	entries := func(chain ...*command.AuditEntry) string {
		var b bytes.Buffer
		for _, e := range chain {
			if _, err := protodelim.MarshalTo(&b, e); err != nil {
				t.Fatal(err)
			}
		}
		return b.String()
	}
	manifest := func(change func(*Manifest)) string {
		var m Manifest
		if err := json.Unmarshal([]byte(good[3].data), &m); err != nil {
			t.Fatal(err)
		}
		change(&m)
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	changed := proto.CloneOf(chain[1])
	changed.Result = []byte("another")
	other, _ := history(t, 3)
	var otherState bytes.Buffer
	if err := other.WriteSnapshot(&otherState); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		change func(files []content) []content
		want   string // "" if it is true
	}{
		"the truth": {func(f []content) []content { return f }, ""},
		"the chain in two parts": {func(f []content) []content {
			return slices.Concat(f[:2], []content{{"audit/1", entries(chain[:2]...)}, {"audit/2", entries(chain[2:]...)}}, f[3:])
		}, ""},
		"no version":                    {func(f []content) []content { return f[1:] }, "stands in the place of sealedge-backup"},
		"another version":               {func(f []content) []content { f[0].data = "2\n"; return f }, "version"},
		"no state":                      {func(f []content) []content { return slices.Delete(f, 1, 2) }, "stands in the place of state"},
		"half a state":                  {func(f []content) []content { f[1].data = f[1].data[:len(f[1].data)/2]; return f }, "snapshot refused"},
		"an older state":                {func(f []content) []content { f[1].data = otherState.String(); return f }, "the audit chain ends at 4"},
		"no chain":                      {func(f []content) []content { return slices.Delete(f, 2, 3) }, "the audit chain ends at 0"},
		"a chain without its start":     {func(f []content) []content { f[2].data = entries(chain[1:]...); return f }, "audit chain"},
		"a chain without its end":       {func(f []content) []content { f[2].data = entries(chain[:3]...); return f }, "the audit chain ends at 3"},
		"a chain with a gap":            {func(f []content) []content { f[2].data = entries(chain[0], chain[2], chain[3]); return f }, "stands in its place"},
		"another result in the chain":   {func(f []content) []content { f[2].data = entries(chain[0], changed, chain[2], chain[3]); return f }, "content was changed"},
		"half an entry":                 {func(f []content) []content { f[2].data = f[2].data[:len(f[2].data)-1]; return f }, "unexpected EOF"},
		"an entry of any size":          {func(f []content) []content { f[2].data = "\xff\xff\xff\xff\x7f"; return f }, "exceeded"},
		"no manifest":                   {func(f []content) []content { return f[:3] }, "damaged"},
		"a manifest that is none":       {func(f []content) []content { f[3].data = "{"; return f }, "manifest.json"},
		"a manifest of another digest":  {func(f []content) []content { f[3].data = manifest(func(m *Manifest) { m.Digest = "00" }); return f }, "its manifest says"},
		"a manifest of another term":    {func(f []content) []content { f[3].data = manifest(func(m *Manifest) { m.Term++ }); return f }, "its manifest says"},
		"a manifest of another epoch":   {func(f []content) []content { f[3].data = manifest(func(m *Manifest) { m.Epoch++ }); return f }, "its manifest says"},
		"something after the manifest":  {func(f []content) []content { return append(f, content{"audit/5", ""}) }, "something follows"},
		"the manifest before the chain": {func(f []content) []content { f[2], f[3] = f[3], f[2]; return f }, "the audit chain ends at 0"},
	} {
		var b bytes.Buffer
		w := &archive{tar.NewWriter(&b), made}
		for _, f := range tc.change(slices.Clone(good)) {
			if err := w.file(f.name, []byte(f.data)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		_, got, err := Read(bytes.NewReader(sealed(t, id.Recipient(), b.Bytes())), []age.Identity{id}, nil)
		switch {
		case tc.want == "" && (err != nil || got.Digest() != m.Digest()):
			t.Errorf("%s: %v", name, err)
		case tc.want != "" && (!errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), tc.want) || got != nil):
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What takes the entries may refuse them: that is its error, not the backup's.
func TestRefusedByWhoTakesTheChain(t *testing.T) {
	id := identityOf(t)
	m, chain := history(t, 3)
	full := errors.New("no space left")
	_, _, err := Read(bytes.NewReader(written(t, id.Recipient(), m, chain)), []age.Identity{id}, func(e *command.AuditEntry) error {
		if e.Sequence == 2 {
			return full
		}
		return nil
	})
	if !errors.Is(err, full) || errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
}

func TestRecipients(t *testing.T) {
	good := identityOf(t).Recipient().String()
	for _, tc := range []struct {
		texts []string
		ok    bool
	}{
		{[]string{good}, true},
		{[]string{good, identityOf(t).Recipient().String()}, true},
		{nil, false},
		{[]string{""}, false},
		{[]string{good, " "}, false},
		{[]string{"# " + good}, false},
		{[]string{good + "\n" + good}, false},
		{[]string{good[:20]}, false},
		{[]string{identityOf(t).String()}, false},
	} {
		if got, err := Recipients(tc.texts); (err == nil) != tc.ok || tc.ok && len(got) != len(tc.texts) {
			t.Errorf("%q: %d, %v", tc.texts, len(got), err)
		}
	}
}

// FuzzRead reads archives that somebody sealed, for a recipient that is no secret.
// What is taken for a backup is one: written anew, it says the same.
func FuzzRead(f *testing.F) {
	id := identityOf(f)
	m, chain := history(f, 3)
	good := opened(f, id, written(f, id.Recipient(), m, chain))
	f.Add(good)
	f.Add(good[:1024])
	f.Add(good[:len(good)/2])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, archive []byte) {
		var got []*command.AuditEntry
		manifest, back, err := Read(bytes.NewReader(sealed(t, id.Recipient(), archive)), []age.Identity{id}, func(e *command.AuditEntry) error {
			got = append(got, e)
			return nil
		})
		if err != nil {
			if back != nil {
				t.Error("a machine beside an error")
			}
			return
		}
		var b bytes.Buffer
		if back.Index() == 0 {
			return // never written, as there is nothing in it
		}
		if err := Write(&b, []age.Recipient{id.Recipient()}, Source{Node: manifest.Node, Created: manifest.Created, Machine: back, Audit: each(got)}); err != nil {
			t.Fatal(err)
		}
		again, _, err := Read(&b, []age.Identity{id}, nil)
		manifest.Created, again.Created = time.Time{}, time.Time{} // its zone is not kept
		if err != nil || again != manifest {
			t.Errorf("%+v became %+v, %v", manifest, again, err)
		}
	})
}
