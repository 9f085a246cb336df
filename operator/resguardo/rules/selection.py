"""Which backup a restore takes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from resguardo.api.base import print_time
from resguardo.api.errors import BackupNotFound, StoreError
from resguardo.api.manifest import Manifest
from resguardo.api.request import Recover


def choose(
    manifests: Sequence[Manifest],
    recover: Recover,
    *,
    unusable: Mapping[str, StoreError] | None = None,
    doubtful: Collection[str] = frozenset(),
) -> Manifest:
    """The backup that is asked for; with nothing asked for, the good one that started last.

    `manifests` are the committed backups that can be read and are believed, in any order; `unusable` maps the ids of the others to what
    is wrong with each; `doubtful` are ids of those that are no good ones (odd, damaged, of a clock that cannot be believed),
    which only their id brings back. `before` is exclusive: a backup that started at that very instant is not before it. Raises
    BackupNotFound, whose message says what there is instead; what is wrong with the one asked for by its id.
    """
    problems = unusable or {}
    if recover.backup is not None:
        found = [manifest for manifest in manifests if manifest.id == recover.backup]
        if found:
            return found[0]
        if recover.backup in problems:
            raise problems[recover.backup]
        raise BackupNotFound(f"there is no backup {recover.backup}; {_what_there_is(manifests, problems)}")
    candidates = [manifest for manifest in manifests if recover.before is None or manifest.started_at < recover.before]
    if good := [manifest for manifest in candidates if manifest.id not in doubtful]:
        return max(good, key=_age)
    if candidates:
        newest = max(candidates, key=_age).id
        raise BackupNotFound(
            f"there are {len(candidates)} such backups, and none is good: each is odd in size, was found damaged, or has a "
            f"time that cannot be. See `resguardo catalog`, and ask for one by its id (recover.backup: {newest})"
        )
    wanted = "no backup" if recover.before is None else f"no backup started before {print_time(recover.before)}"
    raise BackupNotFound(f"{wanted}; {_what_there_is(manifests, problems)}")


def _age(manifest: Manifest) -> tuple[object, str]:
    # Times have whole seconds once they went through JSON; ids tell two of one second apart, always in the same way.
    return manifest.started_at, manifest.id


def _what_there_is(manifests: Sequence[Manifest], problems: Mapping[str, StoreError]) -> str:
    lost = ""
    if problems:
        newest = max(problems)
        lost = f", and {len(problems)} that cannot be used, the newest {newest}: {problems[newest]}"
    if not manifests:
        return f"the bucket holds none under this prefix that can be used{lost}"
    ordered = sorted(manifests, key=_age)
    if len(ordered) == 1:
        return f"the bucket holds only {ordered[0].id}{lost}"
    return f"the bucket holds {len(ordered)}, the oldest {ordered[0].id}, the newest {ordered[-1].id}{lost}"
