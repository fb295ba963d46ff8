{{/*
The Secrets that pods mount and that aren't there, separated by commas. Empty where helm
asks no cluster, and so doesn't find what every namespace has. Those of cert-manager come by themselves.
*/}}
{{- define "sealedge.missingSecrets" -}}
{{- $v := .Values -}}
{{- $wanted := list $v.pki.existingSecret $v.keys.existingSecret $v.upstream.existingSecret (include "sealedge.tracingSecret" .) -}}
{{- if $v.fallback.enabled }}{{ $wanted = append $wanted $v.fallback.existingSecret }}{{ end -}}
{{- if $v.backup.enabled }}{{ $wanted = append $wanted $v.backup.existingSecret }}{{ end -}}
{{- if $v.test.enabled }}{{ $wanted = append $wanted $v.test.existingSecret }}{{ end -}}
{{- $missing := list -}}
{{- if include "sealedge.found" (dict "root" . "apiVersion" "v1" "kind" "ServiceAccount" "name" "default") | fromJson -}}
{{- range $wanted | compact | uniq -}}
{{- if not (include "sealedge.found" (dict "root" $ "apiVersion" "v1" "kind" "Secret" "name" .) | fromJson) -}}
{{- $missing = append $missing . -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- join ", " $missing -}}
{{- end -}}

{{/*
Refuses a Secret that is there and lacks what pods read of it: they would wait for it
for ever, and so would the nodes that are still to be replaced.
*/}}
{{- define "sealedge.validateSecrets" -}}
{{- $lacks := dict -}}
{{- range include "sealedge.pki" . | fromYamlArray -}}
{{- $secret := .secret -}}
{{- $there := include "sealedge.found" (dict "root" $ "apiVersion" "v1" "kind" "Secret" "name" ($secret.name | default "")) | fromJson -}}
{{- if $there -}}
{{- range $secret.items -}}
{{- if not (hasKey (dig "data" dict $there | default dict) .key) -}}
{{- $_ := set $lacks $secret.name (append (get $lacks $secret.name | default list) .key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $name, $keys := $lacks -}}
{{- if gt (len $keys) 4 -}}
{{- $keys = append (slice $keys 0 3) (printf "and %d more" (sub (len $keys) 3)) -}}
{{- end -}}
{{- fail (printf "the Secret %s in %s lacks %s. It takes the certificates of all %s nodes that the configuration lists, by the names of their pods" $name $.Release.Namespace (join ", " $keys) (include "sealedge.peers" $)) -}}
{{- end -}}
{{- end -}}
