{{/* The exporter's configuration, and what follows from it: sources, addresses, ports, policies. */}}

{{/* Whether the configuration is somebody else's: then nothing is known of it here. */}}
{{- define "cloudtrail-exporter.foreignConfig" -}}
{{- if or .Values.existingConfigMap .Values.existingConfigSecret }}true{{ end -}}
{{- end -}}

{{/* A map without the keys that are null. */}}
{{- define "cloudtrail-exporter.given" -}}
{{- $given := dict -}}
{{- range $key, $value := . -}}
{{- if not (kindIs "invalid" $value) }}{{ $_ := set $given $key $value }}{{ end -}}
{{- end -}}
{{- toYaml $given -}}
{{- end -}}

{{/* The sink of otlp.*; nothing without an endpoint. */}}
{{- define "cloudtrail-exporter.otlpSink" -}}
{{- $otlp := .Values.otlp -}}
{{- if $otlp.endpoint -}}
{{- $sink := dict "type" "otlp" "endpoint" (include "cloudtrail-exporter.tpl" (dict "value" $otlp.endpoint "context" .)) -}}
{{- with $otlp.protocol }}{{ $_ := set $sink "protocol" . }}{{ end -}}
{{- with $otlp.compression }}{{ $_ := set $sink "compression" . }}{{ end -}}
{{- if not (kindIs "invalid" $otlp.timeoutSeconds) }}{{ $_ := set $sink "timeout_seconds" $otlp.timeoutSeconds }}{{ end -}}
{{- if not (kindIs "invalid" $otlp.maxRequestBytes) }}{{ $_ := set $sink "max_request_bytes" (int64 $otlp.maxRequestBytes) }}{{ end -}}
{{- if $otlp.caSecret.name }}{{ $_ := set $sink "ca_file" "/etc/cloudtrail-exporter/otlp/ca.crt" }}{{ end -}}
{{- if $otlp.clientCertSecret.name -}}
{{- $_ := set $sink "client_cert_file" "/etc/cloudtrail-exporter/otlp/tls.crt" -}}
{{- $_ := set $sink "client_key_file" "/etc/cloudtrail-exporter/otlp/tls.key" -}}
{{- end -}}
{{- if $otlp.insecureSkipVerify }}{{ $_ := set $sink "insecure_skip_verify" true }}{{ end -}}
{{- toYaml $sink -}}
{{- else if or $otlp.headersSecret.name $otlp.caSecret.name $otlp.clientCertSecret.name $otlp.protocol $otlp.compression -}}
{{- if not (or .Values.config.sink (include "cloudtrail-exporter.foreignConfig" .)) -}}
{{- fail "otlp.endpoint: required, because other values of otlp are set; without an address events go to standard output" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The configuration of the exporter, as YAML. */}}
{{- define "cloudtrail-exporter.config" -}}
{{- $config := include "cloudtrail-exporter.tpl" (dict "value" .Values.config "context" .) | fromYaml -}}
{{- if hasKey $config "Error" }}{{ fail (printf "config: no valid YAML once its templates are filled in: %s" $config.Error) }}{{ end -}}

{{- $sources := default list $config.sources -}}
{{- range $type := list "lookup" "s3" "sqs" "logs" -}}
{{- $preset := index $.Values.source $type -}}
{{- if $preset.enabled -}}
{{- $source := include "cloudtrail-exporter.given" (omit $preset "enabled") | fromYaml -}}
{{- $source = include "cloudtrail-exporter.tpl" (dict "value" $source "context" $) | fromYaml -}}
{{- $sources = append $sources (merge (dict "type" $type) $source) -}}
{{- end -}}
{{- end -}}
{{- $names := list -}}
{{- range $sources -}}
{{- if has .name $names }}{{ fail (printf "two sources are named %q: give one another name; it is a label of its metrics" .name) }}{{ end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- if $sources }}{{ $_ := set $config "sources" $sources }}{{ end -}}

{{- $sink := include "cloudtrail-exporter.otlpSink" . | fromYaml -}}
{{- if $sink -}}
{{- if $config.sink }}{{ fail "config.sink and otlp.endpoint are both set: the receiver is one of them" }}{{ end -}}
{{- $_ := set $config "sink" $sink -}}
{{- end -}}

{{- $metrics := default dict $config.metrics -}}
{{- range $value, $key := dict "zeroSeconds" "zero_seconds" "createdSeries" "created_series" "maxSeries" "max_series" -}}
{{- $given := index $.Values.metrics $value -}}
{{- if not (kindIs "invalid" $given) -}}
{{- if hasKey $metrics $key }}{{ fail (printf "config.metrics.%s and metrics.%s are both set: keep one" $key $value) }}{{ end -}}
{{- $_ := set $metrics $key (kindIs "float64" $given | ternary (eq (toString $given) (toString (int64 $given)) | ternary (int64 $given) $given) $given) -}}
{{- end -}}
{{- end -}}
{{- with .Values.metrics.extraLabels -}}
{{- if hasKey $metrics "extra_labels" }}{{ fail "config.metrics.extra_labels and metrics.extraLabels are both set: keep one" }}{{ end -}}
{{- $_ := set $metrics "extra_labels" . -}}
{{- end -}}
{{- if $metrics }}{{ $_ := set $config "metrics" $metrics }}{{ end -}}

{{- $state := default dict $config.state -}}
{{- if ne (default "sqlite" $state.type) "memory" -}}
{{- $path := "/var/lib/cloudtrail-exporter/state.db" -}}
{{- if ne (default $path $state.path) $path }}{{ fail (printf "config.state.path: %s is where the volume is, in each mode; leave it out" $path) }}{{ end -}}
{{- $_ := set $config "state" (merge (dict "type" "sqlite" "path" $path) $state) -}}
{{- end -}}
{{- range $key, $value := dict "listen_address" "metrics.port" "telemetry_path" "metrics.path" "config_file" "web.config or web.existingSecret" -}}
{{- if hasKey (default dict $config.web) $key }}{{ fail (printf "config.web.%s: set %s; probes, ports and monitors follow it" $key $value) }}{{ end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* The sources as a list under `sources`, the implied one too; empty when the configuration is somebody else's. */}}
{{- define "cloudtrail-exporter.sources" -}}
{{- $sources := list -}}
{{- if not (include "cloudtrail-exporter.foreignConfig" .) -}}
{{- $config := include "cloudtrail-exporter.config" . | fromYaml -}}
{{- $sources = default (list (dict "type" "lookup" "name" "event-history")) $config.sources -}}
{{- end -}}
{{- toYaml (dict "sources" $sources) -}}
{{- end -}}

{{/* The port of an address, with its scheme's when it names none. */}}
{{- define "cloudtrail-exporter.portOf" -}}
{{- $url := urlParse . -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{- if $port }}{{ $port }}{{ else if eq $url.scheme "http" }}80{{ else }}443{{ end -}}
{{- end -}}

{{/* Values that contradict each other: refused with the reason, whatever else is rendered. */}}
{{- define "cloudtrail-exporter.refuse" -}}
{{- if gt (int .Values.replicaCount) 1 -}}
{{- fail (printf "replicaCount: %d is refused: each replica has a state of its own, so %d replicas publish and count every event %d times; the exporter needs one (0 pauses it)" (int .Values.replicaCount) (int .Values.replicaCount) (int .Values.replicaCount)) -}}
{{- end -}}
{{- if and .Values.existingConfigMap .Values.existingConfigSecret -}}
{{- fail "existingConfigMap and existingConfigSecret are both set: the configuration is in one of them" -}}
{{- end -}}
{{- if include "cloudtrail-exporter.foreignConfig" . -}}
{{- $own := list -}}
{{- if .Values.config }}{{ $own = append $own "config" }}{{ end -}}
{{- range $type, $preset := .Values.source }}{{ if $preset.enabled }}{{ $own = append $own (printf "source.%s.enabled" $type) }}{{ end }}{{ end -}}
{{- range $key := list "endpoint" "protocol" "compression" "timeoutSeconds" "maxRequestBytes" "insecureSkipVerify" -}}
{{- if index $.Values.otlp $key }}{{ $own = append $own (printf "otlp.%s" $key) }}{{ end -}}
{{- end -}}
{{- range $key := list "zeroSeconds" "createdSeries" "maxSeries" -}}
{{- if not (kindIs "invalid" (index $.Values.metrics $key)) }}{{ $own = append $own (printf "metrics.%s" $key) }}{{ end -}}
{{- end -}}
{{- if .Values.metrics.extraLabels }}{{ $own = append $own "metrics.extraLabels" }}{{ end -}}
{{- with $own }}{{ fail (printf "%s: without effect beside an existing configuration; set it there" (join ", " .)) }}{{ end -}}
{{- else -}}
{{- $config := include "cloudtrail-exporter.config" . | fromYaml -}}
{{- $shutdown := default 20 $config.shutdown_seconds -}}
{{- if le (float64 .Values.terminationGracePeriodSeconds) (float64 $shutdown) -}}
{{- fail (printf "terminationGracePeriodSeconds: %v is not more than config.shutdown_seconds (%v): the batch in flight would be cut off" .Values.terminationGracePeriodSeconds $shutdown) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.web.config .Values.web.existingSecret -}}
{{- fail "web.config and web.existingSecret are both set: the web configuration is one of them" -}}
{{- end -}}
{{- if and (or .Values.web.tls .Values.web.authenticated) (not .Values.web.existingSecret) -}}
{{- fail "web.tls and web.authenticated describe the Secret of web.existingSecret, which is not set; what web.config and web.tlsSecret turn on is known without them" -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled (not .Values.service.enabled) -}}
{{- fail "serviceMonitor.enabled: it finds the Service, and service.enabled is false; use podMonitor" -}}
{{- end -}}
{{- if and .Values.dashboards.grafanaOperator.enabled (not .Values.dashboards.enabled) -}}
{{- fail "dashboards.grafanaOperator.enabled: it reads the ConfigMaps of dashboards.enabled, which is false" -}}
{{- end -}}
{{- if and .Values.podDisruptionBudget.enabled (not (kindIs "invalid" .Values.podDisruptionBudget.minAvailable)) (not (kindIs "invalid" .Values.podDisruptionBudget.maxUnavailable)) -}}
{{- fail "podDisruptionBudget: maxUnavailable and minAvailable are both set; Kubernetes takes one (set the other to null)" -}}
{{- end -}}
{{- end -}}
