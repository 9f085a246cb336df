"""Carries an Outcome out. Every step may be repeated, and two operators may do the same at once."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from resguardo.api.base import canonical_hash, print_time
from resguardo.api.conditions import Reason
from resguardo.api.report import cut_text
from resguardo.api.text import printable_lines
from resguardo.controller.cluster import Cluster, ClusterError
from resguardo.controller.outcome import Notice, Outcome, Refusal
from resguardo.controller.ownership import Claim, claim_on

Object = Mapping[str, Any]

log = logging.getLogger(__name__)

COMPONENT = "resguardo"
#: The API server refuses longer ones.
EVENT_MESSAGE_MAX_BYTES = 1024


class Refused(Exception):
    """An object could not be made, and trying again alone will not help."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def carry_out(cluster: Cluster, resource: Object, outcome: Outcome, now: datetime) -> bool:
    """Objects first, then Events, then status: what status says was done has been done; gives whether status was written.

    Raises Refused, ClusterError.
    """
    make_objects(cluster, outcome)
    namespace = resource["metadata"]["namespace"]
    for job in outcome.delete:
        cluster.delete_job(namespace, job.name, job.uid)
    return write_status(cluster, resource, outcome, now)


def make_objects(cluster: Cluster, outcome: Outcome) -> None:
    """Apply and create."""
    for body in outcome.apply:
        with_refusal(body, lambda body=body: cluster.apply(body))
    for body in outcome.create:
        with_refusal(body, lambda body=body: _create(cluster, body))


def write_status(cluster: Cluster, resource: Object, outcome: Outcome, now: datetime) -> bool:
    """Tell the Events, and write the status where it differs from what was read; gives whether it did."""
    for notice in outcome.notices:
        _tell(cluster, resource, notice, now)
    if outcome.status is None or outcome.status == (resource.get("status") or {}):
        return False
    cluster.put_status(resource, outcome.status)
    return True


def with_refusal(body: Object, call: Any) -> None:
    """Run a call; an answer that would be the same next time becomes Refused, with the object's name."""
    try:
        call()
    except ClusterError as error:
        if not error.is_refusal:
            raise
        text = f"the API server refuses {body['kind']} {body['metadata']['name']}: {error}"
        raise Refused(Refusal(Reason.OBJECTS_REFUSED, text)) from None


def _create(cluster: Cluster, body: Object) -> None:
    try:
        cluster.create(body)
    except ClusterError as error:
        if not error.is_conflict:
            raise
        kind, metadata = body["kind"], body["metadata"]
        live = cluster.get(kind, metadata["namespace"], metadata["name"])
        if live is not None and claim_on(live, body) is Claim.TAKEN:
            text = f"a {kind} {metadata['name']} is there that is not this resource's; remove it, or use another name"
            raise Refused(Refusal(Reason.NAME_TAKEN, text)) from None
        if live is None or claim_on(live, body) is Claim.STALE:
            # On its way out: try again.
            raise


def _tell(cluster: Cluster, resource: Object, notice: Notice, now: datetime) -> None:
    metadata = resource["metadata"]
    digest = canonical_hash([metadata["uid"], *notice.subject])
    body = {
        "apiVersion": "v1",
        "kind": "Event",
        # The same Event told twice is one object, and the second telling a conflict.
        "metadata": {"name": f"{metadata['name']}.{digest}", "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": resource["apiVersion"],
            "kind": resource["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        },
        "type": "Warning" if notice.is_warning else "Normal",
        "reason": notice.reason,
        "message": cut_text(printable_lines(notice.message), EVENT_MESSAGE_MAX_BYTES),
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "firstTimestamp": print_time(now),
        "lastTimestamp": print_time(now),
        "count": 1,
    }
    try:
        cluster.create(body)
        log.info(
            "%s %s/%s: %s: %s", resource["kind"], metadata["namespace"], metadata["name"], notice.reason, notice.message
        )
    except ClusterError as error:
        if error.is_refusal:
            # Telling is good to have; a status that cannot be written because of it is not.
            log.warning(
                "Event %s on %s %s could not be told: %s", notice.reason, resource["kind"], metadata["name"], error
            )
        elif not error.is_conflict:
            raise
