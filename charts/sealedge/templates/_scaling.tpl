{{/*
How many nodes there are before an upgrade. 0: it is none, or they are all stopped, as
for a restoration.
*/}}
{{- define "sealedge.was" -}}
{{- $found := dict -}}
{{- if .Release.IsUpgrade -}}
{{- $found = include "sealedge.found" (dict "root" . "apiVersion" "apps/v1" "kind" "StatefulSet" "name" (include "sealedge.fullname" .)) | fromJson -}}
{{- end -}}
{{- dig "spec" "replicas" 0 $found | int -}}
{{- end -}}

{{/* The nodes that an upgrade takes away, separated by spaces. */}}
{{- define "sealedge.leaving" -}}
{{- $full := include "sealedge.fullname" . -}}
{{- $names := list -}}
{{- if not (include "sealedge.stopped" .) -}}
{{- range $i := untilStep (int .Values.replicas) (include "sealedge.was" . | int) 1 -}}
{{- $names = append $names (printf "%s-%d" $full $i) -}}
{{- end -}}
{{- end -}}
{{- join " " $names -}}
{{- end -}}

{{/* The Secret of the operator that removes them; empty: they are removed by hand. */}}
{{- define "sealedge.operatorSecret" -}}
{{- .Values.operator.existingSecret | default (ternary (printf "%s-operator-tls" (include "sealedge.fullname" .)) "" .Values.operator.certManager) -}}
{{- end -}}

{{/* Refuses a change of the number of nodes that would come to nothing, or to harm. */}}
{{- define "sealedge.validateScaling" -}}
{{- $full := include "sealedge.fullname" . -}}
{{- $namespace := .Release.Namespace -}}
{{- $was := include "sealedge.was" . | int -}}
{{- $replicas := int .Values.replicas -}}
{{- if and $was (not (include "sealedge.stopped" .)) -}}
{{- if lt $replicas $was -}}
{{- if not (include "sealedge.operatorSecret" .) -}}
{{- fail (printf "replicas goes from %d to %d, and operator.existingSecret is missing, with which the nodes that go would be removed from the cluster. Set it, or do it by hand:\n  sealctl cluster retire %s --reason WHY\n  kubectl -n %s scale statefulset/%s --replicas %d\nand upgrade then" $was $replicas (include "sealedge.leaving" .) $namespace $full $replicas) -}}
{{- end -}}
{{- $secret := include "sealedge.operatorSecret" . -}}
{{- if not (include "sealedge.found" (dict "root" . "apiVersion" "v1" "kind" "Secret" "name" $secret) | fromJson) -}}
{{- fail (printf "replicas goes from %d to %d, and the Secret %s isn't there, with which the nodes that go would be removed from the cluster" $was $replicas $secret) -}}
{{- end -}}
{{- else if gt $replicas $was -}}
{{- $file := include "sealedge.found" (dict "root" . "apiVersion" "v1" "kind" "ConfigMap" "name" $full) | fromJson | dig "data" "sealedge.yaml" "{}" | fromYaml -}}
{{- $listed := dig "cluster" "peers" list $file | len -}}
{{- if lt $listed $replicas -}}
{{- fail (printf "replicas goes from %d to %d, but the nodes that run know of %d: upgrade with replicas=%d and peers=%d, wait until all nodes are ready, and raise replicas then" $was $replicas $listed $was $replicas) -}}
{{- end -}}
{{- $status := include "sealedge.found" (dict "root" . "apiVersion" "apps/v1" "kind" "StatefulSet" "name" $full) | fromJson | dig "status" dict -}}
{{- if ne (dig "currentRevision" "" $status) (dig "updateRevision" "" $status) -}}
{{- fail (printf "replicas goes from %d to %d, but not all nodes run with the list of %d yet. See that they do, and try again:\n  kubectl -n %s rollout status statefulset/%s" $was $replicas $listed $namespace $full) -}}
{{- end -}}
{{- range $i := untilStep $was $replicas 1 -}}
{{- $node := printf "%s-%d" $full $i -}}
{{- if include "sealedge.found" (dict "root" $ "apiVersion" "v1" "kind" "PersistentVolumeClaim" "name" (printf "data-%s" $node)) | fromJson -}}
{{- fail (printf "%s would start with the volume of the claim data-%s, which is there already. If the node was removed (\"sealctl cluster members\" has it no more), its data can't be used again:\n  kubectl -n %s delete pvc data-%s\nIf it is a member, start it before the upgrade:\n  kubectl -n %s scale statefulset/%s --replicas %d" $node $node $namespace $node $namespace $full $replicas) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A quantity in bytes: the API server writes 1.5Gi as 1536Mi. */}}
{{- define "sealedge.bytes" -}}
{{- $units := dict "m" 1e-3 "" 1.0 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 -}}
{{- mulf (regexFind "^[0-9.]*" . | float64) (get $units (regexFind "[A-Za-z]*$" .) | default 1.0) | ceil | printf "%.0f" -}}
{{- end -}}

{{/* A StatefulSet's claims can't be changed: the API server says so, but not what to do. */}}
{{- define "sealedge.validateVolumes" -}}
{{- $full := include "sealedge.fullname" . -}}
{{- $namespace := .Release.Namespace -}}
{{- $claims := list -}}
{{- if .Release.IsUpgrade -}}
{{- $claims = include "sealedge.found" (dict "root" . "apiVersion" "apps/v1" "kind" "StatefulSet" "name" $full) | fromJson | dig "spec" "volumeClaimTemplates" list -}}
{{- end -}}
{{- range $claims -}}
{{- $size := dig "spec" "resources" "requests" "storage" "" . -}}
{{- if ne (include "sealedge.bytes" $size) (include "sealedge.bytes" $.Values.persistence.size) -}}
{{- fail (printf "persistence.size is %s, and the volumes of the nodes that run have %s. Enlarge each volume, if its class can; then have the StatefulSet made anew by this upgrade, while its pods go on:\n  kubectl -n %s patch pvc data-%s-0 -p '{\"spec\":{\"resources\":{\"requests\":{\"storage\":\"%s\"}}}}'\n  kubectl -n %s delete statefulset %s --cascade=orphan" $.Values.persistence.size $size $namespace $full $.Values.persistence.size $namespace $full) -}}
{{- end -}}
{{- $class := dig "spec" "storageClassName" "" . -}}
{{- if ne $class $.Values.persistence.storageClass -}}
{{- fail (printf "persistence.storageClass is %q, and the volumes of the nodes that run are of %q: a volume can't change its class. Keep it; or replace the nodes one after the other, as docs/runbooks/dead-node.md says, after:\n  kubectl -n %s delete statefulset %s --cascade=orphan" $.Values.persistence.storageClass $class $namespace $full) -}}
{{- end -}}
{{- if ne (dig "metadata" "annotations" dict . | default dict | toJson) (toJson $.Values.persistence.annotations) -}}
{{- fail (printf "persistence.annotations aren't those with which the claims of the nodes were made. Annotate each claim by hand; then have the StatefulSet made anew by this upgrade, while its pods go on:\n  kubectl -n %s annotate pvc data-%s-0 KEY=VALUE\n  kubectl -n %s delete statefulset %s --cascade=orphan" $namespace $full $namespace $full) -}}
{{- end -}}
{{- end -}}
{{- end -}}
