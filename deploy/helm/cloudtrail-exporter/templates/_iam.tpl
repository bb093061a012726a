{{/* The least IAM policies: action by action those that `cloudtrail-exporter check` prints (docs/sources/). */}}

{{/* The partition of a region. */}}
{{- define "cloudtrail-exporter.partition" -}}
{{- if hasPrefix "cn-" . }}aws-cn{{ else if hasPrefix "us-gov-" . }}aws-us-gov{{ else }}aws{{ end -}}
{{- end -}}

{{/* What every key of a trail begins with. */}}
{{- define "cloudtrail-exporter.keyBase" -}}
{{- $prefix := trimSuffix "/" (default "" .) -}}
{{- if or (eq $prefix "AWSLogs") (hasSuffix "/AWSLogs" $prefix) }}{{ $prefix }}/{{ else if $prefix }}{{ $prefix }}/AWSLogs/{{ else }}AWSLogs/{{ end -}}
{{- end -}}

{{/* The statements of one source under `statements`. Call: (dict "source" S "region" R "role" ARN) */}}
{{- define "cloudtrail-exporter.statements" -}}
{{- $source := .source -}}
{{- $region := default .region $source.region -}}
{{- $partition := include "cloudtrail-exporter.partition" $region -}}
{{- $account := default "ACCOUNT" (regexFind "[0-9]{12}" (default "" .role)) -}}
{{- $statements := list -}}
{{- if eq $source.type "lookup" -}}
{{- $statements = append $statements (dict "Sid" "Lookup" "Effect" "Allow" "Action" "cloudtrail:LookupEvents" "Resource" "*") -}}
{{- else if eq $source.type "s3" -}}
{{- $base := include "cloudtrail-exporter.keyBase" $source.prefix -}}
{{- $statements = append $statements (dict "Sid" "ListTrailBucket" "Effect" "Allow" "Action" "s3:ListBucket" "Resource" (printf "arn:%s:s3:::%s" $partition $source.bucket) "Condition" (dict "StringLike" (dict "s3:prefix" (printf "%s*" $base)))) -}}
{{- $statements = append $statements (dict "Sid" "ReadTrailFiles" "Effect" "Allow" "Action" "s3:GetObject" "Resource" (printf "arn:%s:s3:::%s/%s*" $partition $source.bucket $base)) -}}
{{- $statements = append $statements (dict "Sid" "DecryptTrailFiles" "Effect" "Allow" "Action" "kms:Decrypt" "Resource" (printf "arn:%s:kms:%s:%s:key/KEY-ID" $partition (default "REGION" $region) "ACCOUNT")) -}}
{{- else if eq $source.type "sqs" -}}
{{- $url := urlParse $source.queue_url -}}
{{- $path := splitList "/" (trimPrefix "/" $url.path) -}}
{{- $named := regexFind "(sqs(-fips)?\\.[a-z0-9-]+|^[a-z0-9-]+\\.queue)\\." $url.host | trimSuffix "." -}}
{{- $named = $named | trimPrefix "sqs-fips." | trimPrefix "sqs." | trimSuffix ".queue" -}}
{{- $region = default "REGION" (default $region $named) -}}
{{- $partition = include "cloudtrail-exporter.partition" $region -}}
{{- $queue := ge (len $path) 2 | ternary (printf "%s:%s" (index $path 0) (last $path)) "ACCOUNT:QUEUE" -}}
{{- $statements = append $statements (dict "Sid" "Queue" "Effect" "Allow" "Action" (list "sqs:ReceiveMessage" "sqs:DeleteMessage" "sqs:ChangeMessageVisibility" "sqs:GetQueueAttributes") "Resource" (printf "arn:%s:sqs:%s:%s" $partition $region $queue)) -}}
{{- $objects := list -}}
{{- range $bucket := $source.buckets -}}
{{- $base := "*AWSLogs/" -}}
{{- if and $source.relist (eq (default "" (default dict $source.relist).bucket) $bucket) }}{{ $base = include "cloudtrail-exporter.keyBase" $source.relist.prefix }}{{ end -}}
{{- $objects = append $objects (printf "arn:%s:s3:::%s/%s*" $partition $bucket $base) -}}
{{- end -}}
{{- $statements = append $statements (dict "Sid" "ReadTrailFiles" "Effect" "Allow" "Action" "s3:GetObject" "Resource" (eq (len $objects) 1 | ternary (first $objects) $objects)) -}}
{{- with $source.relist -}}
{{- $statements = append $statements (dict "Sid" "ListTrailBucket" "Effect" "Allow" "Action" "s3:ListBucket" "Resource" (printf "arn:%s:s3:::%s" $partition .bucket) "Condition" (dict "StringLike" (dict "s3:prefix" (printf "%s*" (include "cloudtrail-exporter.keyBase" .prefix))))) -}}
{{- end -}}
{{- $statements = append $statements (dict "Sid" "Decrypt" "Effect" "Allow" "Action" "kms:Decrypt" "Resource" (printf "arn:%s:kms:%s:ACCOUNT:key/KEY-ID" $partition $region)) -}}
{{- else if eq $source.type "logs" -}}
{{- $statements = append $statements (dict "Sid" "LogGroup" "Effect" "Allow" "Action" "logs:FilterLogEvents" "Resource" (printf "arn:%s:logs:%s:%s:log-group:%s:*" $partition (default "REGION" $region) $account $source.log_group)) -}}
{{- end -}}
{{- toYaml (dict "statements" $statements) -}}
{{- end -}}

{{/* Policies under `policies`: role (empty: the pod's own identity), and the policy's JSON, one for each identity. */}}
{{- define "cloudtrail-exporter.policies" -}}
{{- $own := tpl (default "" .Values.aws.roleArn) . -}}
{{- $region := tpl (default "" .Values.aws.region) . -}}
{{- $roles := list "" -}}
{{- $sources := (include "cloudtrail-exporter.sources" . | fromYaml).sources -}}
{{- range $sources }}{{ with .role_arn }}{{ $roles = append $roles . }}{{ end }}{{ end -}}
{{- $policies := list -}}
{{- range $role := uniq $roles -}}
{{- $statements := list -}}
{{- $sids := list -}}
{{- $assumed := list -}}
{{- range $source := $sources -}}
{{- if eq (default "" $source.role_arn) $role -}}
{{- range (include "cloudtrail-exporter.statements" (dict "source" $source "region" $region "role" (default $own $role)) | fromYaml).statements -}}
{{- $statement := . -}}
{{- $bare := omit $statement "Sid" | toJson -}}
{{- if not (has $bare $sids) -}}
{{- $sids = append $sids $bare -}}
{{- $same := 0 -}}
{{- range $statements }}{{ if eq (regexReplaceAll "[0-9]+$" .Sid "") $statement.Sid }}{{ $same = add1 $same }}{{ end }}{{ end -}}
{{- if $same }}{{ $statement = set $statement "Sid" (printf "%s%d" $statement.Sid (add1 $same)) }}{{ end -}}
{{- $statements = append $statements $statement -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (not $role) $source.role_arn }}{{ $assumed = append $assumed $source.role_arn }}{{ end -}}
{{- end -}}
{{- with $assumed -}}
{{- $statements = append $statements (dict "Sid" "AssumeRoles" "Effect" "Allow" "Action" "sts:AssumeRole" "Resource" (uniq . | sortAlpha)) -}}
{{- end -}}
{{- if $statements -}}
{{- $policies = append $policies (dict "role" $role "json" (dict "Version" "2012-10-17" "Statement" $statements | toPrettyJson)) -}}
{{- end -}}
{{- end -}}
{{- toYaml (dict "policies" $policies) -}}
{{- end -}}
