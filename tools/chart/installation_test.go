package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sealedge/sealedge/edge/setup"
)

const installationPage = "../../docs/install-kubernetes.md"

// siteOf is the file of values that the page of the installation shows.
func siteOf(t *testing.T) (page, values string) {
	t.Helper()
	b, err := os.ReadFile(installationPage)
	if err != nil {
		t.Fatal(err)
	}
	page = string(b)
	blocks := regexp.MustCompile("(?ms)^( *)```yaml\n(.*?)^ *```$").FindAllStringSubmatch(page, -1)
	if len(blocks) != 1 {
		t.Fatalf("the page has %d files of values", len(blocks))
	}
	return page, regexp.MustCompile("(?m)^"+blocks[0][1]).ReplaceAllString(blocks[0][2], "")
}

// The page's values are a whole site, which is as restricted as any, and the page's
// table has every port that the site opens.
func TestTheInstallationPage(t *testing.T) {
	page, values := siteOf(t)
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, ok := call(t, "template", "seals", chartDir, "-n", "seals", "--kube-version", kubernetes, "-f", file)
	if !ok {
		t.Fatal(stderr)
	}
	o, err := decode(stdout)
	if err != nil {
		t.Fatal(err)
	}
	if offences := o.offences(); len(offences) > 0 {
		t.Errorf("%q", offences)
	}
	if o.Test == nil || o.Backup == nil || len(o.Networks) != 2 {
		t.Errorf("the page's site lacks something: a test %v, a backup %v, networks %d", o.Test != nil, o.Backup != nil, len(o.Networks))
	}
	table := page[strings.Index(page, "### 3. Firewall openings"):]
	table = table[:strings.Index(table, "### 4.")]
	for _, rule := range o.Policy.Spec.Ingress {
		for _, p := range rule.Ports {
			if !regexp.MustCompile(fmt.Sprintf(`%s [\d, ]*\b%s\b`, *p.Protocol, p.Port.String())).MatchString(table) {
				t.Errorf("the table of the page doesn't have %s %s, which the policy opens", *p.Protocol, p.Port.String())
			}
		}
	}
}

// The page's first policy names the page's seal server, without which every use and the
// test are refused.
func TestTheFirstPolicyNamesTheSealServer(t *testing.T) {
	page, values := siteOf(t)
	dir := filepath.Join(t.TempDir(), "site")
	if _, err := setup.Init(dir, setup.Options{Nodes: 1, Now: time.Now()}); err != nil {
		t.Fatal(err)
	}
	edit := regexp.MustCompile("(?m)^ *(sed -i .* site/policy.yaml)$").FindStringSubmatch(page)
	if edit == nil {
		t.Fatal("the page leaves the policy as it is made")
	}
	cmd := exec.Command("sh", "-c", edit[1])
	cmd.Dir = filepath.Dir(dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	policy, err := os.ReadFile(filepath.Join(dir, "policy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	upstream := regexp.MustCompile(`url: https://(\S+)`).FindStringSubmatch(values)
	if upstream == nil || !strings.Contains(string(policy), fmt.Sprintf("\n  servers: [%q]\n", upstream[1])) {
		t.Errorf("the policy doesn't name %q", upstream)
	}
}
