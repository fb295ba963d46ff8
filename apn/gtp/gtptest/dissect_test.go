package gtptest

import "testing"

// A judge that never finds fault is none.
func TestDissectorSeesFaults(t *testing.T) {
	good := New().Create()
	broken := append([]byte(nil), good...)
	broken[14] = 0xff // the first element's length
	got := complaints(t, []Frame{{2123, good}, {2123, broken}, {2123, []byte{0x48, 33, 0, 200, 0, 0, 0, 1, 0, 0, 1, 0}}, {9, good}})
	if len(got) != 3 {
		t.Errorf("%d complaints, want 3 about the last three frames: %q", len(got), got)
	}
}
