package adminapi

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/sealedge/sealedge/cluster/chain"
	"github.com/sealedge/sealedge/cluster/command"
)

// AuditLine is one line of an exported audit chain. Command and Result are the
// raw bytes that the hash covers; the other fields are drawn from them for
// reading, and ParseAuditLine refuses a line where the two disagree.
type AuditLine struct {
	Sequence uint64    `json:"sequence"`
	Index    uint64    `json:"index"`
	Term     uint64    `json:"term"`
	Time     time.Time `json:"time"`
	Type     string    `json:"type"`
	Actor    string    `json:"actor"`
	Code     string    `json:"code"`
	Message  string    `json:"message,omitempty"`
	// Words says in one line what happened. An export has none: its lines are for
	// verifying, and words may change with any version.
	Words    string          `json:"words,omitempty"`
	Detail   json.RawMessage `json:"detail"`
	Command  string          `json:"command"`   // base64
	Result   string          `json:"result"`    // base64
	PrevHash string          `json:"prev_hash"` // hexadecimal
	Hash     string          `json:"hash"`      // hexadecimal
}

// AuditLineOf makes a line of an entry. Secrets in it are wrapped (see
// edge/keywrap) or hashed, so the line gives none away; the readable detail
// leaves what is kept of a terminal's password out altogether.
func AuditLineOf(e *command.AuditEntry) (AuditLine, error) {
	l, _, err := auditLine(e)
	return l, err
}

// AuditLineInWords is AuditLineOf, with the words.
func AuditLineInWords(e *command.AuditEntry) (AuditLine, error) {
	l, read, err := auditLine(e)
	if err == nil {
		l.Words = read.Words()
	}
	return l, err
}

func auditLine(e *command.AuditEntry) (AuditLine, *chain.Entry, error) {
	read, err := chain.Read(e)
	if err != nil {
		return AuditLine{}, nil, err
	}
	c, r := read.Command, read.Result
	detail, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(readable(read.Payload))
	if err != nil {
		return AuditLine{}, nil, fmt.Errorf("audit entry %d: %w", e.Sequence, err)
	}
	return AuditLine{
		Sequence: e.Sequence, Index: e.Index, Term: e.Term, Time: timeOf(c.LeaderTime),
		Type: c.Type.String(), Actor: c.Actor, Code: r.Code.String(), Message: r.Message, Detail: detail,
		Command: base64.StdEncoding.EncodeToString(e.Command), Result: base64.StdEncoding.EncodeToString(e.Result),
		PrevHash: hex.EncodeToString(e.PrevHash), Hash: hex.EncodeToString(e.Hash),
	}, read, nil
}

// readable is a payload as people read it: who authenticates how, but not what
// it is checked against.
func readable(payload proto.Message) proto.Message {
	switch p := payload.(type) {
	case *command.PutSubscriber:
		p = proto.CloneOf(p)
		hide(p.Subscriber)
		return p
	case *command.PutDevices:
		p = proto.CloneOf(p)
		hideAll(p)
		return p
	case *command.ProposeChange:
		p = proto.CloneOf(p)
		hideAll(p.Devices)
		return p
	}
	return payload
}

func hideAll(p *command.PutDevices) {
	for _, c := range p.GetChanges() {
		hide(c.GetSubscriber().GetSubscriber())
	}
}

func hide(s *command.Subscriber) {
	c := s.GetCredentials()
	if c == nil {
		return
	}
	c.PapSalt, c.PapHash = nil, nil // the iterations tell that there is a hash
	if len(c.ChapSecret) > 0 {
		c.ChapSecret = []byte("kept")
	}
}

// ParseAuditLine reads a line back into the entry whose hash can be verified.
func ParseAuditLine(line []byte) (*command.AuditEntry, error) {
	var l AuditLine
	if err := json.Unmarshal(line, &l); err != nil {
		return nil, fmt.Errorf("not a line of an audit export: %w", err)
	}
	e := &command.AuditEntry{Sequence: l.Sequence, Index: l.Index, Term: l.Term}
	for _, f := range []struct {
		name   string
		text   string
		decode func(string) ([]byte, error)
		into   *[]byte
	}{
		{"command", l.Command, base64.StdEncoding.DecodeString, &e.Command},
		{"result", l.Result, base64.StdEncoding.DecodeString, &e.Result},
		{"prev_hash", l.PrevHash, hex.DecodeString, &e.PrevHash},
		{"hash", l.Hash, hex.DecodeString, &e.Hash},
	} {
		b, err := f.decode(f.text)
		if err != nil {
			return nil, fmt.Errorf("audit entry %d: %s: %w", l.Sequence, f.name, err)
		}
		*f.into = b
	}
	again, err := AuditLineInWords(e)
	if err != nil {
		return nil, err
	}
	if l.Words == "" {
		again.Words = ""
	}
	if !sameWords(l, again) {
		return nil, fmt.Errorf("audit entry %d: the readable fields don't say what the hashed bytes say: the export was altered", l.Sequence)
	}
	return e, nil
}

// sameWords compares the readable fields. The detail is compared as JSON
// values: protojson's spacing is random by design.
func sameWords(a, b AuditLine) bool {
	var da, db any
	if json.Unmarshal(a.Detail, &da) != nil || json.Unmarshal(b.Detail, &db) != nil {
		return false
	}
	ja, _ := json.Marshal(da)
	jb, _ := json.Marshal(db)
	return string(ja) == string(jb) && a.Time.Equal(b.Time) && a.Type == b.Type &&
		a.Actor == b.Actor && a.Code == b.Code && a.Message == b.Message && a.Words == b.Words
}
