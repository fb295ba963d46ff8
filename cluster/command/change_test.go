package command

import (
	"encoding/hex"
	"testing"
	"time"
)

// Approvals were signed over this text, and are in audit chains: it never changes.
func TestApprovalStatement(t *testing.T) {
	digest := ChangeDigest(&PutPolicy{BaseRevision: 12, Document: []byte("kind: Policy\n"), Pools: []*Pool{{Apn: "seal.corp"}}}, nil)
	const want = "sealedge change approval v1\n" +
		"change: 7\n" +
		"digest: e6f8dfdd990bea5760ec5b6d8efed77683d5ad4eca459d90f0942955312c3697\n" +
		"policy revision: 12\n" +
		"proposed by: \"operator:li\"\n" +
		"approved by: \"operator:zhao\\nchange: 8\"\n" +
		"expires: 2026-11-23T09:00:00.123456789Z\n"
	c := &Change{
		Id: 7, Digest: digest[:], PolicyRevision: 12, ProposedBy: "operator:li",
		Expires: time.Date(2026, 11, 23, 9, 0, 0, 123456789, time.UTC).UnixNano(),
	}
	if got := string(ApprovalStatement(c, "operator:zhao\nchange: 8")); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// Pools follow from the document; base, document and rows count.
func TestChangeDigest(t *testing.T) {
	row := &DeviceChange{Change: &DeviceChange_CheckIn{CheckIn: &CheckIn{Barrel: "SB-0001"}}}
	seen := map[string]string{}
	for name, d := range map[string][32]byte{
		"policy":           ChangeDigest(&PutPolicy{BaseRevision: 1, Document: []byte("a")}, nil),
		"another base":     ChangeDigest(&PutPolicy{BaseRevision: 2, Document: []byte("a")}, nil),
		"another document": ChangeDigest(&PutPolicy{BaseRevision: 1, Document: []byte("b")}, nil),
		"devices":          ChangeDigest(nil, &PutDevices{Changes: []*DeviceChange{row}}),
		"more devices":     ChangeDigest(nil, &PutDevices{Changes: []*DeviceChange{row, row}}),
	} {
		key := hex.EncodeToString(d[:])
		if other, is := seen[key]; is {
			t.Errorf("%s and %s have the same digest", name, other)
		}
		seen[key] = name
	}
	if ChangeDigest(&PutPolicy{Document: []byte("a")}, nil) != ChangeDigest(&PutPolicy{Document: []byte("a"), Pools: []*Pool{{}}}, nil) {
		t.Error("pools count")
	}
}
