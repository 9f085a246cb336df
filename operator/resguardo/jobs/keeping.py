"""What a person says about a backup: keep it, let it go, take it back from the trash, it is well; or that a plan is meant.

Each may be said again. Each gives a sentence about what is so now, and raises PrefixOwned where the prefix is not the
policy's, and BackupNotFound, which says what there is, for a backup that is not there.
"""

from __future__ import annotations

from datetime import datetime

from resguardo.api.errors import BackupNotFound, ObjectMissing, PlanChanged
from resguardo.api.policy import BackupPolicy
from resguardo.api.request import Recover
from resguardo.jobs.check import owner_name
from resguardo.jobs.survey import survey
from resguardo.jobs.trust import trust_of
from resguardo.rules.selection import choose
from resguardo.store import marks
from resguardo.store.catalogue import list_backups, read_manifest
from resguardo.store.layout import manifest_key, pin_key
from resguardo.store.marks import Mark, accepted_plan, set_mark
from resguardo.store.orphans import erase_whole
from resguardo.store.ownership import read_owner
from resguardo.store.protocol import Store
from resguardo.store.trash import read_trashed, take_back


def pin(policy: BackupPolicy, store: Store, backup_id: str, now: datetime) -> str:
    """Keep the backup whatever retention says; one that is marked for removal is taken back."""
    read_owner(store, owner_name(policy))
    _require(policy, store, backup_id)
    # First: what is only taken back would be marked again by the next run.
    set_mark(store, Mark.PINNED, backup_id, at=now)
    trashed = read_trashed(store, backup_id)
    if trashed is None and store.head(manifest_key(backup_id)) is not None:
        return f"{backup_id} is pinned: it stays until `resguardo unpin {backup_id}`"
    if trashed is None or not take_back(store, trashed):
        erase_whole(store, pin_key(backup_id))
        raise BackupNotFound(f"backup {backup_id} is being removed: it is too late to take it back")
    return f"{backup_id} was marked for removal and is taken back; it is pinned until `resguardo unpin {backup_id}`"


def unpin(policy: BackupPolicy, store: Store, backup_id: str, _now: datetime) -> str:
    """Let retention decide about the backup again."""
    read_owner(store, owner_name(policy))
    if store.head(pin_key(backup_id)) is None:
        _require(policy, store, backup_id)
        return f"{backup_id} was not pinned"
    erase_whole(store, pin_key(backup_id))
    return f"{backup_id} is not pinned any more: retention decides about it"


def accept(policy: BackupPolicy, store: Store, backup_id: str, now: datetime) -> str:
    """Take the backup for a good one, however odd it looked; sizes are compared with it and those after it from now on."""
    read_owner(store, owner_name(policy))
    _require(policy, store, backup_id)
    set_mark(store, Mark.ACCEPTED, backup_id, at=now)
    return f"{backup_id} is accepted: it counts as good"


def accept_plan(policy: BackupPolicy, store: Store, plan_hash: str, now: datetime) -> str:
    """Let exactly the plan with that hash be carried out. Raises PlanChanged where another one stands now."""
    seen = survey(policy, store, now=now)
    if plan_hash not in (seen.plan_hash, accepted_plan(store)):
        raise PlanChanged(
            f"the plan is {seen.plan_hash} now, not {plan_hash}: look at it again with `resguardo retention --dry-run`"
        )
    marks.accept_plan(store, plan_hash, at=now)
    return f"plan {plan_hash} is accepted: the next run carries it out, unless it has changed by then"


def _require(policy: BackupPolicy, store: Store, backup_id: str) -> None:
    try:
        read_manifest(store, backup_id)
    except ObjectMissing:
        # Says what there is in its place.
        entries = list_backups(store, trust_of(policy))
        choose(
            [entry.manifest for entry in entries if entry.manifest],
            Recover(backup=backup_id),
            unusable={entry.id: entry.problem for entry in entries if entry.problem},
        )
