"""Conditions as Kubernetes' API conventions define them, and the reasons that are not errors' names."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from resguardo.api.base import Exchanged, Instant

MESSAGE_MAX = 4096


class PolicyCondition(StrEnum):
    """Conditions of a BackupPolicy; True is always the good news, the two of kstatus aside."""

    READY = "Ready"
    ACCEPTED = "Accepted"
    BACKED_UP = "BackedUp"
    RETAINED = "Retained"
    SIZE_NORMAL = "SizeNormal"
    VERIFIED = "Verified"
    REPLICATED = "Replicated"


class RequestCondition(StrEnum):
    """Conditions of a RestoreRequest."""

    ACCEPTED = "Accepted"
    SUCCEEDED = "Succeeded"
    #: Only where dropPrevious asks for it.
    PREVIOUS_DROPPED = "PreviousDropped"


#: kstatus' own two: present and True only while they hold (https://github.com/kubernetes-sigs/cli-utils, kstatus).
RECONCILING = "Reconciling"
STALLED = "Stalled"


class Reason(StrEnum):
    """Reasons that the controller gives; the others are names of errors (api.errors)."""

    # what is not there yet
    CHECKING = "Checking"
    NEVER_RUN = "NeverRun"
    NOT_ENFORCED = "NotEnforced"
    SUSPENDED = "Suspended"
    WAITING = "Waiting"
    RUNNING = "Running"
    # good news
    CHECK_PASSED = "CheckPassed"
    BACKUP_SUCCEEDED = "BackupSucceeded"
    RETENTION_ENFORCED = "RetentionEnforced"
    PROMISE_KEPT = "PromiseKept"
    AS_USUAL = "AsUsual"
    CLAIMED = "Claimed"
    RESTORED = "Restored"
    # bad news that no pod reported
    REPORT_LOST = "ReportLost"
    LATE = "Late"
    INTERRUPTED = "Interrupted"
    POLICY_NOT_FOUND = "PolicyNotFound"
    NAME_TAKEN = "NameTaken"
    OBJECTS_REFUSED = "ObjectsRefused"
    NEWER_OPERATOR = "NewerOperator"


class ConditionStatus(StrEnum):
    """The three values of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Exchanged):
    """One condition (API conventions, "Typical status properties")."""

    type: str = Field(max_length=64)
    status: ConditionStatus
    reason: str = Field(max_length=64)
    message: str = Field(max_length=MESSAGE_MAX)
    observed_generation: int | None = None
    last_transition_time: Instant
