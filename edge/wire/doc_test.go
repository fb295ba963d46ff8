package wire

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var keyRow = regexp.MustCompile(`^\| (-?\d+) \|`)

// documentedKeys reads the tables of docs/api/barrel.md: the keys below each
// heading.
func documentedKeys(t *testing.T) map[string][]int {
	text, err := os.ReadFile("../../docs/api/barrel.md")
	if err != nil {
		t.Fatal(err)
	}
	keys := make(map[string][]int)
	message := ""
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "### "); ok {
			message = strings.TrimSpace(name)
		} else if row := keyRow.FindStringSubmatch(line); row != nil {
			key, err := strconv.Atoi(row[1])
			if err != nil {
				t.Fatal(err)
			}
			keys[message] = append(keys[message], key)
		}
	}
	return keys
}

func TestBarrelDocumentListsEveryKey(t *testing.T) {
	documented := documentedKeys(t)
	seen := map[string]bool{}
	for _, m := range messages {
		typ := reflect.TypeOf(m.value).Elem()
		if seen[typ.Name()] {
			continue // a second sample of it
		}
		seen[typ.Name()] = true
		var keys []int
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("cbor"), ",")
			key, err := strconv.Atoi(name)
			if err != nil {
				t.Fatalf("%s.%s has the key %q", typ.Name(), typ.Field(i).Name, name)
			}
			keys = append(keys, key)
		}
		if !slices.Equal(keys, documented[typ.Name()]) {
			t.Errorf("%s has the keys %v, documented are %v", typ.Name(), keys, documented[typ.Name()])
		}
		delete(documented, typ.Name())
	}
	for name := range documented {
		t.Errorf("%s is documented, but is no message", name)
	}
}
