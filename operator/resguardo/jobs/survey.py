"""What a bucket holds and what is to become of it: read once, for the catalogue, the dry run and the run alike."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from pydantic import ValidationError

from resguardo.api.durations import parse_duration
from resguardo.api.errors import DocumentInvalid
from resguardo.api.manifest import Promise
from resguardo.api.names import ACCEPT_PLAN_ANNOTATION
from resguardo.api.policy import BackupPolicy, Retention
from resguardo.jobs.check import owner_name
from resguardo.jobs.trust import trust_of
from resguardo.rules.grace import GRACE_MAX, grace_of
from resguardo.rules.pauses import Pause, Paused, find_pause, too_much_at_once
from resguardo.rules.removal import Step, is_held_by_pause, next_steps, unmarked
from resguardo.rules.retention import Plan, Reason, Rule, plan_retention
from resguardo.store.catalogue import Catalogue, read_catalogue
from resguardo.store.facts import Facts, read_facts
from resguardo.store.marks import accepted_plan
from resguardo.store.ownership import read_owner
from resguardo.store.protocol import Store
from resguardo.store.signatures import Trust
from resguardo.store.trash import Trash, read_trash

log = structlog.get_logger()


@dataclass(frozen=True)
class Terms:
    """What of a policy decides about what is there."""

    retention: Retention | None
    zone: ZoneInfo
    timeout: timedelta
    suspended: bool = False
    #: Which plan the policy accepts, by its hash, beside the one that the bucket says was accepted.
    accepted_plan: str | None = None


#: Where nobody says: nothing is removed, and the longest timeout is waited for before an attempt counts as dead.
UNKNOWN_TERMS = Terms(None, ZoneInfo("UTC"), GRACE_MAX)


@dataclass(frozen=True)
class Survey:
    """What the bucket holds, what is to become of it, and what holds that up. A run carries out exactly this."""

    terms: Terms
    #: Whether the terms were given, and not found in the bucket.
    is_asked: bool
    facts: Facts
    trash: Trash
    plan: Plan
    paused: Paused | None
    #: Stands for what would be marked now if nothing were paused.
    plan_hash: str
    store_now: datetime
    grace: timedelta

    @property
    def retention_document(self) -> dict[str, Any] | None:
        """What is kept, in the policy's words; None where nothing is ever removed."""
        kept = self.terms.retention
        return kept.model_dump(mode="json", by_alias=True, exclude_none=True) if kept else None

    @property
    def paused_document(self) -> dict[str, str] | None:
        """What retention waits for; None where nothing."""
        return {"reason": self.paused.pause.value, "message": self.paused.message} if self.paused else None

    @cached_property
    def steps(self) -> dict[str, Step]:
        """What is to be done next about each backup that goes, or was to, by id."""
        return next_steps(
            self.plan, self.trash.marked, store_now=self.store_now, untouched=frozenset(self.trash.problems)
        )

    @cached_property
    def removals(self) -> dict[str, datetime]:
        """When each backup that goes may be removed at the earliest, by id and by the store's clock.

        One that only a pause holds is not among them: nobody knows when that ends.
        """
        held = {verdict.backup.id for verdict in self.plan.verdicts if is_held_by_pause(verdict)}
        times: dict[str, datetime] = {}
        for backup_id, step in self.steps.items():
            if step is Step.MARK:
                times[backup_id] = self.store_now + self.grace
            elif step is Step.PURGE or (step is Step.WAIT and backup_id not in held):
                times[backup_id] = self.trash.marked[backup_id].goes_at
        return times


def terms_of(policy: BackupPolicy) -> Terms:
    """As the policy says now."""
    spec = policy.spec
    return Terms(
        spec.retention,
        ZoneInfo(spec.time_zone),
        parse_duration(spec.timeout),
        suspended=spec.suspend,
        accepted_plan=policy.metadata.annotations.get(ACCEPT_PLAN_ANNOTATION),
    )


def promised_terms(catalogue: Catalogue) -> Terms:
    """As the policy said when it made the newest backup that can be read: all that is left where the policy is gone."""
    manifests = [entry.manifest for entry in catalogue.entries if entry.manifest is not None]
    newest = max(manifests, key=lambda manifest: (manifest.started_at, manifest.id), default=None)
    if newest is None or newest.promise is None:
        return UNKNOWN_TERMS
    try:
        return _understand(newest.promise)
    except (ValidationError, ValueError, KeyError, OSError) as problem:  # zoneinfo raises each of the last three
        log.warning("what the policy promised cannot be read", backup=newest.id, problem=str(problem))
        return UNKNOWN_TERMS


def _understand(promise: Promise) -> Terms:
    retention = Retention.model_validate(promise.retention) if promise.retention else None
    return Terms(retention, ZoneInfo(promise.time_zone), parse_duration(promise.timeout))


def retention_of(policy: BackupPolicy) -> Retention:
    """What the policy keeps. Raises DocumentInvalid where it does not say."""
    if policy.spec.retention is None:
        raise DocumentInvalid(f"policy {policy.metadata.name} has no spec.retention: nothing is ever removed")
    return policy.spec.retention


def survey(policy: BackupPolicy, store: Store, *, now: datetime) -> Survey:
    """What a run of the policy's retention would do; changes nothing. `now` is this machine's clock.

    Raises PrefixOwned where a run would, and DocumentInvalid for a policy without retention.
    """
    retention_of(policy)
    read_owner(store, owner_name(policy))
    return look(store, terms_of(policy), trust_of(policy), now=now)


def look(store: Store, terms: Terms | None, trusted: Trust, *, now: datetime) -> Survey:
    """Look at a bucket, whoever's it is, and decide; changes nothing. Without terms, by those that stand in the bucket."""
    store_now = store.clock()
    # Before the facts: what is removed meanwhile then shows as marked and gone, and never as a backup without a mark.
    trash, catalogue = read_trash(store), read_catalogue(store, trusted)
    is_asked, terms = terms is not None, terms or promised_terms(catalogue)
    facts = read_facts(store, catalogue, timeout=terms.timeout, store_now=store_now)
    planned = partial(
        plan_retention,
        facts.backups,
        terms.retention,
        zone=terms.zone,
        # Of two clocks that differ the earlier one: it takes less.
        now=min(now, store_now),
    )
    new = unmarked(planned(), trash.marked.keys())
    paused = None
    if terms.retention is not None:
        paused = find_pause(
            facts.backups, suspended=terms.suspended, now=now, store_now=store_now, accepted=facts.accepted
        ) or too_much_at_once(new, accepted={terms.accepted_plan, accepted_plan(store)})
    plan = planned(pause=_reason(paused))
    return Survey(terms, is_asked, facts, trash, plan, paused, new.hash, store_now, grace_of(terms.timeout))


def _reason(paused: Paused | None) -> Reason | None:
    if paused is None:
        return None
    return Reason(Rule.SUSPENDED) if paused.pause is Pause.SUSPENDED else Reason(Rule.PAUSED, paused.pause)
