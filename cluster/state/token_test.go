package state

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/command"
)

// token issues or revokes one of a few, or tells of calls.
func (w *world) token() proto.Message {
	id := pick(w, "t1", "t2", "t3")
	switch {
	case w.rarely():
		return &command.RecordCalls{Lost: w.id(3)}
	case w.log.m.Token(id) != nil && w.choose(3) > 0:
		return &command.RevokeToken{Id: id}
	}
	return &command.PutToken{Token: &command.Token{
		Id: id, Owner: pick(w, "ann", "bob", "eve"), SecretSha256: bytes.Repeat(w.content(), 32), Roles: []string{"viewer"},
		Expires: w.log.now.Add(time.Duration(w.choose(600)) * time.Second).UnixNano(),
	}}
}

func TestTokensOfOneAreBounded(t *testing.T) {
	l := newLog(t)
	put := func(i int, owner string, for_ time.Duration) command.Code {
		t.Helper()
		return l.apply(command.New("test", "", owner, &command.PutToken{Token: &command.Token{
			Id: fmt.Sprintf("%s-%d", owner, i), Owner: owner, SecretSha256: make([]byte, 32), Roles: []string{"viewer"}, Expires: l.now.Add(for_).UnixNano(),
		}})).Code
	}
	for i := range command.TokensOf {
		if c := put(i, "li", time.Hour); c != command.Code_OK {
			t.Fatal(i, c)
		}
	}
	if c := put(1000, "li", time.Hour); c != command.Code_CONFLICT {
		t.Errorf("one more: %v", c)
	}
	if c := put(0, "wu", time.Hour); c != command.Code_OK {
		t.Errorf("another's: %v", c)
	}
	l.now = l.now.Add(time.Hour)
	if c := put(1000, "li", time.Hour); c != command.Code_OK {
		t.Errorf("when the others have expired: %v", c)
	}
	if n := l.m.tokens.len(); n != 1 {
		t.Errorf("%d tokens are left", n)
	}
}

func TestSnapshotsOfTokens(t *testing.T) {
	for name, token := range map[string]*command.Token{
		"no id":     {Owner: "li", SecretSha256: make([]byte, 32), Roles: []string{"viewer"}},
		"no owner":  {Id: "t", SecretSha256: make([]byte, 32), Roles: []string{"viewer"}},
		"no secret": {Id: "t", Owner: "li", Roles: []string{"viewer"}},
		"no role":   {Id: "t", Owner: "li", SecretSha256: make([]byte, 32)},
	} {
		m := New()
		m.tokens.set(token.Id, token)
		var b bytes.Buffer
		if err := m.WriteSnapshot(&b); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadSnapshot(&b); err == nil {
			t.Errorf("a token with %s is read", name)
		}
	}
}
