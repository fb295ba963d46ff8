{{/* Refuses a repair that can't be done, and to start nodes where one wasn't. */}}
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
{{- if include "sealedge.found" (dict "root" . "apiVersion" "v1" "kind" "ServiceAccount" "name" "default") | fromJson -}}
{{- if not (include "sealedge.found" (dict "root" . "apiVersion" "v1" "kind" "Secret" "name" $r.existingSecret) | fromJson) -}}
{{- fail (printf "restore.existingSecret: there is no Secret %s in %s" $r.existingSecret $namespace) -}}
{{- end -}}
{{- $from := include "sealedge.restoreClaim" . -}}
{{- if not (include "sealedge.found" (dict "root" . "apiVersion" "v1" "kind" "PersistentVolumeClaim" "name" $from) | fromJson) -}}
{{- fail (printf "there is no claim %s in %s, on which the backup would be: restore.existingClaim names another" $from $namespace) -}}
{{- end -}}
{{- end -}}
{{- if dig "metadata" "deletionTimestamp" "" $claim -}}
{{- fail (printf "the claim data-%s-0 is being deleted: wait until it is gone. A pod that still uses it holds it:\n  kubectl -n %s get pods,pvc" $full $namespace) -}}
{{- end -}}
{{- end -}}
{{- if and $r.enabled .Values.recover.enabled -}}
{{- fail "restore.enabled and recover.enabled exclude each other: a backup is restored where no node has its data any more" -}}
{{- end -}}
{{- if and .Values.recover.enabled (ge (int .Values.recover.node) (include "sealedge.peers" . | int)) -}}
{{- fail (printf "recover.node is %d, and the last node is %d" (int .Values.recover.node) (sub (include "sealedge.peers" . | int) 1)) -}}
{{- end -}}
{{- if not (include "sealedge.stopped" .) -}}
{{- $nodes := include "sealedge.found" (dict "root" . "apiVersion" "apps/v1" "kind" "StatefulSet" "name" $full) | fromJson -}}
{{- if and $nodes (eq (dig "spec" "replicas" 1 $nodes | int) 0) -}}
{{- $volumes := dict -}}
{{- range $i := until 5 -}}
{{- $claim := include "sealedge.found" (dict "root" $ "apiVersion" "v1" "kind" "PersistentVolumeClaim" "name" (printf "data-%s-%d" $full $i)) | fromJson -}}
{{- if $claim -}}
{{- $_ := set $volumes (toString $i) (dig "metadata" "creationTimestamp" "" $claim) -}}
{{- end -}}
{{- end -}}
{{- range $verb, $else := dict "restore" "would begin a new, empty cluster" "recover" "would have no quorum" -}}
{{- $job := include "sealedge.found" (dict "root" $ "apiVersion" "batch/v1" "kind" "Job" "name" (printf "%s-%s" $full $verb)) | fromJson -}}
{{- /* One of before the first node's volume restored another. */ -}}
{{- $stale := and (eq $verb "restore") (lt (dig "metadata" "creationTimestamp" "" $job) (get $volumes "0")) -}}
{{- if and $job (or $stale (eq (dig "status" "succeeded" 0 $job | int) 0)) -}}
{{- fail (printf "the nodes are stopped, the Job %s-%s hasn't succeeded%s, and without it they %s. See why:\n  kubectl -n %s logs job/%s-%s\nand upgrade once more with %s.enabled. If you mean to start them as they are: kubectl -n %s delete job %s-%s" $full $verb (ternary " with the volume that there is now" "" $stale) $else $namespace $full $verb $verb $namespace $full $verb) -}}
{{- end -}}
{{- end -}}
{{- if not $volumes -}}
{{- fail (printf "the nodes are stopped and have no volumes: they would begin a new, empty cluster. Restore a backup first, with restore.enabled (docs/runbooks/restore.md). If an empty one is what you want, uninstall the release %s and install it anew" .Release.Name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Whether all nodes are stopped, for a Job that works on the volume of one. */}}
{{- define "sealedge.stopped" -}}
{{- if or .Values.restore.enabled .Values.recover.enabled }}true{{ end -}}
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

{{/*
A Job that works on the volume of a node while none runs: {root, verb, node, args,
mounts, volumes}. The upgrade succeeds if it does. It stays: the next upgrade looks at it.
*/}}
{{- define "sealedge.repair" -}}
{{- $root := .root -}}
apiVersion: batch/v1
kind: Job
metadata:
  name: {{ include "sealedge.fullname" $root }}-{{ .verb }}
  namespace: {{ $root.Release.Namespace }}
  labels: {{- include "sealedge.labels" $root | nindent 4 }}
  annotations:
    helm.sh/hook: post-install,post-upgrade
    helm.sh/hook-delete-policy: before-hook-creation
spec:
  # What fails would fail again.
  backoffLimit: 0
  activeDeadlineSeconds: {{ $root.Values.restore.activeDeadlineSeconds }}
  template:
    metadata:
      labels: {{- include "sealedge.toolLabels" (dict "root" $root "component" .verb) | nindent 8 }}
    spec:
      {{- include "sealedge.toolPod" $root | nindent 6 }}
      containers:
        - name: {{ .verb }}
          image: {{ include "sealedge.image" (dict "root" $root "of" $root.Values.image.gateway) }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          command: [/usr/bin/sealedge]
          args: {{- concat (list .verb "--config=/etc/sealedge/config/sealedge.yaml") .args | toYaml | nindent 12 }}
          env:
            {{- include "sealedge.environment" (dict "root" $root "node" .node) | nindent 12 }}
            # This pod has neither the interface nor the device, and needs none.
            {{- if include "sealedge.netlink" $root }}
            - {name: SEALEDGE_GATEWAY_INTERFACE, value: lo}
            {{- end }}
            {{- if include "sealedge.tun" $root }}
            - {name: SEALEDGE_INNER_DRIVER, value: netstack}
            {{- end }}
          resources: {{- toYaml $root.Values.resources | nindent 12 }}
          securityContext: {{- include "sealedge.containerSecurity" $root | nindent 12 }}
          volumeMounts:
            - {name: data, mountPath: /var/lib/sealedge}
            {{- with .mounts }}
            {{- toYaml . | nindent 12 }}
            {{- end }}
            {{- include "sealedge.mounts" $root | nindent 12 }}
      volumes:
        - name: data
          persistentVolumeClaim:
            claimName: data-{{ .node }}
        {{- with .volumes }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- include "sealedge.volumes" $root | nindent 8 }}
{{- end -}}
