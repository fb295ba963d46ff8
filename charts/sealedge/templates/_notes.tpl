{{/*
The Secrets that pods mount and that aren't there, separated by commas. Empty where helm
asks no cluster, and so finds not even a list. Those of cert-manager come by themselves.
*/}}
{{- define "sealedge.missingSecrets" -}}
{{- $v := .Values -}}
{{- $wanted := list $v.pki.existingSecret $v.keys.existingSecret $v.upstream.existingSecret (include "sealedge.tracingSecret" .) -}}
{{- if $v.fallback.enabled }}{{ $wanted = append $wanted $v.fallback.existingSecret }}{{ end -}}
{{- if $v.backup.enabled }}{{ $wanted = append $wanted $v.backup.existingSecret }}{{ end -}}
{{- if $v.test.enabled }}{{ $wanted = append $wanted $v.test.existingSecret }}{{ end -}}
{{- $all := include "sealedge.found" (dict "root" . "apiVersion" "v1" "kind" "Secret" "name" "") | fromJson -}}
{{- $missing := list -}}
{{- if $all -}}
{{- $there := list -}}
{{- range dig "items" list $all -}}
{{- $there = append $there .metadata.name -}}
{{- end -}}
{{- range $wanted | compact | uniq -}}
{{- if not (has . $there) }}{{ $missing = append $missing . }}{{ end -}}
{{- end -}}
{{- end -}}
{{- join ", " $missing -}}
{{- end -}}
