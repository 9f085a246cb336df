{{- define "resguardo.labels" -}}
app.kubernetes.io/name: resguardo
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "resguardo.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* One operator for each release: two in a cluster serve other namespaces, and neither may take the other's roles away. */}}
{{- define "resguardo.name" -}}
{{ if eq .Release.Name "resguardo" }}resguardo-operator{{ else }}{{ printf "resguardo-operator-%s" .Release.Name | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "resguardo.served" -}}
{{ toJson (.Values.namespaces | default (list .Release.Namespace)) }}
{{- end }}
