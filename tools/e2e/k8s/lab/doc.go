// Package lab runs a Kubernetes on one machine, for tests: a control plane and
// some nodes, each a machine of its own as far as the kernel's namespaces of
// networks, mounts, processes and names go. Nothing of the machine that it runs on is changed,
// and when it is over nothing is left, however it ended: a machine's first process
// ends when the test does, and the kernel ends all others with it.
//
//	   outside (the test, carriers, phones, the seal server)
//	      |10.250.0.1                       |10.77.0.0/16
//	------+----- nodes -----+-----     -----+---- lan ----+------
//	      |                 |                             |
//	  control .2       node1 .11, node2 .12, ...     node1, node2, ... (lan0, macvlan)
//
// The pods' network is the bridge plugin with a route between the machines
// (10.251.N.0/24 on node N), Services are 10.96.0.0/16, CoreDNS answers at
// 10.96.0.10. Multus gives pods an interface on lan, by the network "lan" of the
// namespace kube-system; each node has a range of addresses there (10.77.1.N0). The
// network "outside" is the same one, for pods that say which address they want.
// Volumes are directories on the nodes, made before, of the class "local".
//
// What it isn't: NetworkPolicies are taken and not enforced, no image is ever
// pulled, and there are no load balancers.
package lab
