package gtptest

import (
	"fmt"
	"strings"
	"testing"
)

// A judge that never finds fault is none.
func TestDissectorSeesFaults(t *testing.T) {
	good := New().Create()
	broken := append([]byte(nil), good...)
	broken[14] = 0xff // the first element's length
	shortened := append([]byte(nil), good[:len(good)-3]...)
	got := complaints(t, []Frame{{ControlPort, good}, {ControlPort, broken}, {ControlPort, shortened}, {9, good}, {ControlPort, NewSGSN().Create()}})
	if len(got) != 3 {
		t.Errorf("%d complaints, want 3: %q", len(got), got)
	}
	for i, c := range got {
		if want := fmt.Sprintf("frame %d:", i+2); !strings.HasPrefix(c, want) {
			t.Errorf("%q, want one about %s", c, want)
		}
	}
}
