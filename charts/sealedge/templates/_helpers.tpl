{{/* Names and labels. */}}
{{- define "sealedge.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "sealedge.fullname" -}}
{{- $name := include "sealedge.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "sealedge.selector" -}}
app.kubernetes.io/name: {{ include "sealedge.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Of the nodes alone, and not of the backup. */}}
{{- define "sealedge.nodeSelector" -}}
{{ include "sealedge.selector" . }}
app.kubernetes.io/component: gateway
{{- end -}}

{{/* Of every object. What the chart says by itself goes over commonLabels. */}}
{{- define "sealedge.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "sealedge.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with omit .Values.commonLabels "helm.sh/chart" "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "app.kubernetes.io/component" }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Of an object that somebody else finds by labels of the values: {root, labels}. Those go over all others. */}}
{{- define "sealedge.labelsWith" -}}
{{- toYaml (mergeOverwrite (include "sealedge.labels" .root | fromYaml) .labels) -}}
{{- end -}}

{{/* Of pods: {root, own, more}, where own are those that selectors want, which go over all others. They don't change with the chart's version. */}}
{{- define "sealedge.podLabels" -}}
{{- toYaml (mergeOverwrite dict .root.Values.commonLabels .more (.own | fromYaml)) -}}
{{- end -}}

{{- define "sealedge.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "sealedge.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* sealedge.image takes {root, of}, where of is image.gateway or image.tools. */}}
{{- define "sealedge.image" -}}
{{- $name := printf "%s/%s" (trimSuffix "/" .root.Values.image.registry) .of.repository -}}
{{- if .of.digest -}}
{{- printf "%s@%s" $name .of.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .root.Chart.AppVersion .of.tag) -}}
{{- end -}}
{{- end -}}

{{- define "sealedge.pullSecrets" -}}
{{- with .Values.image.pullSecrets -}}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* How many nodes the configuration lists. */}}
{{- define "sealedge.peers" -}}
{{- .Values.peers | default .Values.replicas | int -}}
{{- end -}}

{{- define "sealedge.nodes" -}}
{{- include "sealedge.fullname" . }}-nodes
{{- end -}}

{{/* The DNS name of a node: {root, node}, a name that outlives the pod. */}}
{{- define "sealedge.host" -}}
{{- printf "%s.%s.%s.svc.%s" .node (include "sealedge.nodes" .root) .root.Release.Namespace .root.Values.clusterDomain -}}
{{- end -}}

{{/* One of config's values, by its path; "" if it isn't set. */}}
{{- define "sealedge.config" -}}
{{- $at := .root.Values.config -}}
{{- range splitList "." .path -}}
{{- $at = dig . "" (default dict $at) -}}
{{- end -}}
{{- $at -}}
{{- end -}}

{{- define "sealedge.wireguard" -}}
{{- if eq (include "sealedge.config" (dict "root" . "path" "gateway.wireguard.enabled")) "true" }}true{{ end -}}
{{- end -}}

{{- define "sealedge.wireguardPort" -}}
{{- include "sealedge.config" (dict "root" . "path" "gateway.wireguard.port") | default "51820" -}}
{{- end -}}

{{- define "sealedge.netlink" -}}
{{- if eq (include "sealedge.config" (dict "root" . "path" "gateway.address_driver")) "netlink" }}true{{ end -}}
{{- end -}}

{{- define "sealedge.service" -}}
{{- if eq (include "sealedge.config" (dict "root" . "path" "gateway.address_driver")) "service" }}true{{ end -}}
{{- end -}}

{{/* The Service of the gateway address, and its EndpointSlice. */}}
{{- define "sealedge.gatewayService" -}}
{{- include "sealedge.fullname" . }}-gateway
{{- end -}}

{{- define "sealedge.tun" -}}
{{- if eq (include "sealedge.config" (dict "root" . "path" "inner.driver")) "tun" }}true{{ end -}}
{{- end -}}

{{/* A value as JSON in a string. */}}
{{- define "sealedge.json" -}}
{{- toJson . | replace "'" "''" | squote -}}
{{- end -}}

{{/* The port of a URL. */}}
{{- define "sealedge.port" -}}
{{- $url := urlParse . -}}
{{- regexFind ":[0-9]+$" $url.host | trimPrefix ":" | default (ternary "80" "443" (eq $url.scheme "http")) -}}
{{- end -}}

{{/* HOST:PORT of a URL. */}}
{{- define "sealedge.hostPort" -}}
{{- $host := (urlParse .).host -}}
{{- if regexMatch ":[0-9]+$" $host }}{{ $host }}{{ else }}{{ $host }}:{{ include "sealedge.port" . }}{{ end -}}
{{- end -}}

{{/* The Secret for the collector of traces, if there is a collector. */}}
{{- define "sealedge.tracingSecret" -}}
{{- if .Values.tracing.endpoint }}{{ .Values.tracing.existingSecret }}{{ end -}}
{{- end -}}
