{{/*
What the Kubernetes cluster has of {root, apiVersion, kind, name}, as JSON; {} if it
hasn't, or where helm asks no cluster ("helm template"). Nothing else asks; the tests
put their own answers here.
*/}}
{{- define "sealedge.found" -}}
{{- lookup .apiVersion .kind .root.Release.Namespace .name | toJson -}}
{{- end -}}
