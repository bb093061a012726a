{{/* What NOTES.txt says; a template of its own so that a parent chart, and a test, can show it. */}}
{{- define "cloudtrail-exporter.notes" -}}
{{- $name := include "cloudtrail-exporter.fullname" . }}
{{- $namespace := include "cloudtrail-exporter.namespace" . }}
{{- $foreign := include "cloudtrail-exporter.foreignConfig" . }}
{{- $sources := (include "cloudtrail-exporter.sources" . | fromYaml).sources }}
{{- $scheme := include "cloudtrail-exporter.tls" . | empty | ternary "http" "https" }}
{{- $kind := eq .Values.mode "statefulset" | ternary "statefulset" "deployment" }}
{{- $config := dict }}
{{- if not $foreign }}{{ $config = include "cloudtrail-exporter.config" . | fromYaml }}{{ end }}
{{- .Chart.Name }} {{ .Chart.AppVersion }}, release {{ .Release.Name }} in namespace {{ $namespace }}.

What it reads
{{- if $foreign }}
  What {{ .Values.existingConfigSecret | empty | ternary "the ConfigMap" "the Secret" }} {{ tpl (default .Values.existingConfigMap .Values.existingConfigSecret) . }} says.
{{- else }}
  services: {{ join ", " (default (list "lookoutmetrics.amazonaws.com") $config.services) }}
  {{- range $sources }}
  {{ .name }} ({{ .type }}):
  {{- if eq .type "lookup" }} Event history of {{ join ", " (default (list (default "the region of the environment" $.Values.aws.region)) .regions) }}, from {{ default "-15m" .start }} on
  {{- else if eq .type "s3" }} s3://{{ .bucket }}/{{ include "cloudtrail-exporter.keyBase" .prefix }}
  {{- else if eq .type "sqs" }} {{ .queue_url }}, files of {{ join ", " .buckets }}
  {{- else if eq .type "logs" }} log group {{ .log_group }} in {{ default (default "the region of the environment" $.Values.aws.region) .region }}
  {{- else }} {{ .path }}
  {{- end }}
  {{- end }}
  {{- $history := false }}
  {{- range $sources }}{{ if eq .type "lookup" }}{{ $history = true }}{{ end }}{{ end }}
  {{- if and $history (has "lookoutmetrics.amazonaws.com" (default (list "lookoutmetrics.amazonaws.com") $config.services)) }}
  Amazon Lookout for Metrics ended on 2025-10-09, so its Event history is empty. Name another service in config.services,
  or read the past from an archive: source.s3.
  {{- end }}
Where it goes
  {{- $sink := default dict $config.sink }}
  {{ if eq (default "" $sink.type) "otlp" }}{{ default "OTEL_EXPORTER_OTLP_ENDPOINT" $sink.endpoint }} (OTLP){{ else if eq (default "" $sink.type) "file" }}the file {{ $sink.path }}{{ else }}standard output: kubectl logs. Set otlp.endpoint to send it on.{{ end }}
{{- end }}
{{- if eq .Values.mode "none" }}

No workload: mode is none. The sidecar is the named template "cloudtrail-exporter.sidecar"; templates/_sidecar.tpl tells how a
chart includes it. It needs a pod that runs once: N pods with a sidecar are N pollers, each with a state of its own, and each
event is then published and counted N times.
{{- else }}

How to look at it
  kubectl -n {{ $namespace }} rollout status {{ $kind }}/{{ $name }}
  kubectl -n {{ $namespace }} exec {{ $kind }}/{{ $name }} -- cloudtrail-exporter check    # tries sources and receiver; says that the running exporter holds the state
  kubectl -n {{ $namespace }} port-forward {{ $kind }}/{{ $name }} {{ .Values.metrics.port }}:metrics
  then {{ $scheme }}://localhost:{{ .Values.metrics.port }}/ and {{ $scheme }}://localhost:{{ .Values.metrics.port }}{{ .Values.metrics.path }}
{{- if and .Values.tests.enabled .Values.service.enabled }}
  helm test {{ .Release.Name }} --namespace {{ .Release.Namespace }}
{{- end }}

State
{{- if eq (default "sqlite" (default dict $config.state).type) "memory" }}
  In memory: after each restart everything the sources still have is published again, and the counters begin at 0.
{{- else if or (eq .Values.mode "statefulset") .Values.persistence.enabled .Values.persistence.existingClaim }}
  On a volume: counters, positions and identities survive the pod.
{{- else }}
  On an emptyDir: it survives a restart of the container, not the deletion of the pod. After that everything the sources still
  have from their `start` on is published again with the same log.record.uid, and the counters begin at 0. To keep it:
  --set mode=statefulset, or --set persistence.enabled=true
{{- end }}
  One replica: each further one would have a state of its own and publish and count every event again.
{{- end }}
{{- if not $foreign }}
{{- with (include "cloudtrail-exporter.policies" . | fromYaml).policies }}

What AWS has to allow
{{- if $.Values.aws.existingSecret }} the identity of the keys in Secret {{ tpl $.Values.aws.existingSecret $ }}{{ else if $.Values.aws.roleArn }} the role {{ tpl $.Values.aws.roleArn $ }}{{ else if ne $.Values.mode "none" }} the identity of ServiceAccount {{ include "cloudtrail-exporter.serviceAccountName" $ }} (an association of EKS Pod Identity; or set aws.roleArn for IRSA){{ else }} the identity of your pod's ServiceAccount{{ end }}
{{- range . }}
{{- if .role }}
and the role {{ .role }}, which has to trust the identity above
{{- end }}
{{ .json }}
{{- if contains "KEY-ID" .json }}
The statement with kms:Decrypt is needed only where a key of its own encrypts; fill in the key, or leave the statement out.
{{- end }}
{{- end }}
{{- end }}
{{- else }}

What AWS has to allow: `cloudtrail-exporter check` prints the policy that is missing.
{{- end }}
{{- $warnings := list }}
{{- if not $foreign }}
{{- range $sources }}
{{- if and (not $.Values.aws.region) (or (and (eq .type "lookup") (not .regions)) (and (eq .type "logs") (not .region))) }}
{{- $warnings = append $warnings (printf "source %s has no region and aws.region is empty: the exporter will not start unless its environment names one." .name) }}
{{- end }}
{{- end }}
{{- end }}
{{- if (default dict $config.sink).headers }}
{{- $warnings = append $warnings "config.sink.headers lies in a ConfigMap, where everybody who reads ConfigMaps reads it: use otlp.headersSecret." }}
{{- end }}
{{- if and .Values.aws.roleArn (or (eq .Values.mode "none") (not .Values.serviceAccount.create)) }}
{{- $warnings = append $warnings "aws.roleArn annotates the ServiceAccount of this chart, and none is created: annotate your own with eks.amazonaws.com/role-arn." }}
{{- end }}
{{- if and .Values.aws.roleArn .Values.aws.existingSecret }}
{{- $warnings = append $warnings "aws.roleArn and aws.existingSecret are both set: the keys win, the role is not used." }}
{{- end }}
{{- if and (eq .Values.mode "deployment") (ne .Values.strategy.type "Recreate") }}
{{- $warnings = append $warnings "strategy.type is not Recreate: during a roll-out two exporters read side by side." }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled }}
{{- $warnings = append $warnings "serviceMonitor and podMonitor are both enabled: the pod is scraped twice and its counters add up twice." }}
{{- end }}
{{- if and .Values.ingress.enabled (not (include "cloudtrail-exporter.authenticated" .)) }}
{{- $warnings = append $warnings "the Ingress opens the web surface and the exporter asks for no password: see that something before it does." }}
{{- end }}
{{- range $monitor := list "serviceMonitor" "podMonitor" }}
{{- $given := index $.Values $monitor }}
{{- if and $given.enabled (include "cloudtrail-exporter.tls" $) (not $given.tlsConfig) }}
{{- $warnings = append $warnings (printf "%s.tlsConfig is empty and TLS is on: Prometheus compares the certificate with the pod's address; give it a serverName and an authority." $monitor) }}
{{- end }}
{{- if and $given.enabled (include "cloudtrail-exporter.authenticated" $) (not (or $given.basicAuth $given.authorization $given.tlsConfig)) }}
{{- $warnings = append $warnings (printf "%s has neither basicAuth nor a client certificate, and the exporter asks for one: every scrape will be turned away." $monitor) }}
{{- end }}
{{- if and $given.enabled $.Values.prometheusRule.enabled (ne $given.jobLabel "app.kubernetes.io/name") }}
{{- $warnings = append $warnings (printf "%s.jobLabel is not app.kubernetes.io/name: the rules look for the job %q." $monitor (include "cloudtrail-exporter.name" $)) }}
{{- end }}
{{- end }}
{{- with $warnings }}

WARNING
{{- range . }}
  - {{ . }}
{{- end }}
{{- end }}
{{- end -}}
