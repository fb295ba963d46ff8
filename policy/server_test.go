package policy

import (
	"strings"
	"testing"
)

// What is taken as written is what reading it would have told.
func FuzzServerWritten(f *testing.F) {
	for _, named := range []string{
		"seal.corp", "seal.corp:8443", "seal.corp:08443", "seal.corp:0", "seal.corp:", "seal.corp:65536", "seal.corp:1:2", "seal.corp.", "seal.corpx", "Seal.Corp",
		"10.0.0.1", "10.0.0.1:8443", "10.0.0.10", "::1", "[::1]", "[::1]:8443", "::1:8443", "", ":", ":1", "seal.corp:+1", "seal.corp:1_0", "seal.corp:\x00",
	} {
		for _, allowed := range []string{"seal.corp", "seal.corp:8443", "10.0.0.1", "10.0.0.1:8443", "[::1]:8443", "::1"} {
			f.Add(allowed, named)
		}
	}
	f.Fuzz(func(t *testing.T, allowed, named string) {
		s, err := ParseServer(allowed)
		if err != nil {
			return
		}
		n, err := ParseServer(named)
		if s.written(named) && (err != nil || !s.covers(n)) {
			t.Errorf("%q is taken for %v, and read as %v, %v", named, s, n, err)
		}
		if !strings.Contains(s.Host, ":") && !s.written(s.String()) {
			t.Errorf("%v isn't taken for itself", s)
		}
	})
}
