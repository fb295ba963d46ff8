//go:build linux

package lab

import (
	"context"
	"fmt"
	"path/filepath"
)

// startControl starts etcd, the API server, the controllers and the scheduler.
func (l *Lab) startControl(ctx context.Context) error {
	users := []user{
		{"admin", "admin", "system:masters", newToken()},
		{"multus", "multus", "system:masters", newToken()},
		{"manager", "system:kube-controller-manager", "", newToken()},
		{"scheduler", "system:kube-scheduler", "", newToken()},
		{"proxy", "system:kube-proxy", "", newToken()},
	}
	for _, n := range l.Nodes {
		users = append(users, user{n.Name, "system:node:" + n.Name, "system:nodes", newToken()})
	}
	if err := pki(l.pki(), control, users); err != nil {
		return err
	}
	file := func(name string) string { return filepath.Join(l.pki(), name) }
	if err := l.control.start("etcd", "etcd", "--data-dir", filepath.Join(l.control.dir, "etcd"), "--unsafe-no-fsync",
		"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
		"--initial-cluster=default=http://127.0.0.1:2380"); err != nil {
		return err
	}
	if err := l.control.start("apiserver", l.binaries.Hyper, "kube-apiserver", "--etcd-servers=http://127.0.0.1:2379",
		"--advertise-address="+control.String(), "--secure-port=6443",
		"--tls-cert-file="+file("api.crt"), "--tls-private-key-file="+file("api.key"), "--client-ca-file="+file("ca.crt"), "--token-auth-file="+file("tokens.csv"),
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+file("accounts.key"), "--service-account-signing-key-file="+file("accounts.key"),
		"--service-cluster-ip-range="+services, "--authorization-mode=Node,RBAC", "--allow-privileged=true", "--cert-dir="+l.pki(),
		"--kubelet-client-certificate="+file("api.crt"), "--kubelet-client-key="+file("api.key"), "--kubelet-preferred-address-types=InternalIP",
		"--endpoint-reconciler-type=lease"); err != nil {
		return err
	}
	if err := until(ctx, "the API server answers", func() error {
		_, err := l.Kubectl(ctx, "get", "--raw", "/readyz")
		return err
	}); err != nil {
		return err
	}
	if err := l.control.start("controller-manager", l.binaries.Hyper, "kube-controller-manager", "--kubeconfig="+kubeconfig(l.pki(), "manager"),
		"--root-ca-file="+file("ca.crt"), "--service-account-private-key-file="+file("accounts.key"), "--use-service-account-credentials=true",
		"--cluster-signing-cert-file="+file("ca.crt"), "--cluster-signing-key-file="+file("ca.key"), "--leader-elect=false", "--bind-address=127.0.0.1",
		"--cert-dir="+l.pki()); err != nil {
		return err
	}
	if err := l.control.start("scheduler", l.binaries.Hyper, "kube-scheduler", "--kubeconfig="+kubeconfig(l.pki(), "scheduler"),
		"--leader-elect=false", "--bind-address=127.0.0.1", "--cert-dir="+l.pki()); err != nil {
		return err
	}
	return until(ctx, "the namespace default has a service account", func() error {
		_, err := l.Kubectl(ctx, "get", "serviceaccount", "default")
		return err
	})
}

func (l *Lab) pki() string { return filepath.Join(l.dir, "pki") }

// Kubeconfig is that of somebody who may do everything.
func (l *Lab) Kubeconfig() string { return kubeconfig(l.pki(), "admin") }

// Enter says how one gets to a machine from a shell.
func (l *Lab) Enter() string {
	return fmt.Sprintf("nsenter -t %d -m -n -p %s kubectl --kubeconfig %s", l.control.cmd.Process.Pid, l.binaries.Hyper, l.Kubeconfig())
}
