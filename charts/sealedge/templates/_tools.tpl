{{/* What the pods that aren't nodes have in common, but for containers and volumes. */}}
{{- define "sealedge.toolPod" -}}
restartPolicy: Never
serviceAccountName: {{ include "sealedge.serviceAccount" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with include "sealedge.pullSecrets" . }}
{{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext: {{- include "sealedge.podSecurity" . | nindent 2 }}
{{- end -}}

{{/* The labels of a pod that isn't a node: {root, component}. */}}
{{- define "sealedge.toolLabels" -}}
{{- $own := printf "%s\napp.kubernetes.io/component: %s" (include "sealedge.selector" .root) .component -}}
{{- include "sealedge.podLabels" (dict "root" .root "more" dict "own" $own) -}}
{{- end -}}

{{- define "sealedge.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Of a container without capabilities. */}}
{{- define "sealedge.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* The admin addresses of the first so many nodes: {root, count}. */}}
{{- define "sealedge.adminAddresses" -}}
{{- $root := .root -}}
{{- $addresses := list -}}
{{- range $i := until (int .count) -}}
{{- $node := printf "%s-%d" (include "sealedge.fullname" $root) $i -}}
{{- $addresses = append $addresses (printf "%s:7443" (include "sealedge.host" (dict "root" $root "node" $node))) -}}
{{- end -}}
{{- join "," $addresses -}}
{{- end -}}

{{/* The files of an operator in a Secret: of the user's, or of cert-manager's. */}}
{{- define "sealedge.operatorFiles" -}}
{{- ternary (dict "ca" "ca.pem" "cert" "cert.pem" "key" "key.pem") (dict "ca" "ca.crt" "cert" "tls.crt" "key" "tls.key") (ne . "") | toJson -}}
{{- end -}}
