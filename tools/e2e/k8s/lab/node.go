//go:build linux

package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// kubeletConfig is filled with the node's directory and cgroup.
const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP
failCgroupV1: false
cgroupsPerQOS: true
enforceNodeAllocatable: [pods]
failSwapOn: false
containerRuntimeEndpoint: unix://$DIR/containerd.sock
clusterDNS: [$DNS]
clusterDomain: cluster.local
podLogsDir: $DIR/pods
volumePluginDir: $DIR/plugins
resolvConf: $DIR/resolv.conf
makeIPTablesUtilChains: false
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%, imagefs.inodesFree: 1%}
`

const containerdConfig = `version = 2
root = "$DIR/containerd"
state = "/run/containerd"
[grpc]
  address = "$DIR/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "$DIR/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$PAUSE"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$DIR/cni/bin"
    conf_dir = "$DIR/cni/conf"
`

// multusConfig is Multus with the nodes' own network as the first interface. The
// network of lan0 differs between the nodes, so it isn't in Kubernetes: a range of
// addresses for each is what host-local can give.
const multusConfig = `{"cniVersion": "0.4.0", "name": "multus", "type": "multus", "kubeconfig": "$KUBECONFIG",
 "confDir": "$DIR/cni/networks", "cniDir": "$DIR/cni/multus", "binDir": "$DIR/cni/bin", "logFile": "$DIR/logs/multus.log", "logLevel": "error",
 "delegates": [{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$DIR/cni/addresses", "ranges": [[{"subnet": "$PODS"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}]}
`

const lanConfig = `{"cniVersion": "0.4.0", "name": "lan", "plugins": [
 {"type": "macvlan", "master": "lan0", "mode": "bridge",
  "ipam": {"type": "host-local", "dataDir": "$DIR/cni/lan", "ranges": [[{"subnet": "$LAN", "rangeStart": "$FIRST", "rangeEnd": "$LAST"}]]}}]}
`

// startNode starts what a node needs for its pods, with the images of archives.
func (l *Lab) startNode(ctx context.Context, n *Node, archives []string) error {
	cgroup := filepath.Join(l.cgroup, n.Name)
	if err := makeCgroups(cgroup); err != nil {
		return err
	}
	lan := LAN.Addr().As4()
	fill := strings.NewReplacer("$CGROUP", cgroup, "$DIR", n.dir, "$DNS", DNS.String(), "$PAUSE", pauseImage, "$PODS", n.pods(),
		"$KUBECONFIG", kubeconfig(l.pki(), "multus"), "$LAN", LAN.String(),
		"$FIRST", fmt.Sprintf("%d.%d.1.%d", lan[0], lan[1], 10*(n.index+1)), "$LAST", fmt.Sprintf("%d.%d.1.%d", lan[0], lan[1], 10*(n.index+1)+9))
	for name, content := range map[string]string{
		"kubelet.yaml": kubeletConfig, "containerd.toml": containerdConfig, "resolv.conf": "nameserver 127.0.0.1\n",
		"cni/conf/00-multus.conf": multusConfig, "cni/networks/lan.conflist": lanConfig,
	} {
		path := filepath.Join(n.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(fill.Replace(content)), 0o600); err != nil {
			return err
		}
	}
	if err := n.plugins(l.binaries.Multus); err != nil {
		return err
	}
	if err := n.start("containerd", "containerd", "-c", filepath.Join(n.dir, "containerd.toml")); err != nil {
		return err
	}
	if err := until(ctx, "containerd answers", func() error { _, err := n.ctr("version"); return err }); err != nil {
		return err
	}
	for _, a := range archives {
		if err := n.Import(a); err != nil {
			return err
		}
	}
	if err := n.start("kubelet", l.binaries.Hyper, "kubelet", "--config="+filepath.Join(n.dir, "kubelet.yaml"), "--kubeconfig="+kubeconfig(l.pki(), n.Name),
		"--hostname-override="+n.Name, "--node-ip="+n.address(), "--root-dir="+filepath.Join(n.dir, "kubelet"), "--cert-dir="+filepath.Join(n.dir, "kubelet", "pki")); err != nil {
		return err
	}
	return n.start("proxy", l.binaries.Hyper, "kube-proxy", "--kubeconfig="+kubeconfig(l.pki(), "proxy"), "--hostname-override="+n.Name,
		"--proxy-mode=nftables", "--cluster-cidr="+pods, "--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0")
}

// plugins puts the CNI plugins of Debian and Multus in one place.
func (n *Node) plugins(multus string) error {
	const packaged = "/usr/lib/cni"
	bin := filepath.Join(n.dir, "cni", "bin")
	if err := os.MkdirAll(bin, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(packaged)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.Symlink(filepath.Join(packaged, e.Name()), filepath.Join(bin, e.Name())); err != nil {
			return err
		}
	}
	return os.Symlink(multus, filepath.Join(bin, "multus"))
}

func (n *Node) ctr(args ...string) (string, error) {
	return n.run(append([]string{"ctr", "-a", filepath.Join(n.dir, "containerd.sock"), "-n", "k8s.io"}, args...)...)
}

// Import gives a node the images of an archive.
func (n *Node) Import(archive string) error {
	_, err := n.ctr("images", "import", archive)
	return err
}

// Tag gives an image that a node has a second name.
func (n *Node) Tag(image, name string) error {
	_, err := n.ctr("images", "tag", "--force", image, name)
	return err
}
