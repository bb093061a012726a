{{/* Names, labels and the rendering of values. Each takes the chart's own root context. */}}

{{- define "cloudtrail-exporter.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 52 characters: a StatefulSet's pods carry it in labels, with a hash behind. */}}
{{- define "cloudtrail-exporter.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "cloudtrail-exporter.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "cloudtrail-exporter.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "cloudtrail-exporter.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* A value (object, list or text) with the templates in its text filled in. Call: (dict "value" V "context" $) */}}
{{- define "cloudtrail-exporter.tpl" -}}
{{- $text := kindIs "string" .value | ternary .value (toYaml .value) -}}
{{- if contains "{{" $text -}}
{{- tpl $text .context -}}
{{- else -}}
{{- $text -}}
{{- end -}}
{{- end -}}

{{/* What a selector may hold: it can never change. No chart version here. */}}
{{- define "cloudtrail-exporter.selectorLabels" -}}
app.kubernetes.io/name: {{ include "cloudtrail-exporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* Labels of the pod of `helm test`: no selector of the release finds it. */}}
{{- define "cloudtrail-exporter.testLabels" -}}
app.kubernetes.io/name: {{ include "cloudtrail-exporter.name" . | trunc 58 }}-test
app.kubernetes.io/instance: {{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* All labels of an object. Call: (dict "context" $ "extra" (list MAP ...) ); later ones win, the selector's always. */}}
{{- define "cloudtrail-exporter.labels" -}}
{{- $ := .context -}}
{{- $labels := dict
  "helm.sh/chart" (printf "%s-%s" $.Chart.Name $.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/version" ($.Chart.AppVersion | replace "+" "_" | trunc 63)
  "app.kubernetes.io/managed-by" $.Release.Service
  "app.kubernetes.io/part-of" "cloudtrail-exporter" -}}
{{- range prepend (default list .extra) $.Values.commonLabels -}}
{{- if . }}{{ $labels = mergeOverwrite $labels (include "cloudtrail-exporter.tpl" (dict "value" . "context" $) | fromYaml) }}{{ end -}}
{{- end -}}
{{- $own := include (default "cloudtrail-exporter.selectorLabels" .selector) $ | fromYaml -}}
{{- toYaml (mergeOverwrite $labels $own) -}}
{{- end -}}

{{/* The block `annotations:` of an object, or nothing. Call: (dict "context" $ "extra" (list MAP ...)) */}}
{{- define "cloudtrail-exporter.annotations" -}}
{{- $ := .context -}}
{{- $annotations := dict -}}
{{- range prepend (default list .extra) $.Values.commonAnnotations -}}
{{- if . }}{{ $annotations = mergeOverwrite $annotations (include "cloudtrail-exporter.tpl" (dict "value" . "context" $) | fromYaml) }}{{ end -}}
{{- end -}}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{/* metadata of an object. Call: (dict "context" $ "name" NAME "namespace" NS "labels" (list ...) "annotations" (list ...)) */}}
{{- define "cloudtrail-exporter.metadata" -}}
name: {{ default (include "cloudtrail-exporter.fullname" .context) .name }}
namespace: {{ default (include "cloudtrail-exporter.namespace" .context) .namespace }}
labels:
  {{- include "cloudtrail-exporter.labels" (dict "context" .context "extra" .labels "selector" .selector) | nindent 2 }}
{{- include "cloudtrail-exporter.annotations" (dict "context" .context "extra" .annotations) }}
{{- end -}}

{{- define "cloudtrail-exporter.image" -}}
{{- $image := .Values.image -}}
{{- $registry := default $image.registry (.Values.global).imageRegistry -}}
{{- $name := empty $registry | ternary $image.repository (printf "%s/%s" (trimSuffix "/" $registry) $image.repository) -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $name $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $name (default .Chart.AppVersion $image.tag | toString) -}}
{{- end -}}
{{- end -}}

{{- define "cloudtrail-exporter.imagePullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ (kindIs "string" .) | ternary . (get (kindIs "map" . | ternary . dict) "name") }}
  {{- end }}
{{- end }}
{{- end -}}
