package cluster

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/cluster/command"
)

func TestFrame(t *testing.T) {
	for _, f := range []frame{
		{kind: frameBarrier, id: 1, body: []byte{}},
		{kind: framePropose, id: 1<<64 - 1, body: []byte("command")},
		{kind: frameEntry, id: 7, body: bytes.Repeat([]byte{0xff}, 100_000)},
	} {
		b := f.append(nil)
		got, err := readFrame(bytes.NewReader(b))
		if err != nil || got.kind != f.kind || got.id != f.id || !bytes.Equal(got.body, f.body) {
			t.Errorf("kind %d: got kind %d id %d, %v", f.kind, got.kind, got.id, err)
		}
		for cut := range min(len(b), 200) {
			_, err := readFrame(bytes.NewReader(b[:cut]))
			if want := map[bool]error{true: io.EOF, false: io.ErrUnexpectedEOF}[cut == 0]; !errors.Is(err, want) {
				t.Fatalf("kind %d cut after %d bytes: %v", f.kind, cut, err)
			}
		}
	}
	for _, length := range []uint32{0, frameHeader - 1, maxFrame + 1, 1<<32 - 1} {
		b := append(binary.BigEndian.AppendUint32(nil, length), make([]byte, 100)...)
		if _, err := readFrame(bytes.NewReader(b)); !errors.Is(err, errFrame) {
			t.Errorf("length %d: %v", length, err)
		}
	}
}

func TestAnswerFrame(t *testing.T) {
	for _, a := range []answer{
		{verdict: done, index: 7, result: &command.Result{Code: command.Code_OK, Payload: []byte("x")}},
		{verdict: notDone, err: errNoLeader},
		{verdict: unknown, err: errTimeout},
	} {
		got, err := decodeAnswer(a.frame(1))
		if err != nil || got.verdict != a.verdict || got.index != a.index || !bytes.Equal(command.Marshal(got.result), command.Marshal(a.result)) {
			t.Errorf("%+v came back as %+v, %v", a, got, err)
		}
		if a.err != nil && !strings.Contains(got.err.Error(), a.err.Error()) {
			t.Errorf("%v came back as %v", a.err, got.err)
		}
	}
	got, err := decodeAnswer(answer{verdict: rejected, err: command.ErrUnknownCommand}.frame(1))
	if err != nil || got.verdict != rejected || !errors.Is(got.err, command.ErrUnknownCommand) {
		t.Errorf("rejected came back as %+v, %v", got, err)
	}
	for _, f := range []frame{{kind: frameDone, body: []byte("short")}, {kind: frameRefused}, {kind: frameRefused, body: []byte{0}}, {kind: 99}} {
		if _, err := decodeAnswer(f); !errors.Is(err, errFrame) {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

func TestQuestionFrame(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	f := question{raw: []byte("command")}.frame(ctx, 3)
	if f.kind != framePropose || f.id != 3 || string(f.body[4:]) != "command" {
		t.Errorf("%+v", f)
	}
	if ms := binary.BigEndian.Uint32(f.body); ms < 3_500_000 || ms > 3_600_000 {
		t.Errorf("an hour became %d ms", ms)
	}
	if f := (question{}).frame(ctx, 3); f.kind != frameBarrier || len(f.body) != 4 {
		t.Errorf("%+v", f)
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add(frame{kind: framePropose, id: 1, body: []byte("\x00\x00\x00\x01command")}.append(nil))
	f.Add(answer{verdict: done, index: 1, result: &command.Result{Code: command.Code_OK}}.frame(2).append(nil))
	f.Add(answer{verdict: notDone, err: errNoLeader}.frame(2).append(nil))
	f.Add([]byte{0, 0, 0, 9})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := readFrame(bytes.NewReader(b))
		if err != nil {
			return
		}
		if again := got.append(nil); !bytes.Equal(again, b[:len(again)]) {
			t.Errorf("%x came back as %x", b, again)
		}
		if a, err := decodeAnswer(got); err == nil && (a.verdict == done) == (a.err != nil) {
			t.Errorf("%+v", a)
		}
	})
}
