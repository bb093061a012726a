{{/* The container and its volumes: the same in Deployment, StatefulSet and sidecar. */}}

{{/* Environment: where everything is. */}}
{{- define "cloudtrail-exporter.env" -}}
- name: CLOUDTRAIL_EXPORTER_CONFIG
  value: /etc/cloudtrail-exporter/config.yaml
- name: CLOUDTRAIL_EXPORTER_WEB__LISTEN_ADDRESS
  value: {{ printf ":%d" (int .Values.metrics.port) | quote }}
{{- if ne .Values.metrics.path "/metrics" }}
- name: CLOUDTRAIL_EXPORTER_WEB__TELEMETRY_PATH
  value: {{ .Values.metrics.path | quote }}
{{- end }}
{{- if include "cloudtrail-exporter.webSecret" . }}
- name: CLOUDTRAIL_EXPORTER_WEB__CONFIG_FILE
  value: /etc/cloudtrail-exporter/web/web-config.yaml
{{- end }}
- name: STATE_DIRECTORY
  value: /var/lib/cloudtrail-exporter
{{- end -}}

{{/* Environment: AWS and the receiver. */}}
{{- define "cloudtrail-exporter.credentialsEnv" -}}
{{- with .Values.aws.region }}
- name: AWS_REGION
  value: {{ tpl . $ | quote }}
- name: AWS_DEFAULT_REGION
  value: {{ tpl . $ | quote }}
{{- end }}
{{- if .Values.aws.stsRegional }}
- name: AWS_STS_REGIONAL_ENDPOINTS
  value: regional
{{- end }}
{{- if .Values.aws.existingSecret }}
{{- $secret := tpl .Values.aws.existingSecret . }}
{{- range $variable, $key := dict "AWS_ACCESS_KEY_ID" .Values.aws.secretKeys.accessKeyId "AWS_SECRET_ACCESS_KEY" .Values.aws.secretKeys.secretAccessKey "AWS_SESSION_TOKEN" .Values.aws.secretKeys.sessionToken }}
{{- if $key }}
- name: {{ $variable }}
  valueFrom:
    secretKeyRef: {name: {{ $secret | quote }}, key: {{ $key | quote }}}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.otlp.headersSecret }}
{{- if .name }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom:
    secretKeyRef: {name: {{ tpl .name $ | quote }}, key: {{ .key | quote }}}
{{- end }}
{{- end }}
{{- end -}}

{{/* The container. Call: (dict "context" $ "sidecar" BOOL) */}}
{{- define "cloudtrail-exporter.container" -}}
{{- $ := .context -}}
{{- $prefix := .sidecar | ternary "cloudtrail-exporter-" "" -}}
{{- $startup := .sidecar | ternary $.Values.sidecar.startupProbe $.Values.startupProbe -}}
{{- $readiness := .sidecar | ternary $.Values.sidecar.readinessProbe $.Values.readinessProbe -}}
name: {{ .sidecar | ternary $.Values.sidecar.containerName "cloudtrail-exporter" }}
image: {{ include "cloudtrail-exporter.image" $ | quote }}
imagePullPolicy: {{ $.Values.image.pullPolicy }}
{{- if .sidecar }}
restartPolicy: Always
{{- end }}
args:
  - run
  {{- with $.Values.extraArgs }}
  {{- include "cloudtrail-exporter.tpl" (dict "value" . "context" $) | nindent 2 }}
  {{- end }}
env:
  {{- include "cloudtrail-exporter.env" $ | nindent 2 }}
  {{- with include "cloudtrail-exporter.credentialsEnv" $ | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with $.Values.extraEnv }}
  {{- include "cloudtrail-exporter.tpl" (dict "value" . "context" $) | nindent 2 }}
  {{- end }}
{{- with $.Values.extraEnvFrom }}
envFrom:
  {{- include "cloudtrail-exporter.tpl" (dict "value" . "context" $) | nindent 2 }}
{{- end }}
ports:
  - name: metrics
    containerPort: {{ $.Values.metrics.port }}
    protocol: TCP
{{- with $startup }}
startupProbe:
  {{- include "cloudtrail-exporter.probe" (dict "probe" . "path" "/-/healthy" "context" $) | nindent 2 }}
{{- end }}
{{- with $.Values.livenessProbe }}
livenessProbe:
  {{- include "cloudtrail-exporter.probe" (dict "probe" . "path" "/-/healthy" "context" $) | nindent 2 }}
{{- end }}
{{- with $readiness }}
readinessProbe:
  {{- include "cloudtrail-exporter.probe" (dict "probe" . "path" "/-/ready" "context" $) | nindent 2 }}
{{- end }}
{{- with $.Values.lifecycle }}
lifecycle:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $.Values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $.Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  - name: {{ $prefix }}config
    mountPath: /etc/cloudtrail-exporter
    readOnly: true
  - name: {{ $prefix }}state
    mountPath: /var/lib/cloudtrail-exporter
  - name: {{ $prefix }}tmp
    mountPath: /tmp
  {{- with $.Values.extraVolumeMounts }}
  {{- include "cloudtrail-exporter.tpl" (dict "value" . "context" $) | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* The volume with everything below /etc/cloudtrail-exporter, exchanged as a whole when something in it changes. */}}
{{- define "cloudtrail-exporter.configVolume" -}}
projected:
  # Readable to any user: a sidecar's pod may have no fsGroup.
  defaultMode: 0444
  sources:
    {{- if .Values.existingConfigSecret }}
    - secret:
        name: {{ tpl .Values.existingConfigSecret . | quote }}
        items: [{key: {{ .Values.existingConfigKey | quote }}, path: config.yaml}]
    {{- else if .Values.existingConfigMap }}
    - configMap:
        name: {{ tpl .Values.existingConfigMap . | quote }}
        items: [{key: {{ .Values.existingConfigKey | quote }}, path: config.yaml}]
    {{- else }}
    - configMap:
        name: {{ include "cloudtrail-exporter.fullname" . }}
        items: [{key: config.yaml, path: config.yaml}]
    {{- end }}
    {{- with include "cloudtrail-exporter.webSecret" . }}
    - secret:
        name: {{ . | quote }}
        items: [{key: {{ empty $.Values.web.existingSecret | ternary "web-config.yaml" $.Values.web.existingSecretKey | quote }}, path: web/web-config.yaml}]
    {{- end }}
    {{- with .Values.web.tlsSecret }}
    - secret:
        name: {{ tpl . $ | quote }}
        items: [{key: tls.crt, path: web/tls.crt}, {key: tls.key, path: web/tls.key}]
    - secret:
        name: {{ tpl . $ | quote }}
        optional: true
        items: [{key: ca.crt, path: web/ca.crt}]
    {{- end }}
    {{- with .Values.otlp.caSecret }}
    {{- if .name }}
    - secret:
        name: {{ tpl .name $ | quote }}
        items: [{key: {{ .key | quote }}, path: otlp/ca.crt}]
    {{- end }}
    {{- end }}
    {{- with .Values.otlp.clientCertSecret }}
    {{- if .name }}
    - secret:
        name: {{ tpl .name $ | quote }}
        items: [{key: {{ .certKey | quote }}, path: otlp/tls.crt}, {key: {{ .keyKey | quote }}, path: otlp/tls.key}]
    {{- end }}
    {{- end }}
{{- end -}}

{{/* The name of the claim with the state; empty: an emptyDir. A StatefulSet has its own unless one exists. */}}
{{- define "cloudtrail-exporter.claim" -}}
{{- if .Values.persistence.existingClaim -}}
{{- tpl .Values.persistence.existingClaim . -}}
{{- else if and .Values.persistence.enabled (ne .Values.mode "statefulset") -}}
{{- include "cloudtrail-exporter.fullname" . }}-state
{{- end -}}
{{- end -}}

{{/* The volumes. Call: (dict "context" $ "sidecar" BOOL) */}}
{{- define "cloudtrail-exporter.volumes" -}}
{{- $ := .context -}}
{{- $prefix := .sidecar | ternary "cloudtrail-exporter-" "" -}}
{{- $claim := include "cloudtrail-exporter.claim" $ -}}
- name: {{ $prefix }}config
  {{- include "cloudtrail-exporter.configVolume" $ | nindent 2 }}
{{- if $claim }}
- name: {{ $prefix }}state
  persistentVolumeClaim:
    claimName: {{ $claim | quote }}
{{- else if or .sidecar (ne $.Values.mode "statefulset") }}
- name: {{ $prefix }}state
  {{- if $.Values.persistence.emptyDirSizeLimit }}
  emptyDir:
    sizeLimit: {{ $.Values.persistence.emptyDirSizeLimit }}
  {{- else }}
  emptyDir: {}
  {{- end }}
{{- end }}
- name: {{ $prefix }}tmp
  emptyDir:
    sizeLimit: {{ $.Values.tmp.sizeLimit }}
{{- with $.Values.extraVolumes }}
{{ include "cloudtrail-exporter.tpl" (dict "value" . "context" $) }}
{{- end }}
{{- end -}}

{{/* Changes whenever the process would have to read something again that it reads at its start only. */}}
{{- define "cloudtrail-exporter.checksum" -}}
{{- if and .Values.configChecksumAnnotation (not (include "cloudtrail-exporter.foreignConfig" .)) -}}
checksum/config: {{ include "cloudtrail-exporter.config" . | sha256sum }}
{{- end -}}
{{- end -}}

{{/* metadata and spec of the pod. */}}
{{- define "cloudtrail-exporter.podTemplate" -}}
{{- $annotations := list -}}
{{- with include "cloudtrail-exporter.checksum" . }}{{ $annotations = append $annotations (fromYaml .) }}{{ end -}}
{{- if .Values.scrapeAnnotations -}}
{{- $annotations = append $annotations (dict
  "prometheus.io/scrape" "true"
  "prometheus.io/port" (toString (int .Values.metrics.port))
  "prometheus.io/path" .Values.metrics.path
  "prometheus.io/scheme" (include "cloudtrail-exporter.tls" . | empty | ternary "http" "https")) -}}
{{- end -}}
{{- $annotations = append $annotations .Values.podAnnotations -}}
metadata:
  labels:
    {{- include "cloudtrail-exporter.labels" (dict "context" . "extra" (list .Values.podLabels)) | nindent 4 }}
  {{- with include "cloudtrail-exporter.annotations" (dict "context" . "extra" $annotations) | trim }}
  {{- . | nindent 2 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "cloudtrail-exporter.serviceAccountName" . }}
  automountServiceAccountToken: {{ .Values.serviceAccount.automountServiceAccountToken }}
  {{- with include "cloudtrail-exporter.imagePullSecrets" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  enableServiceLinks: false
  {{- with .Values.podSecurityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- range $key := list "priorityClassName" "runtimeClassName" "dnsPolicy" }}
  {{- with index $.Values $key }}
  {{ $key }}: {{ . }}
  {{- end }}
  {{- end }}
  {{- range $key := list "hostAliases" "dnsConfig" "nodeSelector" "tolerations" "affinity" }}
  {{- with index $.Values $key }}
  {{ $key }}:
    {{- include "cloudtrail-exporter.tpl" (dict "value" . "context" $) | nindent 4 }}
  {{- end }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range . }}
    {{- $spread := deepCopy . }}
    {{- if not $spread.labelSelector }}{{ $_ := set $spread "labelSelector" (dict "matchLabels" (include "cloudtrail-exporter.selectorLabels" $ | fromYaml)) }}{{ end }}
    - {{ include "cloudtrail-exporter.tpl" (dict "value" $spread "context" $) | nindent 6 | trim }}
    {{- end }}
  {{- end }}
  {{- with .Values.initContainers }}
  initContainers:
    {{- include "cloudtrail-exporter.tpl" (dict "value" . "context" $) | nindent 4 }}
  {{- end }}
  containers:
    - {{ include "cloudtrail-exporter.container" (dict "context" . "sidecar" false) | nindent 6 | trim }}
    {{- with .Values.extraContainers }}
    {{- include "cloudtrail-exporter.tpl" (dict "value" . "context" $) | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "cloudtrail-exporter.volumes" (dict "context" . "sidecar" false) | nindent 4 }}
{{- end -}}
