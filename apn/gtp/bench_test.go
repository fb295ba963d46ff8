package gtp

import (
	"testing"

	"github.com/sealedge/sealedge/apn/gtp/gtptest"
)

func BenchmarkParseCreateSessionRequest(b *testing.B) {
	raw := gtptest.New().Create()
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMarshalCreateSessionResponse(b *testing.B) {
	r := accepted(b)
	b.ReportAllocs()
	for b.Loop() {
		r.Marshal()
	}
}

func BenchmarkParseUser(b *testing.B) {
	raw := make([]byte, UserHeaderLen+1400)
	PutUserGPDU(raw, 1, 1400)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseUser(raw); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPutUserGPDU(b *testing.B) {
	raw := make([]byte, UserHeaderLen+1400)
	b.ReportAllocs()
	for b.Loop() {
		PutUserGPDU(raw, 1, 1400)
	}
}
