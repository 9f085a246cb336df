"""What people do to policies and requests, and to what is not theirs."""

from __future__ import annotations

import copy
from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import rule

from resguardo.api.base import print_time
from resguardo.api.names import BACKUP_REQUESTED_ANNOTATION, TAKE_OVER_ANNOTATION
from resguardo.controller.outcome import Key
from tests.fixtures.specs import POLICY, REQUEST
from tests.unit.machine.life import Life, keys, picks, policy_names, request_names

#: "own-1" is a policy's own bucket; the other one both policies may want.
buckets = st.sampled_from(["own-1", "own-2", "common"])
RETENTION = {"daily": "30d"}


class People(Life):
    """Those who may change resources, and those who should not."""

    @rule(name=policy_names, bucket=buckets, retains=st.booleans())
    def policy_is_applied(self, name: str, bucket: str, retains: bool) -> None:
        if self.cluster.body("BackupPolicy", name):
            return
        body = copy.deepcopy(POLICY)
        body["metadata"]["name"] = name
        body["spec"]["timeout"] = "30m"
        body["spec"]["store"]["s3"]["bucket"] = bucket.replace("own", name)
        if retains:
            body["spec"]["retention"] = RETENTION
        self.cluster.put(body)

    @rule(name=policy_names, retains=st.booleans())
    def policy_wants_retention_or_none(self, name: str, retains: bool) -> None:
        if self.cluster.body("BackupPolicy", name):
            self.cluster.edit("BackupPolicy", name, spec__retention=RETENTION if retains else None)

    @rule(name=request_names, policy=policy_names, replaces=st.booleans(), hours=st.sampled_from([0, 1, 200]))
    def request_is_applied(self, name: str, policy: str, replaces: bool, hours: int) -> None:
        if self.cluster.body("RestoreRequest", name):
            return
        body = copy.deepcopy(REQUEST)
        body["metadata"]["name"] = name
        body["spec"]["from"]["policyRef"]["name"] = policy
        body["spec"]["timeout"] = "2h"
        body["spec"]["target"]["postgres"]["database"] = "agepar" if name != "third" else "other"
        if replaces:
            body["spec"]["target"]["postgres"]["onExisting"] = "Replace"
            body["spec"]["notAfter"] = print_time(self.cluster.now + timedelta(hours=hours))
        self.cluster.put(body)

    @rule(key=keys)
    def resource_is_deleted(self, key: Key) -> None:
        if self.cluster.body(key.kind, key.name):
            self.cluster.delete(key.kind, key.name)

    @rule(name=policy_names, bucket=buckets)
    def policy_moves_to_another_bucket(self, name: str, bucket: str) -> None:
        if self.cluster.body("BackupPolicy", name):
            self.cluster.edit("BackupPolicy", name, spec__store__s3__bucket=bucket.replace("own", name))

    @rule(name=policy_names, database=st.sampled_from(["agepar", "agepar2"]))
    def policy_moves_to_another_database(self, name: str, database: str) -> None:
        if self.cluster.body("BackupPolicy", name):
            self.cluster.edit("BackupPolicy", name, spec__source__postgres__pgDump__database=database)

    @rule(name=policy_names)
    def policy_wants_to_take_the_common_bucket_over(self, name: str) -> None:
        if self.cluster.body("BackupPolicy", name) and (owner := self.work.owners.get("common")):
            self.cluster.annotate("BackupPolicy", name, TAKE_OVER_ANNOTATION, str(owner))

    @rule(name=policy_names, suspend=st.booleans())
    def policy_is_suspended_or_resumed(self, name: str, suspend: bool) -> None:
        if self.cluster.body("BackupPolicy", name):
            self.cluster.edit("BackupPolicy", name, spec__suspend=suspend)

    @rule(name=policy_names, minutes=st.sampled_from([0, 1, 7]))
    def schedule_is_changed_near_its_own_minute(self, name: str, minutes: int) -> None:
        if self.cluster.body("BackupPolicy", name):
            moment = self.cluster.now + timedelta(minutes=minutes)
            self.cluster.edit(
                "BackupPolicy", name, spec__schedule=f"{moment.minute} {moment.hour} * * *", spec__timeZone="UTC"
            )

    @rule(name=policy_names, value=st.sampled_from(["now", "nonsense", "2026-11-23T14:00:00Z"]))
    def backup_is_asked_for(self, name: str, value: str) -> None:
        if self.cluster.body("BackupPolicy", name):
            moment = print_time(self.cluster.now) if value == "now" else value
            self.cluster.annotate("BackupPolicy", name, BACKUP_REQUESTED_ANNOTATION, moment)
            self.disturbances += 1  # worth an Event that no condition shows

    @rule(name=request_names)
    def previous_database_may_go(self, name: str) -> None:
        if self.cluster.body("RestoreRequest", name):
            self.cluster.edit("RestoreRequest", name, spec__dropPrevious=True)

    @rule(kind=st.sampled_from(["CronJob", "Job", "Pod"]), pick=picks, works=st.booleans())
    def vandal_deletes(self, kind: str, pick: int, works: bool) -> None:
        ours = [body for body in self.cluster.bodies(kind) if body["metadata"]["uid"] not in self.cluster.foreign]
        if ours:
            self.work.vandalise(ours[pick % len(ours)], works=works)

    @rule(kind=st.sampled_from(["CronJob", "Job"]), pick=picks)
    def vandal_edits(self, kind: str, pick: int) -> None:
        ours = [body for body in self.cluster.bodies(kind) if body["metadata"]["uid"] not in self.cluster.foreign]
        if not ours:
            return
        name = ours[pick % len(ours)]["metadata"]["name"]
        if kind == "CronJob":
            self.cluster.edit(kind, name, spec__suspend=False, spec__schedule="* * * * *")
        else:
            self.cluster.edit(kind, name, metadata__labels__stranger="yes")

    @rule(name=st.sampled_from(["archive-backup", "archive-retention", "second-restore", "third-restore"]))
    def stranger_takes_a_name(self, name: str) -> None:
        kind = "Job" if name.endswith("-restore") else "CronJob"
        if self.cluster.body(kind, name) is None:
            metadata = {"name": name, "namespace": "default"}
            spec = {"suspend": True, "template": {}}
            made = self.cluster.put({"apiVersion": "batch/v1", "kind": kind, "metadata": metadata, "spec": spec})
            self.cluster.foreign.add(made["metadata"]["uid"])

    @rule(kind=st.sampled_from(["CronJob", "Job"]))
    def strangers_leave(self, kind: str) -> None:
        for body in self.cluster.bodies(kind):
            if body["metadata"]["uid"] in self.cluster.foreign:
                self.cluster.delete(kind, body["metadata"]["name"])
