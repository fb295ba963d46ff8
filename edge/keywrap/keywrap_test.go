package keywrap

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"
)

func wrapper(t *testing.T, fill byte) *Wrapper {
	t.Helper()
	w, err := New(bytes.Repeat([]byte{fill}, KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestRoundTrip(t *testing.T) {
	w := wrapper(t, 1)
	wrapped, err := w.Wrap("SB-0001", []byte("sixteen byte key"), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(wrapped, []byte("sixteen")) {
		t.Error("the secret is readable in the wrapped bytes")
	}
	got, err := w.Unwrap("SB-0001", wrapped)
	if err != nil || string(got) != "sixteen byte key" {
		t.Fatalf("Unwrap = %q, %v", got, err)
	}
}

func TestRefusals(t *testing.T) {
	w := wrapper(t, 1)
	wrapped, err := w.Wrap("SB-0001", []byte("sixteen byte key"), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Unwrap("SB-0002", wrapped); !errors.Is(err, ErrUnwrap) {
		t.Errorf("another owner: %v", err)
	}
	if _, err := wrapper(t, 2).Unwrap("SB-0001", wrapped); !errors.Is(err, ErrUnwrap) {
		t.Errorf("another key: %v", err)
	}
	for n := range wrapped {
		if _, err := w.Unwrap("SB-0001", wrapped[:n]); !errors.Is(err, ErrUnwrap) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
		flipped := bytes.Clone(wrapped)
		flipped[n] ^= 1
		if _, err := w.Unwrap("SB-0001", flipped); !errors.Is(err, ErrUnwrap) {
			t.Errorf("byte %d changed: %v", n, err)
		}
	}
	if _, err := New(make([]byte, KeySize-1)); err == nil {
		t.Error("a short key was accepted")
	}
	if _, err := w.Wrap("SB-0001", nil, bytes.NewReader(nil)); err == nil {
		t.Error("wrapped without randomness")
	}
}
