//go:build linux

package lab

import (
	"context"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

//go:embed manifests
var manifests embed.FS

const dnsImage = "sealedge.test/lab/coredns:1"

// images makes those of the lab's own pods.
func (l *Lab) images() (archives []string, err error) {
	for name, program := range map[string]string{pauseImage: l.binaries.Pause, dnsImage: l.binaries.CoreDNS} {
		archive := filepath.Join(l.dir, filepath.Base(program)+".tar")
		if err := image(program, name, archive); err != nil {
			return nil, err
		}
		archives = append(archives, archive)
	}
	return archives, nil
}

// local are the sizes of the volumes that each node has of the class "local".
var local = []string{"10Gi", "10Gi", "10Gi", "10Gi", "10Gi", "20Gi"}

// furnish waits for the nodes and gives them names, networks and volumes.
func (l *Lab) furnish(ctx context.Context) error {
	for _, n := range l.Nodes {
		if err := until(ctx, n.Name+" is there", func() error { _, err := l.Kubectl(ctx, "get", "node", n.Name); return err }); err != nil {
			return err
		}
		for i, size := range local {
			if err := l.volume(ctx, n, fmt.Sprintf("%s-%d", n.Name, i+1), size); err != nil {
				return err
			}
		}
	}
	fill := strings.NewReplacer("$DNS_ADDRESS", DNS.String(), "$DNS_IMAGE", dnsImage)
	for _, name := range []string{"network-attachment-definition.yaml", "storage.yaml", "coredns.yaml"} {
		text, err := manifests.ReadFile("manifests/" + name)
		if err != nil {
			return err
		}
		if err := l.Apply(ctx, fill.Replace(string(text))); err != nil {
			return err
		}
	}
	text, err := manifests.ReadFile("manifests/networks.yaml")
	if err != nil {
		return err
	}
	if err := until(ctx, "networks are known", func() error { return l.Apply(ctx, string(text)) }); err != nil {
		return err
	}
	if _, err := l.Kubectl(ctx, "wait", "--for=condition=Ready", "node", "--all", "--timeout=5m"); err != nil {
		return err
	}
	_, err = l.Kubectl(ctx, "-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=5m")
	return err
}

// volume makes a directory on a node, and has Kubernetes know of it.
func (l *Lab) volume(ctx context.Context, n *Node, name, size string) error {
	path := filepath.Join(n.dir, "volumes", name)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	return l.Apply(ctx, fmt.Sprintf(`apiVersion: v1
kind: PersistentVolume
metadata: {name: %s}
spec:
  capacity: {storage: %s}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  storageClassName: local
  local: {path: %q}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [%s]}]}]}}
`, name, size, path, n.Name))
}
