{{- define "millrace.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "millrace.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "millrace.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "millrace.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* What has no namespace carries the release's in its name, so that two releases do not meet. */}}
{{- define "millrace.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace (include "millrace.fullname" .) }}
{{- end }}

{{- define "millrace.selectorLabels" -}}
app.kubernetes.io/name: {{ include "millrace.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{/* How the operator labels the pods that it makes. */}}
{{- define "millrace.workerLabels" -}}
app.kubernetes.io/name: millrace
app.kubernetes.io/managed-by: millrace-operator
app.kubernetes.io/component: worker
{{- end }}

{{- define "millrace.labels" -}}
{{- $own := include "millrace.selectorLabels" . | fromYaml }}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service }}
{{- $_ := set $own "app.kubernetes.io/version" .Chart.AppVersion }}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_") }}
{{- merge $own .Values.commonLabels | toYaml }}
{{- end }}

{{- define "millrace.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "millrace.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name is needed where serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* millrace.image (dict "image" .Values.operator.image "root" $) */}}
{{- define "millrace.image" -}}
{{- if .image.digest }}
{{- printf "%s@%s" .image.repository .image.digest }}
{{- else }}
{{- printf "%s:%s" .image.repository (default .root.Chart.AppVersion .image.tag) }}
{{- end }}
{{- end }}

{{/* The namespaces that get a Role, as a JSON list under the key `list`. */}}
{{- define "millrace.namespaces" -}}
{{- $all := .Values.watch.namespaces }}
{{- if and (not $all) (not .Values.watch.allNamespaces) }}
{{- $all = list .Release.Namespace }}
{{- end }}
{{- dict "list" (uniq $all) | toJson }}
{{- end }}

{{/*
What the operator may do in a namespace that it watches. Nothing here is about Secrets: the kubelet mounts them.
It holds every verb that it grants to workers (get, list, watch, update of ConfigMaps), so it needs neither `escalate`
nor `bind`.
*/}}
{{- define "millrace.rules" -}}
- apiGroups: [millrace.dev]
  resources: [sources]
  verbs: [get, list, watch]
- apiGroups: [millrace.dev]
  resources: [flows]
  # patch: the finalizer of a Flow that has something to clean up outside the cluster.
  verbs: [get, list, watch, patch]
- apiGroups: [millrace.dev]
  resources: [jobs]
  # delete: a finished Job whose `ttl` is over.
  verbs: [get, list, watch, delete]
- apiGroups: [millrace.dev]
  resources: [sources/status, flows/status, jobs/status]
  verbs: [patch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, update, patch, delete]
# delete: those of a discovery, once a Source declares all of its streams. Others go with their owner.
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
