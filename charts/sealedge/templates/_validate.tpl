{{/* What the schema can't say: values that are missing, or contradict each other. */}}
{{- define "sealedge.validate" -}}
{{- $v := .Values -}}
{{- $peers := include "sealedge.peers" . | int -}}
{{- if not $v.config.gateway.address -}}
{{- fail "config.gateway.address is missing: the address that carriers send GTP to" -}}
{{- end -}}
{{- if not $v.config.gateway.gtp.allowed_peers -}}
{{- fail "config.gateway.gtp.allowed_peers is missing: the carriers' gateways, as in [192.0.2.0/24]" -}}
{{- end -}}
{{- if not $v.config.inner.addresses -}}
{{- fail "config.inner.addresses is missing: the gateway's addresses inside of the tunnels, as in [10.90.0.1]" -}}
{{- end -}}
{{- if not $v.config.upstream.url -}}
{{- fail "config.upstream.url is missing: the seal server, as https://host:port" -}}
{{- end -}}
{{- if and (include "sealedge.netlink" .) (not $v.config.gateway.interface) -}}
{{- fail "config.gateway.interface is missing, which config.gateway.address_driver netlink needs: one of multus.networks, or eth0" -}}
{{- end -}}
{{- if and $v.config.gateway.interface (not (include "sealedge.netlink" .)) -}}
{{- fail "config.gateway.interface is only for config.gateway.address_driver netlink" -}}
{{- end -}}
{{- if include "sealedge.netlink" . -}}
{{- $interfaces := list "eth0" -}}
{{- range $v.multus.networks -}}
{{- $interfaces = append $interfaces .interface -}}
{{- end -}}
{{- if not (or (has $v.config.gateway.interface $interfaces) (hasKey $v.podAnnotations "k8s.v1.cni.cncf.io/networks")) -}}
{{- fail (printf "config.gateway.interface is %s, and pods have only %s: add it to multus.networks" $v.config.gateway.interface (join ", " $interfaces)) -}}
{{- end -}}
{{- end -}}
{{- if and $v.multus.networks (hasKey $v.podAnnotations "k8s.v1.cni.cncf.io/networks") -}}
{{- fail "podAnnotations has k8s.v1.cni.cncf.io/networks, which multus.networks makes: name all networks in one of them" -}}
{{- end -}}
{{- if gt (int $v.replicas) $peers -}}
{{- fail (printf "replicas is %d, but the configuration lists %d nodes: raise peers first, wait until all nodes are ready, then raise replicas" (int $v.replicas) $peers) -}}
{{- end -}}
{{- $asked := include "sealedge.found" (dict "root" . "apiVersion" "v1" "kind" "ServiceAccount" "name" "default") | fromJson -}}
{{- if and .Release.IsInstall $asked (ne (int $v.replicas) $peers) -}}
{{- fail (printf "peers is %d and replicas %d: a new cluster begins only when every node that is listed is there; leave peers 0" $peers (int $v.replicas)) -}}
{{- end -}}
{{- include "sealedge.validateVolumes" . -}}
{{- include "sealedge.validateRestore" . -}}
{{- include "sealedge.validateScaling" . -}}
{{- if ge (len (default list $v.config.gateway.addresses)) $peers -}}
{{- fail (printf "config.gateway.addresses makes %d gateway addresses, but there are %d nodes to hold them" (len $v.config.gateway.addresses | add1) $peers) -}}
{{- end -}}
{{- $lb := $v.loadBalancer -}}
{{- if include "sealedge.service" . -}}
{{- if $v.config.gateway.addresses -}}
{{- fail "config.gateway.address_driver service takes one gateway address: remove config.gateway.addresses" -}}
{{- end -}}
{{- if not (or $v.serviceAccount.create $v.serviceAccount.name) -}}
{{- fail "serviceAccount.name is missing: with config.gateway.address_driver service it gets a Role, and default is every pod's" -}}
{{- end -}}
{{- else if or $lb.annotations $lb.loadBalancerIP $lb.loadBalancerClass $lb.loadBalancerSourceRanges -}}
{{- fail "loadBalancer is only for config.gateway.address_driver service" -}}
{{- end -}}
{{- if and $v.pki.existingSecret $v.pki.certManager.enabled -}}
{{- fail "pki.existingSecret and pki.certManager.enabled exclude each other" -}}
{{- end -}}
{{- if not (or $v.pki.existingSecret $v.pki.certManager.enabled) -}}
{{- fail "pki.existingSecret is missing: the Secret that \"sealedge init --kubernetes\" makes; or set pki.certManager.enabled" -}}
{{- end -}}
{{- if $v.pki.certManager.enabled -}}
{{- if not $v.pki.certManager.issuerRef.name -}}
{{- fail "pki.certManager.issuerRef.name is missing: the issuer of all certificates" -}}
{{- end -}}
{{- if not $v.keys.existingSecret -}}
{{- fail "keys.existingSecret is missing: cert-manager makes certificates, but not grant-key.pem and secrets.key" -}}
{{- end -}}
{{- if and $v.fallback.enabled (not $v.fallback.existingSecret) (not $v.fallback.hostnames) -}}
{{- fail "fallback.hostnames is missing: the names that terminals know the listener by; or fallback.existingSecret" -}}
{{- end -}}
{{- end -}}
{{- include "sealedge.validateSecrets" . -}}
{{- if and $v.operator.certManager (not $v.pki.certManager.enabled) -}}
{{- fail "operator.certManager takes pki.certManager.enabled; else operator.existingSecret" -}}
{{- end -}}
{{- if and $v.operator.certManager $v.operator.existingSecret -}}
{{- fail "operator.certManager and operator.existingSecret exclude each other" -}}
{{- end -}}
{{- if and $v.fallback.enabled (not (include "sealedge.wireguard" .)) -}}
{{- fail "fallback.enabled takes config.gateway.wireguard.enabled: there is no fallback path to ask for" -}}
{{- end -}}
{{- if and $v.metrics.serviceMonitor.enabled (not $v.metrics.enabled) -}}
{{- fail "metrics.serviceMonitor.enabled takes metrics.enabled: there is nothing to ask for" -}}
{{- end -}}
{{- if and $v.metrics.serviceMonitor.enabled $v.networkPolicy.enabled (not $v.networkPolicy.metricsFrom) -}}
{{- fail "networkPolicy.metricsFrom is missing: where Prometheus runs, as in [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]" -}}
{{- end -}}
{{- with $v.test -}}
{{- if .enabled -}}
{{- if not .imsi -}}
{{- fail "test.imsi is missing: a terminal of its own, on the allow-list: sealctl device add IMSI --apn APN" -}}
{{- end -}}
{{- if not .apn -}}
{{- fail "test.apn is missing: the access point that the terminal is admitted to" -}}
{{- end -}}
{{- if ne (empty .network.name) (empty .network.address) -}}
{{- fail "test.network takes name and address, or none of them" -}}
{{- end -}}
{{- if ne (empty .existingSecret) (empty .secretKeys) -}}
{{- fail "test.existingSecret takes test.secretKeys, which say what is in it, and they take it" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $v.backup.enabled -}}
{{- if not $v.backup.recipients -}}
{{- fail "backup.recipients is missing: whose age identity can read the backups" -}}
{{- end -}}
{{- if not (or $v.backup.existingSecret $v.pki.certManager.enabled) -}}
{{- fail "backup.existingSecret is missing: an operator's certificate with the role backup" -}}
{{- end -}}
{{- end -}}
{{- end -}}
