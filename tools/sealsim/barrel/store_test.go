package barrel

import (
	"os"
	"testing"
)

// A barrel without durable memory starts empty each time, and writes nothing.
func TestWithoutMemory(t *testing.T) {
	t.Chdir(t.TempDir())
	var s store
	if err := s.save(State{Counter: 7}); err != nil {
		t.Fatal(err)
	}
	if st, err := s.load(); err != nil || st.Counter != 0 {
		t.Errorf("%+v, %v", st, err)
	}
	if left, err := os.ReadDir("."); err != nil || len(left) > 0 {
		t.Errorf("it wrote %v, %v", left, err)
	}
}
