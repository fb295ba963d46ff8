package chain

import (
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Kind is what a subject is.
type Kind string

// The kinds of subjects.
const (
	Order  Kind = "order"
	Device Kind = "device" // a terminal by IMSI, MSISDN or IMEI, a barrel by its id, either by its MAC address
	Person Kind = "person"
	Text   Kind = "text" // words that may name any of the others
)

// Subject is something or somebody that an entry is about.
type Subject struct {
	Kind Kind
	Name string
}

// kinds says of the text fields of commands and records which name a subject, by
// the field's name.
var kinds = map[protoreflect.Name]Kind{
	"imsi": Device, "imeis": Device, "imei": Device, "announced_imei": Device, "msisdn": Device,
	"mac": Device, "wifi_mac": Device, "barrel": Device, "checked_out_to": Device,
	"order": Order,
	"user":  Person, "by": Person, "proposed_by": Person, "confirmed_by": Person, "closed_by": Person,
	"ended_by": Person, "reviewed_by": Person, "owner": Person, "caller": Person, "actor": Person,
	"subject": Text,
}

// kindsOf are those whose name says less than the message around them.
var kindsOf = map[protoreflect.FullName]Kind{
	"sealedge.command.v1.Barrel.id":       Device,
	"sealedge.command.v1.RevokeBarrel.id": Device,
	"sealedge.command.v1.Order.number":    Order,
}

func kindOf(f protoreflect.FieldDescriptor) Kind {
	if k, ok := kindsOf[f.FullName()]; ok {
		return k
	}
	return kinds[f.Name()]
}

// Subjects lists what the entry is about: who caused it, and whatever its command
// and its record name. None is there twice.
func (e *Entry) Subjects() []Subject {
	var list []Subject
	seen := map[Subject]bool{}
	add := func(k Kind, name string) {
		if k == Person {
			if bare, ok := person(name); ok {
				name = bare
			}
		}
		if s := (Subject{k, name}); name != "" && !seen[s] {
			list, seen[s] = append(list, s), true
		}
	}
	switch kind, name, _ := strings.Cut(e.Command.GetActor(), ":"); kind {
	case "operator", "user":
		add(Person, name)
	case "phone", "barrel":
		add(Device, name)
	}
	walk(e.Payload, add)
	if e.Record != nil {
		walk(e.Record, add)
	}
	return list
}

// walk finds the subjects in a message and the messages in it.
func walk(m proto.Message, add func(Kind, string)) {
	var message func(protoreflect.Message)
	value := func(f protoreflect.FieldDescriptor, k Kind, v protoreflect.Value) {
		switch {
		case f.Message() != nil:
			message(v.Message())
		case f.Kind() == protoreflect.StringKind && k != "":
			add(k, v.String())
		}
	}
	message = func(m protoreflect.Message) {
		fields := m.Descriptor().Fields()
		for i := range fields.Len() { // Range has no order
			f := fields.Get(i)
			if !m.Has(f) {
				continue
			}
			k := kindOf(f)
			if !f.IsList() {
				value(f, k, m.Get(f))
				continue
			}
			for list, n := m.Get(f).List(), 0; n < list.Len(); n++ {
				value(f, k, list.Get(n))
			}
		}
	}
	message(m.ProtoReflect())
}
