{{/* Who a policy lets through, as peers of NetworkPolicies. */}}

{{/* The nodes. */}}
{{- define "sealedge.nodePeer" -}}
podSelector:
  matchLabels: {{- include "sealedge.nodeSelector" . | nindent 4 }}
{{- end -}}

{{/* Rules of egress: where names are looked up. */}}
{{- define "sealedge.toNames" -}}
{{- with .Values.networkPolicy.dnsTo -}}
- to: {{- toYaml . | nindent 4 }}
  ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end -}}
{{- end -}}

{{/* The head of a policy, as far as its type: {root, name}. */}}
{{- define "sealedge.policyHead" -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels: {{- include "sealedge.labels" .root | nindent 4 }}
{{- end -}}
