package command

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

const goldenFile = "testdata/golden.txt"

var addGolden = flag.Bool("golden", false, "append lines for what "+goldenFile+" does not cover yet; lines that are there are never changed")

// TestGolden holds every message to bytes written once: each line of the file is
// a message's name, its fields as text, and its bytes in hexadecimal. Logs,
// snapshots and audit chains with such bytes exist, so a line that fails means
// that the definition is to be mended, not the line.
func TestGolden(t *testing.T) {
	covered := map[protoreflect.FullName]bool{} // fields and enum values
	lines, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(lines)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest, _ := strings.Cut(line, " ")
		text, want, ok := cutLast(rest, " = ")
		if !ok {
			t.Fatalf("no bytes: %s", line)
		}
		m := fresh(t, name)
		if err := prototext.Unmarshal([]byte(text), m); err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		note(m.ProtoReflect(), covered)
		wantBytes, err := hex.DecodeString(want)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if got := Marshal(m); !bytes.Equal(got, wantBytes) {
			t.Errorf("%s %s\n is %x\nwas %x", name, text, got, wantBytes)
		}
		back := fresh(t, name)
		if err := proto.Unmarshal(wantBytes, back); err != nil || !proto.Equal(m, back) {
			t.Errorf("%s: the bytes read back as %v (%v), want %v", name, back, err, m)
		}
	}

	var missing bytes.Buffer
	file := File_command_proto
	for i := range file.Messages().Len() {
		d := file.Messages().Get(i)
		m := fresh(t, string(d.Name()))
		for j := range d.Fields().Len() {
			f := d.Fields().Get(j)
			if covered[f.FullName()] {
				continue
			}
			t.Log("not covered:", f.FullName())
			fill(m.ProtoReflect(), f, 0)
			if f.ContainingOneof() != nil { // one line each
				writeLine(&missing, m)
				m = fresh(t, string(d.Name()))
			}
		}
		if !proto.Equal(m, fresh(t, string(d.Name()))) {
			writeLine(&missing, m)
		}
	}
	for i := range file.Enums().Len() {
		d := file.Enums().Get(i)
		for j := range d.Values().Len() {
			if v := d.Values().Get(j); v.Number() != 0 && !covered[v.FullName()] {
				for _, m := range carriers(d, v) {
					writeLine(&missing, m)
				}
			}
		}
	}
	if missing.Len() == 0 {
		return
	}
	if !*addGolden {
		t.Fatalf("%s does not cover all; after checking that the numbers are right for ever, add with -golden:\n%s", goldenFile, &missing)
	}
	f, err := os.OpenFile(goldenFile, os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(missing.Bytes()); err != nil {
		t.Fatal(err)
	}
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

func fresh(t *testing.T, name string) proto.Message {
	t.Helper()
	mt, err := protoregistry.GlobalTypes.FindMessageByName(File_command_proto.Package().Append(protoreflect.Name(name)))
	if err != nil {
		t.Fatal(err)
	}
	return mt.New().Interface()
}

// note marks the fields and enum values that a message has.
func note(m protoreflect.Message, covered map[protoreflect.FullName]bool) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		covered[f.FullName()] = true
		if f.Enum() != nil {
			covered[f.Enum().Values().ByNumber(v.Enum()).FullName()] = true
		}
		return true
	})
}

// fill gives a field a value that tells it from its neighbours.
func fill(m protoreflect.Message, f protoreflect.FieldDescriptor, depth int) {
	n := int(f.Number())
	var v protoreflect.Value
	switch f.Kind() {
	case protoreflect.BoolKind:
		v = protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		v = protoreflect.ValueOfEnum(f.Enum().Values().Get(1).Number())
	case protoreflect.Int64Kind:
		v = protoreflect.ValueOfInt64(1_795_338_000_000_000_000 + int64(n))
	case protoreflect.Uint32Kind:
		v = protoreflect.ValueOfUint32(1<<31 + uint32(n))
	case protoreflect.Uint64Kind:
		v = protoreflect.ValueOfUint64(1<<63 + uint64(n))
	case protoreflect.StringKind:
		v = protoreflect.ValueOfString(string(f.Name()))
	case protoreflect.BytesKind:
		v = protoreflect.ValueOfBytes([]byte{0xff, 0, byte(n)})
	case protoreflect.MessageKind:
		inner := m.NewField(f)
		if f.IsList() {
			inner = inner.List().NewElement()
		}
		if depth < 2 {
			fields := inner.Message().Descriptor().Fields()
			for i := range min(fields.Len(), 3) {
				fill(inner.Message(), fields.Get(i), depth+1)
			}
		}
		v = inner
	default:
		panic(fmt.Sprint("no value for ", f.Kind()))
	}
	if f.IsList() {
		list := m.Mutable(f).List()
		list.Append(v)
		list.Append(v)
	} else {
		m.Set(f, v)
	}
}

// carriers are messages that show an enum's value on the wire.
func carriers(d protoreflect.EnumDescriptor, v protoreflect.EnumValueDescriptor) []proto.Message {
	var out []proto.Message
	messages := File_command_proto.Messages()
	for i := range messages.Len() {
		fields := messages.Get(i).Fields()
		for j := range fields.Len() {
			if f := fields.Get(j); f.Enum() == d && len(out) == 0 {
				mt, _ := protoregistry.GlobalTypes.FindMessageByName(messages.Get(i).FullName())
				m := mt.New()
				m.Set(f, protoreflect.ValueOfEnum(v.Number()))
				out = append(out, m.Interface())
			}
		}
	}
	return out
}

func writeLine(b *bytes.Buffer, m proto.Message) {
	text := strings.Join(strings.Fields(prototext.Format(m)), " ") // prototext spaces at random
	fmt.Fprintf(b, "%s %s = %x\n", m.ProtoReflect().Descriptor().Name(), text, Marshal(m))
}
