{{/* Refuses a restoration that can't be done, and to begin anew where one wasn't. */}}
{{- define "sealedge.validateRestore" -}}
{{- $full := include "sealedge.fullname" . -}}
{{- $namespace := .Release.Namespace -}}
{{- $r := .Values.restore -}}
{{- if $r.enabled -}}
{{- if not $r.backup -}}
{{- fail "restore.backup is missing: the name of the backup's file in its claim" -}}
{{- end -}}
{{- if not $r.existingSecret -}}
{{- fail "restore.existingSecret is missing: the Secret with identity.txt, the age identity that can read the backup" -}}
{{- end -}}
{{- if not (include "sealedge.restoreClaim" .) -}}
{{- fail "restore.existingClaim is missing: the claim that the backup is on; it is only known with backup.enabled" -}}
{{- end -}}
{{- $claim := include "sealedge.found" (dict "root" . "apiVersion" "v1" "kind" "PersistentVolumeClaim" "name" (printf "data-%s-0" $full)) | fromJson -}}
{{- if dig "metadata" "deletionTimestamp" "" $claim -}}
{{- fail (printf "the claim data-%s-0 is being deleted: wait until it is gone. A pod that still uses it holds it:\n  kubectl -n %s get pods,pvc" $full $namespace) -}}
{{- end -}}
{{- else -}}
{{- $job := include "sealedge.found" (dict "root" . "apiVersion" "batch/v1" "kind" "Job" "name" (printf "%s-restore" $full)) | fromJson -}}
{{- $nodes := include "sealedge.found" (dict "root" . "apiVersion" "apps/v1" "kind" "StatefulSet" "name" $full) | fromJson -}}
{{- if and $job $nodes (eq (dig "spec" "replicas" 1 $nodes | int) 0) (eq (dig "status" "succeeded" 0 $job | int) 0) -}}
{{- fail (printf "the restoration hasn't succeeded, and without it the nodes would begin a new, empty cluster. See why:\n  kubectl -n %s logs job/%s-restore\nand upgrade once more with restore.enabled. If you mean to begin without the backup: kubectl -n %s delete job %s-restore" $namespace $full $namespace $full) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "sealedge.backupClaim" -}}
{{- .Values.backup.existingClaim | default (printf "%s-backup" (include "sealedge.fullname" .)) -}}
{{- end -}}

{{/* The claim that the backup is on; empty: nobody said. */}}
{{- define "sealedge.restoreClaim" -}}
{{- if .Values.restore.existingClaim -}}
{{- .Values.restore.existingClaim -}}
{{- else if or .Values.backup.enabled .Values.backup.existingClaim -}}
{{- include "sealedge.backupClaim" . -}}
{{- end -}}
{{- end -}}
