{{/*
The exporter as a native sidecar in a pod of your own chart. Kubernetes 1.29 or newer.

1. Chart.yaml of your chart:

     dependencies:
       - {name: cloudtrail-exporter, version: 0.1.0, repository: ...}

2. values.yaml of your chart; every value of this chart holds, and with mode none it renders no workload of its own:

     cloudtrail-exporter:
       mode: none
       aws: {region: us-east-1}
       source: {lookup: {enabled: true}}
       otlp: {endpoint: "http://localhost:4318"}
       persistence: {enabled: true}     # a claim; without it the state lies on an emptyDir

3. The pod of your chart; the ServiceAccount is your pod's, so it is the one that needs the IAM policy of NOTES.txt:

     metadata:
       annotations:
         {{- include "cloudtrail-exporter.sidecar.annotations" . | nindent 8 }}
     spec:
       initContainers:
         {{- include "cloudtrail-exporter.sidecar" . | nindent 8 }}
       volumes:
         {{- include "cloudtrail-exporter.sidecar.volumes" . | nindent 8 }}

With an alias of the dependency, or another name: (dict "context" . "name" "the-alias").

A pod whose state lies on a claim needs `securityContext.fsGroup: 65532`, or the volume stays root's.

One exporter per account: a Deployment of N pods has N sidecars, each with a state of its own, and each event is published
and counted N times. Put it beside something that runs once.
*/}}

{{/* Puts the chart's own root context into the box: (dict "given" . ), that of a parent chart or its own. */}}
{{- define "cloudtrail-exporter.sidecar.root" -}}
{{- $context := .given -}}
{{- $name := "cloudtrail-exporter" -}}
{{- if and (hasKey .given "context") (hasKey .given "name") }}{{ $context = .given.context }}{{ $name = .given.name }}{{ end -}}
{{- if hasKey (default dict $context.Subcharts) $name -}}
{{- $_ := set . "root" (index $context.Subcharts $name) -}}
{{- else if eq $context.Chart.Name "cloudtrail-exporter" -}}
{{- $_ := set . "root" $context -}}
{{- else -}}
{{- fail (printf "cloudtrail-exporter.sidecar: the chart %s has no enabled dependency %q; with an alias pass (dict \"context\" . \"name\" \"the-alias\")" $context.Chart.Name $name) -}}
{{- end -}}
{{- end -}}

{{/* A list of one container, for initContainers. */}}
{{- define "cloudtrail-exporter.sidecar" -}}
{{- $box := dict "given" . -}}
{{- include "cloudtrail-exporter.sidecar.root" $box -}}
{{- include "cloudtrail-exporter.refuse" $box.root -}}
- {{ include "cloudtrail-exporter.container" (dict "context" $box.root "sidecar" true) | nindent 2 | trim }}
{{- end -}}

{{/* A list of volumes; their names begin with cloudtrail-exporter-. */}}
{{- define "cloudtrail-exporter.sidecar.volumes" -}}
{{- $box := dict "given" . -}}
{{- include "cloudtrail-exporter.sidecar.root" $box -}}
{{- include "cloudtrail-exporter.volumes" (dict "context" $box.root "sidecar" true) -}}
{{- end -}}

{{/* Annotations of the pod: they change with the configuration, so that the pod is rolled. */}}
{{- define "cloudtrail-exporter.sidecar.annotations" -}}
{{- $box := dict "given" . -}}
{{- include "cloudtrail-exporter.sidecar.root" $box -}}
{{- with include "cloudtrail-exporter.checksum" $box.root -}}
{{- . | replace "checksum/config" "checksum/cloudtrail-exporter-config" -}}
{{- else -}}
checksum/cloudtrail-exporter-config: none
{{- end -}}
{{- end -}}
