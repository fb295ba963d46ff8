package state

import (
	"slices"

	"github.com/sealedge/sealedge/cluster/command"
)

// bindingLevel is the level from which handsets are bound by opening sessions.
const bindingLevel = 2

// bindable checks that a handset may become a subscriber's only one: the first that
// it is used in, or the one that was announced, in time. Which of them policy takes
// was decided before.
func (m *Machine) bindable(s *command.Subscriber, imei string) outcome {
	switch {
	case imei == "":
		return invalid("no handset to bind")
	case len(s.Imeis) == 0:
	case s.AnnouncedImei != imei:
		return invalid("the subscriber has another handset, and this one isn't announced")
	case m.clock >= s.AnnouncedUntil:
		return refuse(command.Code_CONFLICT, "the announcement of the handset is over")
	}
	return outcome{code: command.Code_OK}
}

// bindHandset makes a handset the subscriber's only one. What was announced has
// happened then, if it was this one. Paths of other handsets end.
func (m *Machine) bindHandset(old *command.Subscriber, imei string) {
	s := shallow(old)
	s.Imeis, s.Version = []string{imei}, old.Version+1
	if old.AnnouncedImei == imei {
		s.AnnouncedImei, s.AnnouncedUntil = "", 0
	}
	m.indexSubscriber(old, s)
	for _, session := range slices.Collect(m.SessionsByIMSI(s.Imsi)) {
		if session.Gtp != nil && session.Gtp.Imei != imei {
			m.removePath(session, command.PathKind_GTP)
		}
	}
}

// unbinds tells whether a change of a record takes a handset from it.
func (m *Machine) unbinds(old, s *command.Subscriber, imei string) bool {
	if m.level < bindingLevel {
		return !bound(s, imei)
	}
	// Policy may take handsets that aren't listed: what wasn't bound before isn't
	// unbound by a change of something else.
	return bound(old, imei) && !bound(s, imei)
}

func bound(s *command.Subscriber, imei string) bool {
	return len(s.GetImeis()) == 0 || slices.Contains(s.Imeis, imei)
}
