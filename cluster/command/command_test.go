package command

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Floats and maps have no one encoding: none may
// come into the definition.
func TestDefinitionIsDeterministic(t *testing.T) {
	messages := File_command_proto.Messages()
	for i := range messages.Len() {
		fields := messages.Get(i).Fields()
		for j := range fields.Len() {
			f := fields.Get(j)
			if f.IsMap() || f.Kind() == protoreflect.FloatKind || f.Kind() == protoreflect.DoubleKind {
				t.Errorf("%s is a %v", f.FullName(), f.Kind())
			}
		}
	}
}

// Every type but the unspecified one has a payload, and New finds the type
// again by it.
func TestEveryTypeHasAPayload(t *testing.T) {
	for number, name := range Type_name {
		kind := Type(number)
		make, ok := payloads[kind]
		if number == 0 {
			if ok {
				t.Error("the unspecified type has a payload")
			}
			continue
		}
		if !ok {
			t.Errorf("%s has no payload", name)
			continue
		}
		message := string(make().ProtoReflect().Descriptor().Name())
		if !strings.EqualFold(strings.ReplaceAll(name, "_", ""), message) {
			t.Errorf("the payload of %s is a %s", name, message)
		}
		c := New("client", "request", "actor", make())
		if c.Type != kind || c.Level != LevelOf(kind) || c.ClientId != "client" || c.RequestId != "request" || c.Actor != "actor" {
			t.Errorf("New of %s: %v", message, c)
		}
		c.LeaderTime = 5
		got, p, err := Decode(Marshal(c))
		if err != nil || !proto.Equal(got, c) || p.ProtoReflect().Descriptor() != make().ProtoReflect().Descriptor() {
			t.Errorf("%s: %v, %T, %v", name, got, p, err)
		}
	}
}

func TestNewOfAnotherMessage(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("an envelope for a record, which is no payload")
		}
	}()
	New("", "", "", new(Session))
}

func TestDecodeUnknown(t *testing.T) {
	decision := Marshal(&RecordDecision{Kind: "admit", Reasons: []string{"a"}})
	for name, raw := range map[string][]byte{
		"nothing":                  nil,
		"no protobuf":              {0xff},
		"no type":                  Marshal(&Command{Level: 1}),
		"later type":               Marshal(&Command{Level: 1, Type: 1000}),
		"negative type":            Marshal(&Command{Level: 1, Type: -1}),
		"later level":              Marshal(&Command{Level: Level + 1, Type: Type_RECORD_DECISION, Payload: decision}),
		"payload cut off":          Marshal(&Command{Level: 1, Type: Type_RECORD_DECISION, Payload: decision[:len(decision)-1]}),
		"payload of another type":  Marshal(&Command{Level: 1, Type: Type_ACK_LOCK, Payload: []byte{0x0d, 1}}),
		"string that is not UTF-8": Marshal(&Command{Level: 1, Type: Type_RECORD_DECISION, Payload: []byte{0x0a, 1, 0xff}}),
	} {
		c, p, err := Decode(raw)
		if !errors.Is(err, ErrUnknownCommand) || c != nil || p != nil {
			t.Errorf("%s: %v, %v, %v", name, c, p, err)
		}
	}
}

// An envelope that was cut off is refused or, where it ends between two
// fields, is another envelope; it is never read as the whole.
func TestDecodeTruncated(t *testing.T) {
	whole := New("gtpc", "r1", "carrier", &OpenSession{Imsi: "460010000000001", Apn: "seal.corp", Gtp: &GTPPath{Ebi: 5}, Entropy: make([]byte, 16)})
	whole.LeaderTime = 1
	raw := Marshal(whole)
	for n := range raw {
		if c, _, err := Decode(raw[:n]); err == nil && proto.Equal(c, whole) {
			t.Errorf("cut off at byte %d of %d, it is read as the whole", n, len(raw))
		}
	}
}

func TestMarshalIsDeterministic(t *testing.T) {
	m := &Opened{Session: &Session{Id: 1, Gtp: &GTPPath{Ebi: 5}}, Replaced: []*Session{{Id: 2}, {Id: 3}}}
	first := Marshal(m)
	for range 20 {
		if !bytes.Equal(Marshal(proto.CloneOf(m)), first) {
			t.Fatal("equal messages have different bytes")
		}
	}
}

func TestMarshalOfInvalidText(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("text that no node could decode was marshalled")
		}
	}()
	Marshal(&RecordDecision{Kind: "\xff"})
}

func TestResultInto(t *testing.T) {
	lock := &Lock{Id: 7, Barrel: "B-1"}
	got := new(Lock)
	if err := (&Result{Code: Code_OK, Payload: Marshal(lock)}).Into(got); err != nil || !proto.Equal(got, lock) {
		t.Errorf("%v, %v", got, err)
	}
	if err := (&Result{Code: Code_OK}).Into(new(RecordDecision)); err != nil {
		t.Errorf("OK without a record: %v", err)
	}
	for _, r := range []*Result{
		{Code: Code_BUSY, Message: "the barrel has an unsettled use", Payload: Marshal(lock)},
		{Message: "the barrel has an unsettled use"},
	} {
		got := new(Lock)
		err := r.Into(got)
		if err == nil || !strings.Contains(err.Error(), r.Message) || !strings.Contains(err.Error(), r.Code.String()) || got.Id != 0 {
			t.Errorf("%v: %v, %v", r, got, err)
		}
	}
	if (*Result)(nil).Into(got) == nil {
		t.Error("no result was read as OK")
	}
	if (&Result{Code: Code_OK, Payload: []byte{0xff}}).Into(got) == nil {
		t.Error("a damaged record was read")
	}
}

// FuzzDecode: whatever the bytes, Decode doesn't panic, fails with
// ErrUnknownCommand only, and what it accepts can be applied by type.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	for kind, make := range payloads {
		m := make()
		fields := m.ProtoReflect().Descriptor().Fields()
		for i := range fields.Len() {
			fill(m.ProtoReflect(), fields.Get(i), 0)
		}
		f.Add(Marshal(&Command{Level: 1, Type: kind, ClientId: "c", RequestId: "r", LeaderTime: 1, Actor: "a", Payload: Marshal(m)}))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, p, err := Decode(raw)
		if err != nil {
			if !errors.Is(err, ErrUnknownCommand) || c != nil || p != nil {
				t.Fatalf("%v, %v, %v", c, p, err)
			}
			return
		}
		again, q, err := Decode(Marshal(c))
		if err != nil || !proto.Equal(c, again) || !proto.Equal(p, q) {
			t.Fatalf("%v reads back as %v (%v)", c, again, err)
		}
	})
}
