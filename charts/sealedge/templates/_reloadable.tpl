{{/* Made by "go generate ./tools/chart": the keys that nodes take up while they run. */}}
{{- define "sealedge.reloadable" -}}
- gateway.gtp.allowed_peers
- gateway.gtp.answers_per_second
- gateway.gtp.creates_per_second
- gateway.gtp.max_sessions
- log.level
{{- end -}}
