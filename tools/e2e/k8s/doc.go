// Package k8s tests the product on a Kubernetes, as its operators meet it: the
// images as built, the chart as shipped, helm, kubectl and sealctl; beside it, on a
// network that the pods are on through Multus, a carrier, phones, barrels and a seal
// server, as tools/sealsim and tools/sealserver have them.
//
// `make k8s-e2e` runs it, as root; without the environment variable that it sets,
// nothing here is run. One Kubernetes (package lab) serves all scenarios, which
// come one after the other, each on what those before left. While they happen
// phones have sessions, and packets go through one of them all the time.
//
// docs/kubernetes-lab.md says what it needs and how to look around in it.
package k8s
