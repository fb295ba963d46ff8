{{/* What a node reads: its configuration, certificates and keys. */}}
{{- define "sealedge.mounts" -}}
# As a directory: a file by its subPath would never change.
- {name: config, mountPath: /etc/sealedge/config, readOnly: true}
- {name: pki, mountPath: /etc/sealedge/pki, readOnly: true}
{{- if .Values.upstream.existingSecret }}
- {name: upstream, mountPath: /etc/sealedge/upstream, readOnly: true}
{{- end }}
{{- if and .Values.fallback.enabled .Values.fallback.existingSecret }}
- {name: fallback, mountPath: /etc/sealedge/fallback, readOnly: true}
{{- end }}
{{- if include "sealedge.tracingSecret" . }}
- {name: tracing, mountPath: /etc/sealedge/tracing, readOnly: true}
{{- end }}
{{- end -}}

{{- define "sealedge.volumes" -}}
- name: config
  configMap:
    name: {{ include "sealedge.fullname" . }}
- name: pki
  projected:
    # The daemon refuses keys that everybody can read.
    defaultMode: 0440
    sources: {{- include "sealedge.pki" . | nindent 6 }}
{{- with .Values.upstream.existingSecret }}
- name: upstream
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- if .Values.fallback.enabled }}
{{- with .Values.fallback.existingSecret }}
- name: fallback
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end }}
{{- with include "sealedge.tracingSecret" . }}
- name: tracing
  secret:
    secretName: {{ . }}
    defaultMode: 0440
    items:
      {{- range $.Values.tracing.secretKeys }}
      - {key: {{ . }}, path: {{ . }}}
      {{- end }}
{{- end }}
{{- end -}}

{{/* What a claim asks for: {size, storageClass}. */}}
{{- define "sealedge.claim" -}}
accessModes: [ReadWriteOnce]
{{- with .storageClass }}
storageClassName: {{ . }}
{{- end }}
resources:
  requests:
    storage: {{ .size }}
{{- end -}}
