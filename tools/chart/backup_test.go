package main

import (
	"slices"
	"strings"
	"testing"
)

// The claim of the backups is made once, isn't waited for (a class may bind it only
// when the first backup is taken), and is never deleted by helm.
func TestBackupClaim(t *testing.T) {
	const backups = "backup.enabled=true,backup.recipients={age1abc},backup.existingSecret=b"
	claim := func(o *objects, refused string) bool {
		t.Helper()
		if refused != "" {
			t.Fatal(refused)
		}
		return o.Claim != nil
	}
	there := release(3, 3)
	if !claim(upgrade(t, there, "--set", backups)) {
		t.Error("none is made")
	}
	if claim(upgrade(t, there, "--set", backups+",backup.existingClaim=mine")) {
		t.Error("one is made beside that of the site")
	}
	o, _ := upgrade(t, there, "--set", backups)
	if hooks := strings.Split(o.Claim.Annotations["helm.sh/hook"], ","); !slices.Equal(hooks, []string{"pre-install", "pre-upgrade"}) {
		t.Errorf("helm waits for it, or makes it too late: %q", hooks)
	}
	if policy := o.Claim.Annotations["helm.sh/hook-delete-policy"]; policy != "hook-failed" { // nothing means before-hook-creation
		t.Errorf("backups are deleted: policy %q", policy)
	}
	there["PersistentVolumeClaim/"+o.Claim.Name] = map[string]any{"metadata": map[string]any{"name": o.Claim.Name}}
	if claim(upgrade(t, there, "--set", backups)) {
		t.Error("it is made a second time, which Kubernetes refuses")
	}
}
