{{/*
The file of all nodes. What differs between them is in the environment: see
sealedge.environment. Listeners that name no host are at the pod's addresses.
*/}}
{{- define "sealedge.file" -}}
{{- $root := . -}}
{{- $full := include "sealedge.fullname" . -}}
{{- $pki := "/etc/sealedge/pki" -}}
{{- $peers := list -}}
{{- range $i := until (include "sealedge.peers" . | int) -}}
{{- $node := printf "%s-%d" $full $i -}}
{{- $peers = append $peers (printf "%s=%s:7000" $node (include "sealedge.host" (dict "root" $root "node" $node))) -}}
{{- end -}}
{{- $pair := dict -}}
{{- range list "phone-api" "barrel-api" "gateway" -}}
{{- $_ := set $pair . (dict "cert" (printf "%s/%s.pem" $pki .) "key" (printf "%s/%s-key.pem" $pki .)) -}}
{{- end -}}
{{- $ca := printf "%s/ca.pem" $pki -}}
{{- $upstream := merge (dict "ca" $ca) (get $pair "gateway") -}}
{{- if .Values.upstream.existingSecret -}}
{{- $upstream = dict "ca" "/etc/sealedge/upstream/ca.crt" "cert" "/etc/sealedge/upstream/tls.crt" "key" "/etc/sealedge/upstream/tls.key" -}}
{{- end -}}
{{- $chart := dict
  "node" (dict "data_dir" "/var/lib/sealedge/data")
  "cluster" (dict "listen" ":7000" "peers" $peers "preferred_leader" (printf "%s-0" $full))
  "tls" (dict "ca" $ca)
  "inner" (dict "phone_api" (get $pair "phone-api") "barrel_api" (get $pair "barrel-api"))
  "grant" (dict "key_file" (printf "%s/grant-key.pem" $pki))
  "secrets" (dict "key_file" (printf "%s/secrets.key" $pki))
  "upstream" $upstream
  "intranet" (dict "listen" ":7444" "ca" $ca)
  "admin" (dict "listen" ":7443" "ca" $ca)
-}}
{{- $telemetry := dict -}}
{{- if .Values.metrics.enabled -}}
{{- $_ := set $telemetry "listen" ":9090" -}}
{{- end -}}
{{- with .Values.tracing -}}
{{- if .endpoint -}}
{{- $traces := dict "endpoint" .endpoint "ratio" .ratio -}}
{{- if .existingSecret -}}
{{- range $file, $key := dict "ca.crt" "ca" "tls.crt" "cert" "tls.key" "key" "headers" "headers_file" -}}
{{- if has $file $.Values.tracing.secretKeys -}}
{{- $_ := set $traces $key (printf "/etc/sealedge/tracing/%s" $file) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $_ := set $telemetry "traces" $traces -}}
{{- end -}}
{{- end -}}
{{- if $telemetry -}}
{{- $_ := set $chart "telemetry" $telemetry -}}
{{- end -}}
{{- if .Values.fallback.enabled -}}
{{- $fallback := dict "listen" (ternary "0.0.0.0:7448" ":7448" .Values.fallback.everyInterface) -}}
{{- if .Values.fallback.existingSecret -}}
{{- $_ := set $fallback "cert" "/etc/sealedge/fallback/tls.crt" -}}
{{- $_ := set $fallback "key" "/etc/sealedge/fallback/tls.key" -}}
{{- end -}}
{{- $_ := set $chart "fallback" $fallback -}}
{{- end -}}
{{- if include "sealedge.service" . -}}
{{- $_ := set $chart "gateway" (dict "service" (dict "endpoint_slice" (include "sealedge.gatewayService" .))) -}}
{{- end -}}
{{- $config := mergeOverwrite (deepCopy .Values.config) $chart -}}
{{- if not $config.gateway.interface -}}
{{- $_ := unset $config.gateway "interface" -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/*
The configuration without the keys that nodes take up while they run, and without
sections that are empty then.
*/}}
{{- define "sealedge.fixed" -}}
{{- $file := include "sealedge.file" . | fromYaml -}}
{{- range $path := include "sealedge.reloadable" . | fromYamlArray -}}
{{- $steps := splitList "." $path -}}
{{- $sections := list $file -}}
{{- range initial $steps -}}
{{- $sections = append $sections (get (last $sections) . | default dict) -}}
{{- end -}}
{{- $_ := unset (last $sections) (last $steps) -}}
{{- range $i := until (len (initial $steps)) -}}
{{- $at := sub (sub (len $steps) 2) $i | int -}}
{{- if not (index $sections (add1 $at | int)) -}}
{{- $_ := unset (index $sections $at) (index $steps $at) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $file -}}
{{- end -}}

{{/*
A node shows its own certificates. It is called as its pod, or as {root, node} says,
where another pod works on its data.
*/}}
{{- define "sealedge.environment" -}}
- name: SEALEDGE_NODE_NAME
  {{- if .node }}
  value: {{ .node }}
  {{- else }}
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
  {{- end }}
{{- if not .node }}
# All of a pod's addresses that Kubernetes knows of, of both families, and not those of Multus. "kubectl
# port-forward" comes by loopback.
- name: POD_IPS
  valueFrom: {fieldRef: {fieldPath: status.podIPs}}
- name: SEALEDGE_NODE_LISTEN_AT
  value: $(POD_IPS),127.0.0.1
{{- end }}
{{- if include "sealedge.service" .root }}
- name: SEALEDGE_GATEWAY_BIND
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
- name: SEALEDGE_GATEWAY_SERVICE_MACHINE
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
{{- end }}
{{- $parts := list (list "TLS" "") (list "ADMIN" "-admin") (list "INTRANET" "-intranet") -}}
{{- $fallback := .root.Values.fallback -}}
{{- if and $fallback.enabled (not $fallback.existingSecret) -}}
{{- $parts = append $parts (list "FALLBACK" "-fallback") -}}
{{- end -}}
{{- range $parts }}
- name: SEALEDGE_{{ index . 0 }}_CERT
  value: /etc/sealedge/pki/$(SEALEDGE_NODE_NAME){{ index . 1 }}.pem
- name: SEALEDGE_{{ index . 0 }}_KEY
  value: /etc/sealedge/pki/$(SEALEDGE_NODE_NAME){{ index . 1 }}-key.pem
{{- end }}
{{- end -}}

{{/*
The files of the directory pki. Every pod has the certificates of all nodes, since
a StatefulSet's pods are alike; a subPathExpr that showed each its own would keep
renewed certificates out. The nodes hold the key that signs grants in common, so
that one of them is worth as much as all.
*/}}
{{- define "sealedge.pki" -}}
{{- $root := . -}}
{{- $full := include "sealedge.fullname" . -}}
{{- $own := list (list "" "node") (list "-admin" "server") (list "-intranet" "server") -}}
{{- if and .Values.fallback.enabled (not .Values.fallback.existingSecret) -}}
{{- $own = append $own (list "-fallback" "fallback") -}}
{{- end -}}
{{- $shared := list "phone-api" "barrel-api" -}}
{{- if not .Values.upstream.existingSecret -}}
{{- $shared = append $shared "gateway" -}}
{{- end -}}
{{- $nodes := list -}}
{{- range $i := until (include "sealedge.peers" . | int) -}}
{{- $nodes = append $nodes (printf "%s-%d" $full $i) -}}
{{- end -}}
{{- if .Values.pki.certManager.enabled -}}
- secret:
    name: {{ $full }}-phone-api-tls
    items:
      - {key: ca.crt, path: ca.pem}
{{- range $name := $shared }}
- secret:
    name: {{ $full }}-{{ $name }}-tls
    items:
      - {key: tls.crt, path: {{ $name }}.pem}
      - {key: tls.key, path: {{ $name }}-key.pem}
{{- end }}
{{- range $node := $nodes }}
{{- range $own }}
- secret:
    name: {{ ternary $full $node (eq (index . 1) "fallback") }}-{{ index . 1 }}-tls
    items:
      - {key: tls.crt, path: {{ $node }}{{ index . 0 }}.pem}
      - {key: tls.key, path: {{ $node }}{{ index . 0 }}-key.pem}
{{- end }}
{{- end }}
{{- else -}}
- secret:
    name: {{ .Values.pki.existingSecret }}
    items:
      - {key: ca.pem, path: ca.pem}
{{- range $name := $shared }}
      - {key: {{ $name }}.pem, path: {{ $name }}.pem}
      - {key: {{ $name }}-key.pem, path: {{ $name }}-key.pem}
{{- end }}
{{- range $node := $nodes }}
{{- range $own }}
{{- $file := printf "%s%s" $node (index . 0) }}
      - {key: {{ $file }}.pem, path: {{ $file }}.pem}
      - {key: {{ $file }}-key.pem, path: {{ $file }}-key.pem}
{{- end }}
{{- end }}
{{- end }}
- secret:
    name: {{ .Values.keys.existingSecret | default .Values.pki.existingSecret }}
    items:
      - {key: grant-key.pem, path: grant-key.pem}
      - {key: secrets.key, path: secrets.key}
{{- end -}}
