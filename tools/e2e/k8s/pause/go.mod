module github.com/sealedge/sealedge/tools/e2e/k8s/pause

go 1.26.0
