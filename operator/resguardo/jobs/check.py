"""Try a policy: everything that a backup will need, before two in the morning."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import structlog

from resguardo.api.backup_id import is_backup_id
from resguardo.api.conditions import Reason
from resguardo.api.durations import parse_span
from resguardo.api.errors import LockOutlivesMaxAge, PermissionDenied, ResguardoError
from resguardo.api.names import ACCEPT_ANNOTATION, ACCEPT_PLAN_ANNOTATION, CLUSTER_ID_ANNOTATION, TAKE_OVER_ANNOTATION
from resguardo.api.policy import BackupPolicy
from resguardo.api.roles import Role
from resguardo.jobs.access import writer_warnings
from resguardo.jobs.task import Context, Findings
from resguardo.jobs.trust import signing_key_of, trust_of
from resguardo.postgres.connection import Server
from resguardo.postgres.rights import check_server, missing_rights
from resguardo.rules.advice import advise, is_shorter
from resguardo.rules.locks import longest_lock
from resguardo.store.catalogue import list_backups, newest_jobs, newest_summary, summarise
from resguardo.store.classes import probe_classes
from resguardo.store.layout import manifest_key
from resguardo.store.locks import probe_locks
from resguardo.store.marks import Mark, is_plan_hash, marked_ids, set_mark
from resguardo.store.ownership import Owner, claim, probe_conditional_writes
from resguardo.store.protocol import Store
from resguardo.store.recipients import parse_recipients
from resguardo.store.signatures import Trust

log = structlog.get_logger()


def owner_name(policy: BackupPolicy) -> str:
    """Who owns a policy's prefix: <cluster id>/<namespace>/<name>; no cluster id where the document has none."""
    metadata = policy.metadata
    return f"{metadata.annotations.get(CLUSTER_ID_ANNOTATION, '')}/{metadata.namespace}/{metadata.name}"


def claim_prefix(store: Store, policy: BackupPolicy) -> Owner:
    """Make the prefix this policy's, or confirm that it is; raises PrefixOwned."""
    return claim(
        store,
        owner_name(policy),
        take_over_from=policy.metadata.annotations.get(TAKE_OVER_ANNOTATION),
        now=datetime.now(UTC),
    )


def check(policy: BackupPolicy, context: Context) -> None:
    """Find every problem of a policy at once.

    Writes to the store, reads back, tries a conditional write, claims the prefix and reads the inventory; logs in to the
    database and looks for each right that a backup needs. Raises the first problem's class, with all problems in its text.
    """
    for warning in advise(policy.spec):
        log.warning(warning.message, reason=warning.reason)
    problems: list[ResguardoError] = []
    for attempt in (_check_encryption, _check_signing, _check_store, _check_database):
        try:
            attempt(policy, context)
        except ResguardoError as error:
            problems.append(error)
        context.deadline.check()
    if problems:
        raise _combined(problems)
    context.findings.reason = Reason.CHECK_PASSED
    context.findings.message = "database and store have all that a backup needs"


def _check_encryption(policy: BackupPolicy, _context: Context) -> None:
    if policy.spec.encryption is not None and policy.spec.encryption.age is not None:
        parse_recipients(policy.spec.encryption.age.recipients)


def _check_signing(policy: BackupPolicy, context: Context) -> None:
    signing_key_of(policy, context.credentials)


def _combined(problems: list[ResguardoError]) -> ResguardoError:
    first = problems[0]
    return first if len(problems) == 1 else type(first)("; ".join(f"{error.reason}: {error}" for error in problems))


def _check_store(policy: BackupPolicy, context: Context) -> None:
    context.progress.step("the store: writing, reading back, a conditional write twice")
    store = context.credentials.open_store(policy.spec.store, role=Role.WRITER)
    probe_conditional_writes(store)
    require_max_age(policy, store)
    probe_classes(store, policy.spec.store.classes.values())
    if policy.spec.store.object_lock is not None:
        probe_locks(store, policy.spec.store.object_lock)
    context.findings.warnings += writer_warnings(policy, store)
    context.progress.step("the store: claiming the prefix, reading the inventory")
    claim_prefix(store, policy)
    write_down_what_is_accepted(store, policy)
    read_inventory(store, context.findings, trust_of(policy))


def require_max_age(policy: BackupPolicy, store: Store) -> None:
    """Raise LockOutlivesMaxAge where the store would refuse to remove what the policy says must not be kept."""
    retention = policy.spec.retention
    if retention is None or retention.max_age is None:
        return
    longest = longest_lock(policy.spec.store.object_lock)
    if longest is not None and is_shorter(parse_span(retention.max_age), longest[1]):
        raise LockOutlivesMaxAge(
            f"retention.maxAge is {retention.max_age}, and objectLock.byTier.{longest[0]} is {longest[1]}: a backup could not be "
            "removed in time. Shorten the lock, or give the policy a longer maxAge"
        )
    locked_for = store.default_lock()
    if locked_for is not None and is_shorter(parse_span(retention.max_age), locked_for):
        raise LockOutlivesMaxAge(
            f"retention.maxAge is {retention.max_age}, and {store.location} locks each new object for {locked_for}: a backup "
            "could not be removed in time. Give the bucket a shorter default retention, or the policy a longer maxAge"
        )


def write_down_what_is_accepted(store: Store, policy: BackupPolicy) -> None:
    """Put into the bucket which backup the policy's annotation accepts. Which plan of retention, retention reads there by itself.

    What names nothing is logged and no error: a policy that once accepted a backup outlives that backup.
    """
    annotations = policy.metadata.annotations
    if (backup_id := annotations.get(ACCEPT_ANNOTATION)) is not None:
        if is_backup_id(backup_id) and store.head(manifest_key(backup_id)) is not None:
            set_mark(store, Mark.ACCEPTED, backup_id, at=datetime.now(UTC))
        else:
            log.warning(
                "an annotation accepts a backup that is not there", annotation=ACCEPT_ANNOTATION, value=backup_id
            )
    plan_hash = annotations.get(ACCEPT_PLAN_ANNOTATION)
    if plan_hash is not None and not is_plan_hash(plan_hash):
        log.warning("an annotation accepts what is no plan's hash", annotation=ACCEPT_PLAN_ANNOTATION, value=plan_hash)


def read_inventory(store: Store, findings: Findings, trusted: Trust) -> None:
    """Put what the bucket holds into the findings."""
    entries = list_backups(store, trusted)
    findings.inventory, findings.newest_jobs = summarise(entries), newest_jobs(entries)
    findings.newest_backup = newest_summary(entries, accepted=marked_ids(store, Mark.ACCEPTED))


def _check_database(policy: BackupPolicy, context: Context) -> None:
    source = policy.spec.source.postgres
    if source is None:
        raise AssertionError("a source has exactly one member")
    database = source.pg_dump.database
    context.progress.step(
        f"the database: logging in to {database} on {source.connection.host}, looking for missing rights"
    )
    login = context.credentials.login(source.connection)
    with (
        tempfile.TemporaryDirectory(prefix="resguardo-") as scratch,
        Server(login, Path(scratch)) as server,
        server.connect(database) as connection,
    ):
        check_server(connection)
        require_rights(missing_rights(connection), role=login.username, database=database)


def require_rights(missing: list[str], *, role: str, database: str) -> None:
    """Raise PermissionDenied naming each missing right, where there is one."""
    if missing:
        raise PermissionDenied(f"role {role} cannot back up database {database}: " + "; ".join(missing))
