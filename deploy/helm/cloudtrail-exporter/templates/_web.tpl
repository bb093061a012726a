{{/* The web configuration file: what it turns on decides on probes and monitors. */}}

{{/* The file itself, where it is the chart's. */}}
{{- define "cloudtrail-exporter.webConfig" -}}
{{- if .Values.web.config -}}
{{- toYaml .Values.web.config -}}
{{- else if and .Values.web.tlsSecret (not .Values.web.existingSecret) -}}
{{- toYaml (dict "tls_server_config" (dict "cert_file" "tls.crt" "key_file" "tls.key")) -}}
{{- end -}}
{{- end -}}

{{/* The Secret with the file; empty: there is none. */}}
{{- define "cloudtrail-exporter.webSecret" -}}
{{- if .Values.web.existingSecret -}}
{{- tpl .Values.web.existingSecret . -}}
{{- else if include "cloudtrail-exporter.webConfig" . -}}
{{- include "cloudtrail-exporter.fullname" . }}-web
{{- end -}}
{{- end -}}

{{- define "cloudtrail-exporter.tls" -}}
{{- $config := include "cloudtrail-exporter.webConfig" . | fromYaml -}}
{{- if or .Values.web.tls $config.tls_server_config }}true{{ end -}}
{{- end -}}

{{/* Whether a request without password or certificate is turned away. */}}
{{- define "cloudtrail-exporter.authenticated" -}}
{{- $config := include "cloudtrail-exporter.webConfig" . | fromYaml -}}
{{- $client := dig "tls_server_config" "client_auth_type" "" $config -}}
{{- if or .Values.web.authenticated $config.basic_auth_users (has $client (list "RequireAnyClientCert" "RequireAndVerifyClientCert")) }}true{{ end -}}
{{- end -}}

{{/* A probe: as given, with a handler when it has none. Call: (dict "probe" P "path" PATH "context" $) */}}
{{- define "cloudtrail-exporter.probe" -}}
{{- $probe := deepCopy .probe -}}
{{- if not (or $probe.httpGet $probe.tcpSocket $probe.exec $probe.grpc) -}}
{{- if include "cloudtrail-exporter.authenticated" .context -}}
{{- $_ := set $probe "tcpSocket" (dict "port" "metrics") -}}
{{- else -}}
{{- $get := dict "path" .path "port" "metrics" -}}
{{- if include "cloudtrail-exporter.tls" .context }}{{ $_ := set $get "scheme" "HTTPS" }}{{ end -}}
{{- $_ := set $probe "httpGet" $get -}}
{{- end -}}
{{- end -}}
{{- toYaml $probe -}}
{{- end -}}
