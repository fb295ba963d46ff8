package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"

	"github.com/sealedge/sealedge/edge/config"
)

const restoring = "restore.enabled=true,restore.backup=a.backup,restore.existingSecret=identity,restore.existingClaim=backups"

// While a volume is restored no node runs, no node's volume is thrown away, and no
// backup is made of nothing.
func TestNothingRunsWhileAVolumeIsRestored(t *testing.T) {
	o, refused := upgrade(t, release(3, 3), "--set", restoring+",persistence.whenScaled=Delete,replicas=1,backup.enabled=true,backup.recipients={age1abc},backup.existingSecret=b")
	if refused != "" {
		t.Fatal(refused)
	}
	if n := *o.Nodes.Spec.Replicas; n != 0 {
		t.Errorf("%d nodes run", n)
	}
	if policy := o.Nodes.Spec.PersistentVolumeClaimRetentionPolicy.WhenScaled; policy != "Retain" {
		t.Errorf("volumes of nodes that are stopped: %s", policy)
	}
	if !*o.Backup.Spec.Suspend {
		t.Error("backups are taken")
	}
	if o.Jobs["seals-sealedge-scale-down"] != nil {
		t.Error("members are removed of a cluster that doesn't run")
	}
	// The nodes start afterwards, with the policy that was asked for.
	job := map[string]any{"status": map[string]any{"succeeded": 1}}
	there := release(0, 3).claim(0)
	there["Job/seals-sealedge-restore"] = job
	o, refused = upgrade(t, there, "--set", "persistence.whenScaled=Delete")
	if refused != "" || *o.Nodes.Spec.Replicas != 3 || o.Nodes.Spec.PersistentVolumeClaimRetentionPolicy.WhenScaled != "Delete" || len(o.Jobs) > 0 {
		t.Errorf("afterwards: %s %+v", refused, o)
	}
}

// The Job works on the claim that the StatefulSet gives to its first pod, which is
// made if it isn't there: as the StatefulSet would make it, and to stay.
func TestTheFirstNodesVolumeIsRestored(t *testing.T) {
	for name, c := range map[string]struct {
		there found
		args  []string
		made  bool
	}{
		"an upgrade":                        {release(3, 3), []string{"--is-upgrade"}, false},
		"an upgrade, the volume is deleted": {found{"StatefulSet/seals-sealedge": release(0, 3)["StatefulSet/seals-sealedge"]}, []string{"--is-upgrade"}, true},
		"an installation":                   {found{}, nil, true},
	} {
		o, refused := renderOver(t, c.there, append(c.args, "--set", restoring)...)
		if refused != "" {
			t.Fatal(refused)
		}
		template := o.Nodes.Spec.VolumeClaimTemplates[0]
		claim := fmt.Sprintf("%s-%s-0", template.Name, o.Nodes.Name)
		job := o.Jobs["seals-sealedge-restore"]
		volumes := map[string]string{}
		for _, v := range job.Spec.Template.Spec.Volumes {
			if v.PersistentVolumeClaim != nil {
				volumes[v.Name] = v.PersistentVolumeClaim.ClaimName
			}
		}
		if volumes["data"] != claim || volumes["backup"] != "backups" {
			t.Errorf("%s: it mounts %v, and the first node has %s", name, volumes, claim)
		}
		if (o.Claim != nil) != c.made {
			t.Fatalf("%s: a claim is made: %v", name, o.Claim != nil)
		}
		if c.made && (o.Claim.Name != claim || o.Claim.Annotations["helm.sh/hook"] != "pre-install,pre-upgrade" || o.Claim.Annotations["helm.sh/hook-delete-policy"] != "hook-failed" || o.Claim.Spec.Resources.Requests.Storage().Cmp(*template.Spec.Resources.Requests.Storage()) != 0) {
			t.Errorf("%s: %+v", name, o.Claim)
		}
		if *job.Spec.BackoffLimit != 0 || !strings.Contains(job.Annotations["helm.sh/hook"], "post-upgrade") || !strings.Contains(job.Annotations["helm.sh/hook"], "post-install") {
			t.Errorf("%s: %+v", name, job)
		}
	}
}

// What the Job starts with is accepted, in a pod that has no interface of Multus and
// no TUN device, as the first node's.
func TestRestoreReadsTheConfiguration(t *testing.T) {
	a := newAuthority(t)
	for _, name := range []string{"minimal", "full", "external", "single", "service"} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, ok := call(t, "template", "seals", chartDir, "-n", "seals", "--kube-version", kubernetes, "-f", valuesFile(name), "--set", restoring)
			if !ok {
				t.Fatal(stderr)
			}
			o, err := decode(stdout)
			if err != nil {
				t.Fatal(err)
			}
			for _, what := range o.offences() {
				t.Error(what)
			}
			var job *batchv1.Job
			for _, job = range o.Jobs {
			}
			pod := &job.Spec.Template.Spec
			c := pod.Containers[0]
			if want := []string{"/usr/bin/sealedge"}; !slices.Equal(c.Command, want) || c.Args[0] != "restore" {
				t.Fatalf("%q %q", c.Command, c.Args)
			}
			flags := map[string]string{}
			for _, f := range c.Args[1:] {
				k, v, _ := strings.Cut(f, "=")
				flags[k] = v
			}
			var nodes []string
			for i := range 5 {
				nodes = append(nodes, fmt.Sprintf("%s-%d", o.Nodes.Name, i))
			}
			root := t.TempDir()
			mount(t, a, o, pod, root, nodes)
			environ(t, c, "seals-sealedge-restore-x7k2p", root)
			if problems := config.Check(filepath.Join(root, flags["--config"]), nil, time.Now()); len(problems) > 0 {
				t.Error(problems)
			}
			cfg, err := config.Load(filepath.Join(root, flags["--config"]), nil)
			if err != nil {
				t.Fatal(err)
			}
			if string(cfg.Node.Name) != nodes[0] || string(cfg.Node.DataDir) != root+"/var/lib/sealedge/data" {
				t.Errorf("it restores %s of node %s", cfg.Node.DataDir, cfg.Node.Name)
			}
			if _, err := os.Stat(filepath.Join(root, flags["--identity"])); err != nil || flags["--from"] != "/backup/a.backup" {
				t.Errorf("%v: %q", err, flags)
			}
		})
	}
}

// The node that has its data becomes the cluster, by what the runbook says.
func TestTheSurvivorIsRecovered(t *testing.T) {
	a := newAuthority(t)
	o, refused := upgrade(t, release(3, 3), "--set", "recover.enabled=true,recover.node=2,recover.sessionsLost=true")
	if refused != "" {
		t.Fatal(refused)
	}
	job := o.Jobs["seals-sealedge-recover"]
	if job == nil || len(o.Jobs) != 1 || *o.Nodes.Spec.Replicas != 0 || o.Claim != nil {
		t.Fatalf("%+v", o)
	}
	pod := &job.Spec.Template.Spec
	c := pod.Containers[0]
	if want := []string{"recover", "--config=/etc/sealedge/config/sealedge.yaml", "--yes", "--sessions-lost"}; !slices.Equal(c.Args, want) {
		t.Errorf("%q, want %q", c.Args, want)
	}
	if claim := pod.Volumes[0].PersistentVolumeClaim.ClaimName; claim != "data-seals-sealedge-2" {
		t.Errorf("it works on %s", claim)
	}
	for _, what := range o.offences() {
		t.Error(what)
	}
	root := t.TempDir()
	mount(t, a, o, pod, root, []string{"seals-sealedge-0", "seals-sealedge-1", "seals-sealedge-2"})
	environ(t, c, "seals-sealedge-recover-x7k2p", root)
	cfg, err := config.Load(filepath.Join(root, "etc/sealedge/config/sealedge.yaml"), nil)
	if err != nil || string(cfg.Node.Name) != "seals-sealedge-2" {
		t.Errorf("%v: it is node %s", err, cfg.Node.Name)
	}
	if problems := config.Check(filepath.Join(root, "etc/sealedge/config/sealedge.yaml"), nil, time.Now()); len(problems) > 0 {
		t.Error(problems)
	}
	o, _ = upgrade(t, release(3, 3), "--set", "recover.enabled=true")
	if args := o.Jobs["seals-sealedge-recover"].Spec.Template.Spec.Containers[0].Args; slices.Contains(args, "--sessions-lost") {
		t.Errorf("%q", args)
	}
}

// since is an object with the time when it was made, and its status.
func since(at string, status map[string]any) map[string]any {
	return map[string]any{"metadata": map[string]any{"creationTimestamp": at}, "status": status}
}

func TestRestoreIsRefused(t *testing.T) {
	unfinished := release(0, 3)
	unfinished["Job/seals-sealedge-restore"] = map[string]any{"status": map[string]any{"failed": 1}}
	unrecovered := release(0, 3)
	unrecovered["Job/seals-sealedge-recover"] = map[string]any{"status": map[string]any{"active": 1}}
	ending := release(0, 3)
	ending["PersistentVolumeClaim/data-seals-sealedge-0"] = map[string]any{"metadata": map[string]any{"deletionTimestamp": "2026-11-23T07:00:00Z"}}
	// As it is when the claims were deleted for a restoration that nobody began.
	emptied := found{"StatefulSet/seals-sealedge": release(0, 3)["StatefulSet/seals-sealedge"]}
	// A restoration of long ago says nothing of the volume that was made for this one.
	old := release(0, 3).claim(0)
	old["PersistentVolumeClaim/data-seals-sealedge-0"] = since("2026-11-23T07:00:00Z", nil)
	old["Job/seals-sealedge-restore"] = since("2026-05-01T07:00:00Z", map[string]any{"succeeded": 1})
	for name, c := range map[string]struct {
		there found
		set   string
		says  string
	}{
		"to begin without volumes":     {emptied, "replicas=3", "would begin a new, empty cluster"},
		"to begin by an old success":   {old, "replicas=3", "kubectl -n seals logs job/seals-sealedge-restore"},
		"no backup":                    {release(3, 3), "restore.enabled=true", "restore.backup is missing"},
		"a path":                       {release(3, 3), restoring + ",restore.backup=../etc/passwd", "restore/backup"},
		"no identity":                  {release(3, 3), "restore.enabled=true,restore.backup=a", "restore.existingSecret is missing"},
		"no claim":                     {release(3, 3), "restore.enabled=true,restore.backup=a,restore.existingSecret=i", "restore.existingClaim is missing"},
		"no Secret":                    {release(3, 3), restoring + ",restore.existingSecret=nothing", "there is no Secret nothing in seals"},
		"no claim of that name":        {release(3, 3), restoring + ",restore.existingClaim=nothing", "there is no claim nothing in seals"},
		"a claim that goes":            {ending, restoring, "is being deleted"},
		"to begin, when it has failed": {unfinished, "replicas=3", "kubectl -n seals logs job/seals-sealedge-restore"},
		"to go on, when it has failed": {unrecovered, "replicas=3", "kubectl -n seals logs job/seals-sealedge-recover"},
		"both":                         {release(3, 3), restoring + ",recover.enabled=true", "exclude each other"},
		"a node that there isn't":      {release(3, 3), "recover.enabled=true,recover.node=3", "the last node is 2"},
	} {
		if _, refused := upgrade(t, c.there, "--set", c.set); !strings.Contains(refused, c.says) {
			t.Errorf("%s: %q isn't in %q", name, c.says, refused)
		}
	}
	// The first one's volume isn't missed where another one's was recovered; what was restored begins.
	recovered := release(0, 3).claim(2)
	recovered["Job/seals-sealedge-recover"] = since("2026-11-23T08:00:00Z", map[string]any{"succeeded": 1})
	restored := release(0, 3).claim(0)
	restored["PersistentVolumeClaim/data-seals-sealedge-0"] = since("2026-11-23T07:00:00Z", nil)
	restored["Job/seals-sealedge-restore"] = since("2026-11-23T07:00:00Z", map[string]any{"succeeded": 1})
	for _, there := range []found{recovered, restored} {
		if _, refused := upgrade(t, there); refused != "" {
			t.Error(refused)
		}
	}
	// Once the nodes run, an old Job says nothing.
	unfinished = release(3, 3)
	unfinished["Job/seals-sealedge-restore"] = map[string]any{"status": map[string]any{"failed": 1}}
	if _, refused := upgrade(t, unfinished); refused != "" {
		t.Error(refused)
	}
}
