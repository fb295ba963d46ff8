package state

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/sealedge/sealedge/cluster/command"
)

// start is when the cluster's clock begins in tests.
var start = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)

// TestScripts runs testdata/*.txt. A script is a list of commands and
// questions, one a line; a line that starts with blanks continues the one
// before.
//
//	at 5m                        the leader's clock, after start
//	as NAME                      who acts from here on; tester unless said
//	Name [#request] FIELDS => CODE [FIELDS]
//	                             applies the command; FIELDS of its result, or
//	                             for a refusal a part of its words
//	? KIND KEY... => FIELDS      a record has these fields; "none" if it is absent
//
// A command that begins with at:NAME/EPOCH has that precondition.
//
// FIELDS is text-format protobuf in which @10.90.0.2 and @fd00:90:: are
// addresses, @32:7 is 32 bytes of 7, @5m a time, and NAME:none at the top a field
// that is absent. Only fields named are compared. Preconditions that a command
// doesn't name are filled in with what holds.
//
// Each script runs twice: on one machine, and on one that is written to a
// snapshot and read back after every command. The invariants are checked after
// every command, and that refusals change nothing.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		for _, restored := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/restored=%v", name, restored), func(t *testing.T) {
				s := &script{T: t, log: newLog(t), restored: restored, actor: "tester"}
				s.run(file, string(text))
			})
		}
	}
}

type script struct {
	*testing.T
	log      *testLog
	restored bool
	where    string
	actor    string
}

func (s *script) run(file, text string) {
	var line string
	from := 0
	flush := func() {
		if line != "" {
			s.where = fmt.Sprintf("%s:%d", file, from)
			s.step(line)
		}
		line = ""
	}
	for i, l := range strings.Split(text, "\n") {
		l, _, _ = strings.Cut(l, "# ")
		switch {
		case strings.TrimSpace(l) == "" || strings.HasPrefix(l, "#"):
			flush()
		case l[0] == ' ' || l[0] == '\t':
			line += " " + strings.TrimSpace(l)
		default:
			flush()
			line, from = strings.TrimSpace(l), i+1
		}
	}
	flush()
}

func (s *script) failf(format string, args ...any) {
	s.Helper()
	s.Fatalf("%s: %s", s.where, fmt.Sprintf(format, args...))
}

func (s *script) step(line string) {
	do, want, _ := strings.Cut(line, " => ")
	switch verb, rest, _ := strings.Cut(strings.TrimSpace(do), " "); verb {
	case "at":
		d, err := time.ParseDuration(rest)
		if err != nil {
			s.failf("%v", err)
		}
		s.log.now = start.Add(d)
	case "as":
		s.actor = rest
	case "?":
		s.ask(strings.Fields(rest), want)
	default:
		s.apply(verb, rest, want)
	}
}

// results names the kind of record that each command answers with.
var results = map[string]string{
	"PutPolicy": "Policy", "PutSubscriber": "Subscriber", "RevokeSubscriber": "Revocation",
	"PutBarrel": "Barrel", "RevokeBarrel": "Revocation", "CheckOut": "Barrel", "CheckIn": "Barrel",
	"PutDevices":  "DevicesPut",
	"OpenSession": "Opened", "ModifySession": "Session", "AttachWireGuard": "Opened", "SelectPath": "Session", "ClosePath": "Closed", "ReleasePaths": "Released",
	"AcquireAddress": "GatewayAddress", "BumpRestartCounter": "GatewayAddress",
	"AssignAddress": "GatewayAddress", "SurrenderAddress": "GatewayAddress", "MoveAddress": "GatewayAddress",
	"ReserveUses": "Use", "RecordReceipt": "Use", "RecordEvidence": "Use", "SettleUse": "Use",
	"Disconnect": "Lock", "AckLock": "Lock", "SuspendOrder": "Order", "ResumeOrder": "Order", "MarkOverdue": "Order", "ExpireUse": "Use",
	"RecordDecision": "RecordDecision", "Checkpoint": "Checkpoint", "ReleaseUse": "Use", "ConfirmRelease": "Use",
	"SuspendDevice": "Revocation", "ResumeDevice": "ResumeDevice",
	"ProposeChange": "Change", "ApproveChange": "Change", "RejectChange": "Change", "ReviewChange": "Change", "RaiseLevel": "RaiseLevel",
	"PutToken": "Token", "RevokeToken": "Token",
	"PutServerKey": "ServerKey", "RetireServerKey": "ServerKey", "LeaseFallback": "FallbackLease", "EndFallback": "FallbackLease", "RoamWireGuard": "Session",
	"RaiseEpoch": "Epoch", "ReconcileBarrel": "Use", "ExcuseBarrel": "Barrel", "CloseEpoch": "Epoch",
}

func (s *script) apply(name, rest, want string) {
	payload := s.message(name)
	request := ""
	if strings.HasPrefix(rest, "#") {
		request, rest, _ = strings.Cut(rest[1:], " ")
	}
	at, rest := epoch(rest)
	named := s.parse(rest, payload)
	s.log.fill(payload, named)
	c := command.New("test", request, s.actor, payload)
	if at != nil {
		c.At(at.Name, at.Epoch)
	}
	result := s.log.apply(c)

	code, fields, _ := strings.Cut(strings.TrimSpace(want), " ")
	if code == "" {
		code = "OK"
	}
	if result.Code.String() != code {
		s.failf("%v %q, want %s", result.Code, result.Message, code)
	}
	if result.Code != command.Code_OK {
		if !strings.Contains(result.Message, strings.Trim(fields, `" `)) {
			s.failf("%v %q, want %s", result.Code, result.Message, fields)
		}
	} else {
		got := s.message(results[name])
		if err := result.Into(got); err != nil {
			s.failf("%v", err)
		}
		s.compare(got, fields)
	}
	if s.restored {
		s.log.restore()
	}
}

// epoch takes the precondition that a command begins with off it.
func epoch(text string) (*command.GatewayAddress, string) {
	var a command.GatewayAddress
	rest := strings.TrimPrefix(strings.TrimSpace(text), "at:")
	if rest == strings.TrimSpace(text) {
		return nil, text
	}
	at, rest, _ := strings.Cut(rest, " ")
	if _, err := fmt.Sscanf(strings.Replace(at, "/", " ", 1), "%s %d", &a.Name, &a.Epoch); err != nil {
		return nil, text
	}
	return &a, rest
}

func (s *script) ask(words []string, want string) {
	m := s.log.m
	key := func(i int) string {
		if i >= len(words) {
			s.failf("a key is missing")
		}
		return words[i]
	}
	id := func() uint64 {
		n, err := strconv.ParseUint(key(1), 10, 64)
		if err != nil {
			s.failf("%v", err)
		}
		return n
	}
	addr := func() netip.Addr { return netip.MustParseAddr(key(1)) }
	var got proto.Message
	var list []string
	switch words[0] {
	case "policy":
		got = m.Policy()
	case "revision":
		got = m.PolicyAt(id())
	case "former":
		for p := range m.FormerPolicies() {
			list = append(list, fmt.Sprint(p.Revision))
		}
	case "change":
		got = m.Change(id())
	case "waiting": // changes
		for c := range m.Changes() {
			if m.Waits(c, s.log.now) {
				list = append(list, fmt.Sprint(c.Id))
			}
		}
	case "subscriber":
		got = m.Subscriber(key(1))
	case "barrel":
		got = m.Barrel(key(1))
	case "token":
		got = m.Token(key(1))
	case "barrel-by-mac":
		got = m.BarrelByMAC(key(1))
	case "barrel-by-psk":
		got = m.BarrelByPSKIdentity(key(1))
	case "session":
		got = m.Session(id())
	case "path": // of a session, through the carrier
		got = m.Session(id()).GetGtp()
	case "session-of":
		got = m.SessionByKey(key(1), key(2))
	case "session-by-address":
		got = m.SessionByAddress(addr())
	case "lease":
		got = m.Lease(key(1), key(2))
	case "lease6":
		got = m.Lease6(key(1), key(2))
	case "gtp-peer":
		got = m.Peer(addr())
	case "gtp-peers":
		for p := range m.Peers() {
			a, _ := netip.AddrFromSlice(p.Address)
			list = append(list, a.String())
		}
	case "sessions-by-peer":
		for s := range m.SessionsByPeer(addr()) {
			list = append(list, fmt.Sprint(s.Id))
		}
	case "address":
		got = m.Address(key(1))
	case "fallback":
		got = m.FallbackLease(key(1))
	case "fallbacks":
		for l := range m.FallbackLeases() {
			list = append(list, fmt.Sprintf("%s/%d", l.Imsi, l.Number))
		}
	case "server-keys": // by the first byte
		for _, k := range m.ServerKeys() {
			list = append(list, fmt.Sprint(k.PublicKey[0]))
		}
	case "server-key": // the current one, or the one before
		got = (*command.ServerKey)(nil)
		if keys := m.ServerKeys(); int(id()) < len(keys) {
			got = keys[id()]
		}
	case "order":
		got = m.Order(key(1))
	case "epoch":
		got = m.Epoch()
	case "unaccounted":
		list = append(list, fmt.Sprint(m.Unaccounted()))
	case "uncounted":
		for b := range m.Uncounted() {
			list = append(list, b.Id)
		}
	case "use":
		got = m.Use(id())
	case "use-by-request":
		got = m.UseByRequest(key(1), key(2))
	case "open-use":
		got = m.OpenUseOfBarrel(key(1))
	case "lock":
		got = m.Lock(id())
	case "lock-of-barrel":
		got = m.LockOfBarrel(key(1))
	case "lock-by-source":
		got = m.LockBySource(key(1))
	case "pending":
		for _, l := range m.PendingLocks() {
			list = append(list, fmt.Sprint(l.Id))
		}
	case "overdue":
		for _, o := range m.OverdueCandidates(m.Clock()) {
			list = append(list, fmt.Sprintf("%d/%d", o.Use, o.Number))
		}
	case "barrels-of":
		for b := range m.BarrelsOf(key(1)) {
			list = append(list, b.Id)
		}
	case "peers":
		for p, l := range m.WireGuardPeers() {
			list = append(list, fmt.Sprintf("%s@%v", p.Imsi, netip.AddrFrom4([4]byte(l.Address))))
		}
	default:
		s.failf("%q cannot be asked for", words[0])
	}
	switch want = strings.TrimSpace(want); {
	case got == nil:
		if !slices.Equal(list, strings.Fields(strings.TrimSuffix(want, "none"))) {
			s.failf("%v, want %s", list, want)
		}
	case !got.ProtoReflect().IsValid() || want == "none":
		if got.ProtoReflect().IsValid() || want != "none" {
			s.failf("%v, want %s", got, want)
		}
	default:
		s.compare(got, want)
	}
}

func (s *script) message(name string) proto.Message {
	t, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName("sealedge.command.v1." + name))
	if err != nil {
		s.failf("%q: %v", name, err)
	}
	return t.New().Interface()
}

var literal = regexp.MustCompile(`@(\d+\.\d+\.\d+\.\d+|[0-9a-f]*:[0-9a-f:]*:[0-9a-f.]*|\d+:\d+|\d+[hms]\w*)`)

var absent = regexp.MustCompile(`\b\w+:none\b`)

// parse reads FIELDS into m, and tells which fields were named at its top.
func (s *script) parse(text string, m proto.Message) map[string]bool {
	text = literal.ReplaceAllStringFunc(text, func(l string) string {
		l = l[1:]
		if a, err := netip.ParseAddr(l); err == nil {
			return fmt.Sprintf("%+q", a.AsSlice())
		}
		if size, fill, ok := strings.Cut(l, ":"); ok {
			n, _ := strconv.Atoi(size)
			b, _ := strconv.Atoi(fill)
			return fmt.Sprintf(`"%s"`, strings.Repeat(fmt.Sprintf(`\x%02x`, b), n))
		}
		d, err := time.ParseDuration(l)
		if err != nil {
			s.failf("%v", err)
		}
		return fmt.Sprint(start.Add(d).UnixNano())
	})
	named := map[string]bool{}
	text = absent.ReplaceAllStringFunc(text, func(f string) string {
		named[strings.TrimSuffix(f, ":none")] = true
		return ""
	})
	if err := prototext.Unmarshal([]byte(text), m); err != nil {
		s.failf("%v", err)
	}
	depth := 0
	for _, token := range regexp.MustCompile(`"(\\.|[^"])*"|[{}<>]|(\w+)\s*:?`).FindAllString(text, -1) {
		switch token[0] {
		case '{', '<':
			depth++
		case '}', '>':
			depth--
		case '"':
		default:
			name := strings.TrimRight(token, ": ")
			if depth == 0 && m.ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(name)) != nil {
				named[name] = true
			}
		}
	}
	return named
}

func (s *script) compare(got proto.Message, fields string) {
	s.Helper()
	want := got.ProtoReflect().New().Interface()
	named := s.parse(fields, want)
	g, w := got.ProtoReflect(), want.ProtoReflect()
	for name := range named {
		f := w.Descriptor().Fields().ByName(protoreflect.Name(name))
		if w.Has(f) != g.Has(f) || g.Has(f) && !includes(f, g.Get(f), w.Get(f)) {
			s.failf("%s is not as wanted:\n got %v\nwant %s", name, prototext.MarshalOptions{}.Format(got), fields)
		}
	}
}

// includes tells whether got has all that want has.
func includes(f protoreflect.FieldDescriptor, got, want protoreflect.Value) bool {
	if f.IsList() {
		g, w := got.List(), want.List()
		if g.Len() != w.Len() {
			return false
		}
		for i := range g.Len() {
			if !includesOne(f, g.Get(i), w.Get(i)) {
				return false
			}
		}
		return true
	}
	return includesOne(f, got, want)
}

func includesOne(f protoreflect.FieldDescriptor, got, want protoreflect.Value) bool {
	if f.Message() == nil {
		return got.Equal(want)
	}
	all := true
	want.Message().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		all = got.Message().Has(f) && includes(f, got.Message().Get(f), v)
		return all
	})
	return all
}
