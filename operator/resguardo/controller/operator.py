"""The operator's process: watches, queue and reconciles, from its start to SIGTERM."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import kopf

from resguardo.api.names import POLICY_KIND, REQUEST_KIND
from resguardo.controller.cluster import Cluster, ClusterError
from resguardo.controller.effects import Refused, carry_out, write_status
from resguardo.controller.handlers import configured, register
from resguardo.controller.metrics import Known, Metrics
from resguardo.controller.observation import observe_policy, observe_request
from resguardo.controller.outcome import Key, Outcome, Refusal
from resguardo.controller.queue import SETTLING, WORKERS, Next, WorkQueue
from resguardo.controller.reconcile_policy import reconcile_policy
from resguardo.controller.reconcile_request import reconcile_request
from resguardo.controller.seniority import Seniority
from resguardo.controller.settings import Settings

log = logging.getLogger(__name__)

WAIT_FOR_CLUSTER_SECONDS = 10
LIVENESS_PORT = 8080
METRICS_PORT = 8081


@dataclass(frozen=True)
class OwnPod:
    """The pod that the operator runs in, as the downward API tells it."""

    namespace: str
    name: str


def run_operator(
    namespaces: Sequence[str] | None,
    *,
    image: str | None,
    own_pod: OwnPod | None = None,
    liveness_port: int = LIVENESS_PORT,
    metrics_port: int = METRICS_PORT,
) -> None:
    """Serve the namespaces, or all of them with None, until told to stop.

    `image` is that of the pods it makes; without one, the image of its own pod. So it is written down in one place, and
    an upgrade changes both.

    Credentials come from the pod's service account, else from the kubeconfig. Raises ClusterError where the cluster's
    identity may not be read, ValueError where there is neither image nor own pod.
    """
    kopf.configure(log_format=kopf.LogFormat.JSON)
    # A line for each watch event or probe says nothing; what came of it, the controller tells.
    for chatty in ("kopf.objects", "kopf.activities", "aiohttp.access"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    if not image and own_pod is None:
        raise ValueError("which image are the pods of backups to be made from? Set RESGUARDO_IMAGE")
    metrics = Metrics()
    with metrics.served(metrics_port):
        asyncio.run(_serve(namespaces, image, own_pod, liveness_port, metrics))


async def _serve(
    namespaces: Sequence[str] | None, image: str | None, own_pod: OwnPod | None, liveness_port: int, metrics: Metrics
) -> None:
    # A reconcile keeps a thread waiting, and by default there are only four more of those than processors.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(WORKERS))
    cluster = Cluster.from_environment(connections=WORKERS)
    pods_image = image if image else await asyncio.to_thread(_own_image, cluster, own_pod)
    await _wait_until_served(cluster)
    identity = await asyncio.to_thread(cluster.get, "Namespace", None, "kube-system")
    if identity is None:
        raise ClusterError(404, "there is no namespace kube-system, whose uid says which cluster this is")
    settings = Settings(image=pods_image, cluster_id=identity["metadata"]["uid"])
    controller = Controller(cluster, settings, known=metrics.known, measured=metrics.reconcile)
    registry = kopf.OperatorRegistry()
    register(registry, controller.queue.wake, controller.known.see)
    log.info("serving %s", "all namespaces" if namespaces is None else ", ".join(namespaces))
    queue = asyncio.create_task(controller.queue.run())
    watches = asyncio.create_task(
        kopf.operator(
            registry=registry,
            settings=configured(),
            standalone=True,
            clusterwide=namespaces is None,
            namespaces=list(namespaces or ()),
            liveness_endpoint=f"http://0.0.0.0:{liveness_port}/healthz",
        )
    )
    # Whichever ends first ends the other: a queue without watches is deaf, watches without a queue do nothing.
    await asyncio.wait([queue, watches], return_when=asyncio.FIRST_COMPLETED)
    failed = next((task.exception() for task in (queue, watches) if task.done() and not task.cancelled()), None)
    queue.cancel()
    watches.cancel()
    await asyncio.gather(queue, watches, return_exceptions=True)
    if failed is not None:
        raise failed


def _own_image(cluster: Cluster, own_pod: OwnPod | None) -> str:
    pod = cluster.get("Pod", own_pod.namespace, own_pod.name) if own_pod else None
    if pod is None:
        raise ClusterError(404, f"{own_pod} is not there, and RESGUARDO_IMAGE is not set")
    containers = pod["spec"]["containers"]
    return str(next((item for item in containers if item["name"] == "operator"), containers[0])["image"])


async def _wait_until_served(cluster: Cluster) -> None:
    while True:
        try:
            if await asyncio.to_thread(cluster.is_served):
                return
            log.warning("the API server does not know BackupPolicy and RestoreRequest yet: install the CRDs")
        except ClusterError as error:
            log.warning("%s", error)
        await asyncio.sleep(WAIT_FOR_CLUSTER_SECONDS)


@dataclass
class Controller:
    """One resource at a time: read, decide, act."""

    cluster: Cluster
    settings: Settings
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    known: Known = field(default_factory=Known)
    #: Around each look at a resource of a kind.
    measured: Callable[[str], AbstractContextManager[None]] = lambda _kind: nullcontext()
    queue: WorkQueue = field(init=False)
    _refusals: dict[Key, Refusal] = field(default_factory=dict)
    _seniority: Seniority = field(init=False)

    def __post_init__(self) -> None:
        self.queue = WorkQueue(self._work)
        self._seniority = Seniority(self.settings.version)

    async def _work(self, key: Key) -> Next:
        with self.measured(key.kind):
            return await asyncio.to_thread(self.reconcile, key)

    def reconcile(self, key: Key) -> Next:
        """Bring one resource forward by one step. Raises ClusterError or Refused, to be tried again later."""
        resource = self.cluster.get(key.kind, key.namespace, key.name)
        if resource is None:
            self._refusals.pop(key, None)
            self._seniority.forget(key)
            # A watch that begins anew does not tell what was deleted meanwhile.
            self.known.see(key, None)
            return Next()
        now = self.clock()
        if (until := self._seniority.stands_back_until(key, resource, now)) is not None:
            return Next(look_again_at=until)
        # What was refused is tried again, and only then told anew: no stale word stays in status.
        outcome = self._decide(key, resource, self._refusals.get(key), now)
        try:
            if carry_out(self.cluster, resource, outcome, now):
                self._seniority.has_told(key)
        except Refused as error:
            self._refusals[key] = error.refusal
            refused = self._decide(key, resource, error.refusal, now)
            if write_status(self.cluster, resource, refused, now):
                self._seniority.has_told(key)
            raise
        except ClusterError as error:
            if error.is_conflict:
                # Somebody wrote in between: the same again, with what is so now.
                return Next(look_again_at=now + SETTLING)
            if error.status == 404 and self.cluster.get(key.kind, key.namespace, key.name) is None:
                return Next()
            raise
        if self._refusals.pop(key, None) is not None:
            return Next(look_again_at=now + SETTLING)
        return Next(outcome.look_again_at, outcome.waits_for)

    def _decide(self, key: Key, resource: object, refusal: Refusal | None, now: datetime) -> Outcome:
        if not isinstance(resource, dict):
            raise TypeError(key)
        if key.kind == POLICY_KIND:
            outcome = reconcile_policy(resource, observe_policy(self.cluster, resource, refusal), self.settings, now)
        elif key.kind == REQUEST_KIND:
            outcome = reconcile_request(resource, observe_request(self.cluster, resource, refusal), self.settings, now)
        else:
            raise ValueError(key.kind)
        if outcome.status is None:
            return outcome
        return replace(outcome, status={**outcome.status, "operatorVersion": self.settings.version})
