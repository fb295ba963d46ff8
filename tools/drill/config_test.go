package drill

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func written(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "f.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const canaryYAML = `
address: 127.0.20.9
gateway: 127.0.10.1
inner: 10.90.0.1
apn: seal.corp
plmn: "46001"
every: 5ms
sessions:
  - {imsi: "460010000000901", imei: "35693803564901"}
churn:
  - {imsi: "460010000000902", imei: "35693803564902"}
`

func TestReadCanary(t *testing.T) {
	c, err := ReadCanary(written(t, canaryYAML))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Sessions) != 1 || len(c.Churn) != 1 || c.Every != 5*time.Millisecond || c.Churn[0].IMSI.String() != "460010000000902" || c.Inner.String() != "10.90.0.1" {
		t.Errorf("%+v", c)
	}
	for from, to := range map[string]string{
		"127.0.20.9":      "nowhere",
		"inner: 10":       "inner: fd00::1 #",
		"every:":          "evry:",
		"460010000000901": "46001",
		"apn: seal.corp":  "apn: ''",
		"sessions:":       "sessions: []\nothers:",
	} {
		if c, err := ReadCanary(written(t, strings.Replace(canaryYAML, from, to, 1))); err == nil {
			t.Errorf("%s for %s: %+v", to, from, c)
		}
	}
}

func TestHooks(t *testing.T) {
	said := filepath.Join(t.TempDir(), "said")
	h, err := ReadHooks(written(t, "kill: echo killed $SEALEDGE_NODE >>"+said+"\nstart: echo no; exit 3\n"))
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Do(t.Context(), Kill, "node2"); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(said); err != nil || string(b) != "killed node2\n" {
		t.Errorf("%q, %v", b, err)
	}
	if err := h.Do(t.Context(), Start, "node2"); err == nil || !strings.Contains(err.Error(), "no") {
		t.Errorf("a command that fails: %v", err)
	}
	if err := h.Do(t.Context(), Freeze, "node2"); err == nil || h.Can(Freeze) == nil || h.Can(Kill) != nil {
		t.Errorf("a command that isn't there: %v", err)
	}
	if h, err := ReadHooks(written(t, "explode: now")); err == nil {
		t.Errorf("%v", h)
	}
}

// What isn't allowed isn't begun.
func TestAllowed(t *testing.T) {
	kill, _ := Find("leader-kill")
	handover, _ := Find("planned-handover")
	for _, c := range []struct {
		name    string
		target  Target
		drill   Drill
		allowed bool
	}{
		{"live, harmless", Target{}, handover, true},
		{"live, destructive", Target{Hands: Hooks{Kill: "x", Start: "y"}}, kill, false},
		{"wanted, no hands", Target{Destructive: true}, kill, false},
		{"wanted, half the hands", Target{Destructive: true, Hands: Hooks{Kill: "x"}}, kill, false},
		{"wanted, hands", Target{Destructive: true, Hands: Hooks{Kill: "x", Start: "y"}}, kill, true},
	} {
		if err := c.target.Allowed(c.drill); (err == nil) != c.allowed {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
