"""Names that are promises: API group, labels, annotations, limits. Renaming one breaks what users have written."""

from typing import Final

GROUP = "resguardo.dev"
VERSION = "v1alpha1"
API_VERSION: Final = "resguardo.dev/v1alpha1"

POLICY_KIND: Final = "BackupPolicy"
REQUEST_KIND: Final = "RestoreRequest"

#: CronJob names end at 52 characters, and pods of a Job add 11 more to a label's 63.
POLICY_NAME_MAX = 40
REQUEST_NAME_MAX = 52

MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY = "resguardo"
POLICY_LABEL = f"{GROUP}/policy"
REQUEST_LABEL = f"{GROUP}/request"
#: What a Job is for: check, backup, retention, restore, drop-previous.
TASK_LABEL = f"{GROUP}/task"
JOB_NAME_LABEL = "batch.kubernetes.io/job-name"

#: On a policy: an RFC 3339 time; each new value starts one backup.
BACKUP_REQUESTED_ANNOTATION = f"{GROUP}/backup-requested-at"
#: On a policy: `<owner>@<epoch>`, the owner of the prefix that this policy takes over from, once.
TAKE_OVER_ANNOTATION = f"{GROUP}/take-over-from"
#: A backup whose size, or whose database, a person takes for right: its id.
ACCEPT_ANNOTATION = f"{GROUP}/accept"
#: A plan of retention that a person wants carried out, though it removes much: its hash.
ACCEPT_PLAN_ANNOTATION = f"{GROUP}/accept-plan"
#: What of a policy's annotations its pods are told, and a new one of which has it checked again.
TOLD_ANNOTATIONS = (TAKE_OVER_ANNOTATION, ACCEPT_ANNOTATION, ACCEPT_PLAN_ANNOTATION)
#: On the documents frozen into pods: which cluster they come from.
CLUSTER_ID_ANNOTATION = f"{GROUP}/cluster-id"
#: On pod templates: the frozen documents, mounted by the downward API.
FROZEN_POLICY_ANNOTATION = f"{GROUP}/policy"
FROZEN_REQUEST_ANNOTATION = f"{GROUP}/request"
#: On every object the controller makes: the hash of what was wanted, and the version that wanted it.
WANTED_HASH_ANNOTATION = f"{GROUP}/wanted-hash"
WRITER_VERSION_ANNOTATION = f"{GROUP}/writer-version"
#: On Jobs: hash of the policy they carry.
POLICY_HASH_ANNOTATION = f"{GROUP}/policy-hash"
FIELD_MANAGER = "resguardo"
