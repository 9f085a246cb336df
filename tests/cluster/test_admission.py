"""With the operator's stolen token: what the rights and the admission policies refuse, and that ours passes beside it.

Everything is tried with `--dry-run=server`, which goes the same way through the API server and keeps nothing, so that one
object serves all attempts. The planted Secret is never more than a name to the thief.
"""

from __future__ import annotations

import copy
import json
import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from resguardo.api.names import API_VERSION
from tests.cluster.attacks import ATTACKS, IMAGES, OBJECTS, PLANTED, PODS, Attack, attacked, template_of
from tests.fixtures.cluster import Cluster, condition, eventually, has_condition
from tests.fixtures.portal import Portal
from tests.unit.test_controller_objects import OBJECTS as BUILT

Document = dict[str, Any]

ACCOUNT = "system:serviceaccount:resguardo-system:resguardo-operator"
DEPLOYMENT = ("deployment/resguardo-operator", "-n", "resguardo-system")
KINDS = ("validatingadmissionpolicy", "validatingadmissionpolicybinding")
EPHEMERAL = '{"spec":{"ephemeralContainers":[{"name":"x","image":"x","command":["env"]}]}}'
RBAC = f'User "{ACCOUNT}" cannot '
ALLOWED = {
    "resguardo.dev/allowed-images": "registry.example/resguardo:*",
    "resguardo.dev/allowed-service-accounts": "backups",
}
#: Of the portal's bucket.
KEYS = {"secretRef": {"name": "backups"}}


@pytest.fixture(scope="module")
def thief(operator: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """kubectl with nothing but the operator's token."""
    token = operator.kubectl("create", "token", "resguardo-operator", "-n", "resguardo-system").strip()
    config = json.loads(operator.kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    for user in config["users"]:
        user["user"] = {"token": token}
    path: Path = tmp_path_factory.mktemp("thief") / "kubeconfig"
    path.touch(mode=0o600)
    path.write_text(json.dumps(config))
    stolen = Cluster({**operator.environment, "KUBECONFIG": str(path)})
    assert json.loads(stolen.kubectl("auth", "whoami", "-o", "json"))["status"]["userInfo"]["username"] == ACCOUNT
    return stolen


@pytest.fixture(scope="module")
def victim(operator: Cluster) -> Iterator[str]:
    """A namespace with a planted Secret."""
    name = f"test-{secrets.token_hex(4)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    secret = {"apiVersion": "v1", "kind": "Secret", "stringData": {"password": "x"}}
    operator.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}},
        {**secret, "metadata": {"name": PLANTED, "namespace": name}},
    )
    operator.kubectl("wait", "--for=create", "serviceaccount/default", "-n", name, "--timeout=30s")
    yield name
    operator.kubectl("delete", "namespace", name, "--wait=false")


def _ours(cluster: Cluster, name: str, namespace: str) -> Document:
    """What the operator builds, with its own image and the namespace's own service account."""
    body: Document = copy.deepcopy(BUILT[name])
    body["metadata"]["namespace"] = namespace
    if name != "cron-job-with-everything":
        template_of(body)["spec"]["containers"][0]["image"] = cluster["RIG_IMAGE"]
        # Which the installer would have to list.
        template_of(body)["spec"].pop("serviceAccountName", None)
    return body


def _create(cluster: Cluster, body: Document) -> None:
    cluster.kubectl("create", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(body))


def _change(cluster: Cluster, body: Document) -> None:
    """As the operator changes what is there."""
    cluster.kubectl(
        "apply", "--server-side", "--force-conflicts", "--field-manager=resguardo", "--dry-run=server", "-f", "-",
        stdin=yaml.safe_dump(body),
    )  # fmt: skip


def _refusal(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except AssertionError as refused:
        return str(refused)
    raise AssertionError("it was not refused")


def _assert_refused_by(policy: str, words: str, message: str) -> None:
    assert f"ValidatingAdmissionPolicy '{policy}' with binding '{policy}' denied request" in message
    assert words in message


class TestByRights:
    """What the account has no right to, RBAC refuses before anybody looks at the content."""

    @pytest.mark.parametrize(
        ("attempt", "verbs", "resource"),
        [
            (["get", "secret", PLANTED], "get", "secrets"),
            (["get", "secrets"], "list", "secrets"),
            (["delete", "secret", PLANTED], "delete", "secrets"),
            (["create", "token", "default"], "create", "serviceaccounts/token"),
            (["exec", "target", "--", "env"], "create", "pods/exec"),
            (["attach", "target"], "create", "pods/attach"),
            (["logs", "target"], "get", "pods/log"),
            (
                ["patch", "pod", "target", "--subresource=ephemeralcontainers", "-p", EPHEMERAL],
                "get|patch", "pods/ephemeralcontainers",
            ),
            (["patch", "pod", "target", "-p", '{"spec":{"containers":[{"name":"main","image":"x"}]}}'], "patch", "pods"),
            (["create", "configmap", "x"], "create", "configmaps"),
            (["create", "rolebinding", "x", "--clusterrole=admin", "--user=thief"], "create", "rolebindings"),
            (["annotate", *DEPLOYMENT, "resguardo.dev/allowed-images=registry.example/thief:1"], "get|patch", "deployments"),
            (["delete", "validatingadmissionpolicybinding", PODS], "delete", "validatingadmissionpolicybindings"),
            (["delete", "bp", "x"], "delete", "backuppolicies"),
        ],
        ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
    )  # fmt: skip
    def test_it_is_refused(  # noqa: PLR0917 - a table
        self, operator: Cluster, thief: Cluster, victim: str, attempt: list[str], verbs: str, resource: str
    ) -> None:
        operator.apply(_pod(victim, "target", operator["RIG_IMAGE"]))
        place = [] if "-n" in attempt else ["-n", victim]
        at = attempt.index("--") if "--" in attempt else len(attempt)
        message = _refusal(lambda: thief.kubectl(*attempt[:at], *place, *attempt[at:]))
        assert re.search(f'{RBAC}({verbs}) resource "{resource}"', message)

    def test_a_pod_is_refused_by_rights_and_an_administrator_may_make_it(
        self, operator: Cluster, thief: Cluster, victim: str
    ) -> None:
        pod = _pod(victim, "bare", operator["RIG_IMAGE"])
        pod["spec"]["volumes"] = [{"name": "planted", "secret": {"secretName": PLANTED}}]
        _create(operator, pod)
        assert f'{RBAC}create resource "pods"' in _refusal(lambda: _create(thief, pod))

    @pytest.mark.parametrize(
        "kind", ["ReplicationController", "Deployment", "ReplicaSet", "DaemonSet", "StatefulSet", "PodTemplate"]
    )
    def test_what_makes_pods_beside_jobs_is_refused_by_rights(
        self, operator: Cluster, thief: Cluster, victim: str, kind: str
    ) -> None:
        pod = _pod(victim, "bare", operator["RIG_IMAGE"])
        pod["spec"]["volumes"] = [{"name": "planted", "secret": {"secretName": PLANTED}}]
        template = {"metadata": {"labels": {"app": "bare"}}, "spec": pod["spec"]}
        is_core = kind in ("ReplicationController", "PodTemplate")
        body: Document = {"apiVersion": "v1" if is_core else "apps/v1", "kind": kind}
        body["metadata"] = {"name": "bare", "namespace": victim}
        if kind == "PodTemplate":
            body["template"] = template
        else:
            selector = {"app": "bare"}
            body["spec"] = {"selector": selector if is_core else {"matchLabels": selector}, "template": template}
        if kind == "StatefulSet":
            body["spec"]["serviceName"] = "bare"
        _create(operator, body)
        assert f'{RBAC}create resource "{kind.lower()}s"' in _refusal(lambda: _create(thief, body))

    def test_the_same_token_reads_what_the_operator_has_to_read(self, thief: Cluster, victim: str) -> None:
        for kind in ("bp", "rr", "cronjobs", "jobs", "pods", "events"):
            thief.kubectl("get", kind, "-n", victim)


def _pod(namespace: str, name: str, image: str) -> Document:
    container = {
        "name": "main",
        "image": image,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            # It is there to be attacked, not to run.
            "nodeSelector": {"no-such": "node"},
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
        },
    }


class TestNewObjects:
    """Created with the stolen token. The object without the one change passes."""

    @pytest.mark.parametrize("name", [name for name in BUILT if name != "cron-job-with-everything"])
    def test_what_the_operator_builds_passes(self, operator: Cluster, thief: Cluster, victim: str, name: str) -> None:
        _create(thief, _ours(operator, name, victim))

    @pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
    @pytest.mark.parametrize("name", ["restore-job", "cron-job"])
    def test_one_change_is_refused(
        self, operator: Cluster, thief: Cluster, victim: str, name: str, attack: Attack
    ) -> None:
        body = attacked(_ours(operator, name, victim), attack)
        # Else somebody whom the policies leave alone could not make it either, and the refusal would mean nothing.
        _create(operator, body)
        _assert_refused_by(attack.refused_by, attack.words, _refusal(lambda: _create(thief, body)))

    @pytest.mark.parametrize("name", ["cron-job", "check-job", "retention-cron-job", "drop-job"])
    def test_an_age_identity_is_mounted_into_restores_alone(
        self, operator: Cluster, thief: Cluster, victim: str, name: str
    ) -> None:
        body = _ours(operator, name, victim)
        (credentials,) = [item for item in template_of(body)["spec"]["volumes"] if item["name"] == "credentials"]
        items = [{"key": "password", "path": "decryption/age-identity"}]
        credentials["projected"]["sources"].append({"secret": {"name": PLANTED, "items": items}})
        _create(operator, body)
        _assert_refused_by(PODS, "the volumes are", _refusal(lambda: _create(thief, body)))

    @pytest.mark.parametrize("name", ["retention-cron-job", "restore-job", "drop-job"])
    def test_a_key_for_signatures_is_mounted_only_where_backups_are_made(
        self, operator: Cluster, thief: Cluster, victim: str, name: str
    ) -> None:
        body = _ours(operator, name, victim)
        (credentials,) = [item for item in template_of(body)["spec"]["volumes"] if item["name"] == "credentials"]
        items = [{"key": "password", "path": "signing/key"}]
        credentials["projected"]["sources"].append({"secret": {"name": PLANTED, "items": items}})
        _create(operator, body)
        _assert_refused_by(PODS, "the volumes are", _refusal(lambda: _create(thief, body)))

    def test_a_token_that_is_not_turned_off_is_refused(self, operator: Cluster, thief: Cluster, victim: str) -> None:
        body = _ours(operator, "cron-job", victim)
        del template_of(body)["spec"]["automountServiceAccountToken"]
        _assert_refused_by(PODS, "automountServiceAccountToken", _refusal(lambda: _create(thief, body)))

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param(lambda m: m.pop("ownerReferences"), id="no owner"),
            pytest.param(lambda m: m["ownerReferences"][0].update(name="other"), id="another owner"),
            pytest.param(lambda m: m["ownerReferences"][0].update(apiVersion="v1", kind="ConfigMap"), id="a stranger as owner"),
            pytest.param(lambda m: m["labels"].pop("app.kubernetes.io/managed-by"), id="not labelled as ours"),
            pytest.param(lambda m: m["labels"].update({"resguardo.dev/task": "mine"}), id="a task of no name"),
        ],
    )  # fmt: skip
    def test_one_that_belongs_to_no_policy_is_refused(
        self, operator: Cluster, thief: Cluster, victim: str, change: Callable[[Document], object]
    ) -> None:
        body = _ours(operator, "manual-job", victim)
        change(body["metadata"])
        _create(operator, body)
        _assert_refused_by(OBJECTS, "owned by the BackupPolicy", _refusal(lambda: _create(thief, body)))


@pytest.fixture(scope="module")
def cron_job(operator: Cluster, thief: Cluster, victim: str) -> Document:
    """A CronJob of ours, made with the same token. Nobody collects it: its owner is there."""
    body = _ours(operator, "cron-job", victim)
    # A name of its own, so that others can still be made.
    body["metadata"]["name"] = "standing-backup"
    spec = json.loads(template_of(body)["metadata"]["annotations"]["resguardo.dev/policy"])["spec"]
    metadata = {"name": "other", "namespace": victim}
    operator.apply({"apiVersion": API_VERSION, "kind": "BackupPolicy", "metadata": metadata, "spec": spec})
    made = operator.get("bp", "other", victim)
    assert made is not None
    body["metadata"]["ownerReferences"][0] |= {"name": "other", "uid": made["metadata"]["uid"]}
    body["metadata"]["labels"] = {**body["metadata"]["labels"], "resguardo.dev/policy": "other"}
    body["spec"]["suspend"] = True
    thief.kubectl("apply", "--server-side", "--field-manager=resguardo", "-f", "-", stdin=yaml.safe_dump(body))
    return body


class TestWhatIsThere:
    """Objects that stand in the namespace, changed or deleted with the stolen token."""

    def test_ours_may_be_changed_to_another_of_ours_and_deleted(
        self, thief: Cluster, victim: str, cron_job: Document
    ) -> None:
        body = copy.deepcopy(cron_job)
        body["spec"]["schedule"] = "0 5 * * *"
        _change(thief, body)
        thief.kubectl("delete", "cronjob", body["metadata"]["name"], "-n", victim, "--dry-run=server")

    @pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
    def test_ours_is_not_changed_into_anything_else(
        self, operator: Cluster, thief: Cluster, cron_job: Document, attack: Attack
    ) -> None:
        body = attacked(cron_job, attack)
        _change(operator, body)
        _assert_refused_by(attack.refused_by, attack.words, _refusal(lambda: _change(thief, body)))

    def test_a_job_that_stands_is_not_changed_by_anybody(
        self, operator: Cluster, thief: Cluster, victim: str, cron_job: Document
    ) -> None:
        """The API server's own rule. What it leaves open for a Job that is suspended meets the policies."""
        body = _ours(operator, "manual-job", victim)
        # An owner that is nowhere would have it collected.
        for field in ("labels", "ownerReferences"):
            body["metadata"][field] = copy.deepcopy(cron_job["metadata"][field])
        body["spec"]["suspend"] = True
        operator.kubectl("create", "-f", "-", stdin=yaml.safe_dump(body))
        name = body["metadata"]["name"]

        def patch(text: str) -> None:
            thief.kubectl("patch", "job", name, "-n", victim, "--type=json", "-p", text, "--dry-run=server")

        path = "/spec/template/spec"
        for operation in [
            {"op": "replace", "path": f"{path}/containers/0/image", "value": "registry.example/thief:1"},
            {"op": "add", "path": f"{path}/containers/0/command", "value": ["sh"]},
            {"op": "add", "path": f"{path}/serviceAccountName", "value": "rich"},
            {"op": "replace", "path": f"{path}/volumes/2", "value": {"name": "tmp", "secret": {"secretName": PLANTED}}},
        ]:
            assert "field is immutable" in _refusal(lambda op=operation: patch(json.dumps([op])))  # type: ignore[misc]
        key = "container.apparmor.security.beta.kubernetes.io~1resguardo"
        loosen = [{"op": "add", "path": f"/spec/template/metadata/annotations/{key}", "value": "unconfined"}]
        _assert_refused_by(PODS, "no annotation", _refusal(lambda: patch(json.dumps(loosen))))
        operator.kubectl("delete", "job", name, "-n", victim)

    @pytest.mark.parametrize("kind", ["job", "cronjob"])
    def test_a_strangers_is_neither_changed_nor_deleted(
        self, operator: Cluster, thief: Cluster, victim: str, kind: str
    ) -> None:
        body = _ours(operator, "manual-job" if kind == "job" else "cron-job", victim)
        body["metadata"] |= {"name": "stranger", "labels": {"app": "stranger"}, "ownerReferences": []}
        body["spec"]["suspend"] = True
        operator.apply(body)
        ours = _ours(operator, "manual-job" if kind == "job" else "cron-job", victim)["metadata"]
        take = json.dumps({"metadata": {"labels": ours["labels"], "ownerReferences": ours["ownerReferences"]}})
        place = ("stranger", "-n", victim, "--dry-run=server")
        for attempt in (["patch", kind, *place, "--type=merge", "-p", take], ["delete", kind, *place]):
            operator.kubectl(*attempt)
            message = _refusal(lambda attempt=attempt: thief.kubectl(*attempt))  # type: ignore[misc]
            _assert_refused_by(OBJECTS, "that Resguardo made", message)


class TestWhatTheInstallerAllows:
    """Images and service accounts that the annotations of the operator's pods list."""

    @pytest.fixture
    def allowed(self, operator: Cluster) -> Iterator[None]:
        def annotate(annotations: dict[str, str]) -> None:
            patch = {"spec": {"template": {"metadata": {"annotations": annotations}}}}
            operator.kubectl("patch", *DEPLOYMENT, "-p", json.dumps(patch))
            operator.kubectl("rollout", "status", *DEPLOYMENT, "--timeout=120s", timeout=130)

        path = "jsonpath={.spec.template.metadata.annotations}"
        before = json.loads(operator.kubectl("get", *DEPLOYMENT, "-o", path))
        annotate(ALLOWED)
        yield
        annotate({key: before[key] for key in ALLOWED})

    @pytest.mark.usefixtures("allowed")
    def test_what_is_listed_passes_and_what_only_looks_like_it_does_not(
        self, operator: Cluster, thief: Cluster, victim: str
    ) -> None:
        rich = _ours(operator, "cron-job-with-everything", victim)
        # The API server's admission learns of the new pod a moment after kubectl was told of it.
        eventually(lambda: _create(thief, rich), "object made")
        for image in (
            "registry.example/resguardo-evil:1",
            "registry.example/resguardo:1/x:2",
            "registry.example/resguardo",
        ):
            template_of(rich)["spec"]["containers"][0]["image"] = image
            _assert_refused_by(IMAGES, f"image {image} ", _refusal(lambda: _create(thief, rich)))

    def test_it_is_in_force_again_after_it_was_deleted_and_made_anew(
        self, operator: Cluster, thief: Cluster, victim: str
    ) -> None:
        """Not so with most kinds of parameters: see the file."""
        both = [operator.kubectl("get", kind, IMAGES, "-o", "json") for kind in KINDS]
        body = _ours(operator, "cron-job", victim)
        template_of(body)["spec"]["containers"][0]["image"] = "registry.example/thief:1"
        operator.kubectl("delete", ",".join(KINDS), IMAGES)
        try:
            eventually(lambda: _create(thief, body), "object made")
        finally:
            for text in both:
                made = json.loads(text)
                for field in ("resourceVersion", "uid", "generation", "creationTimestamp"):
                    made["metadata"].pop(field, None)
                operator.kubectl("create", "-f", "-", stdin=json.dumps(made))
        eventually(lambda: _assert_refused_by(IMAGES, "image", _refusal(lambda: _create(thief, body))), "object made")
        _create(thief, _ours(operator, "cron-job", victim))

    def test_a_policy_with_another_image_says_who_refused_it_and_heals_once_it_is_allowed(
        self, portal: Portal, request: pytest.FixtureRequest
    ) -> None:
        cluster, namespace = portal.cluster, portal.namespace
        cluster.apply(portal.policy(jobs={"image": "registry.example/resguardo:pg17"}))
        refused = cluster.wait_for(
            "bp", "portal", namespace, has_condition("Accepted", "False", "ObjectsRefused"), until="condition shows"
        )
        message = condition(refused, "Accepted")["message"]
        for words in ("portal-", IMAGES, "image registry.example/resguardo:pg17", "jobs.allowedImages"):
            assert words in message
        request.getfixturevalue("allowed")
        cluster.wait_for("cronjob", "portal-backup", namespace, bool, until="object made")

    def test_a_request_with_another_service_account_says_so(self, portal: Portal) -> None:
        cluster, namespace = portal.cluster, portal.namespace
        cluster.apply(portal.policy())
        cluster.wait_for("bp", "portal", namespace, has_condition("Ready", "True"), until="condition shows")
        cluster.apply(portal.request("dr", jobs={"serviceAccountName": "rich"}))
        refused = cluster.wait_for(
            "rr", "dr", namespace, has_condition("Succeeded", "Unknown", "ObjectsRefused"), until="condition shows"
        )
        message = condition(refused, "Succeeded")["message"]
        assert IMAGES in message
        assert "service account rich" in message

    def test_pods_run_as_the_service_account_of_their_role_once_it_is_listed(self, portal: Portal) -> None:
        """The values of the chart list backups-writer and -pruner. No cloud knows them here, which is what the pod says."""
        cluster, namespace = portal.cluster, portal.namespace
        accounts = {role: {"serviceAccountName": f"backups-{role}"} for role in ("writer", "pruner")}

        # Given accounts of which one is not listed
        unlisted = {**accounts, "writer": {"serviceAccountName": "backups-stranger"}, "reader": KEYS}
        cluster.apply(portal.policy(store={"credentials": unlisted}, retention={"daily": "30d"}))
        refused = cluster.wait_for(
            "bp", "portal", namespace, has_condition("Accepted", "False", "ObjectsRefused"), until="condition shows"
        )
        assert "service account backups-stranger is not allowed" in condition(refused, "Accepted")["message"]

        # When all are, and they exist
        for name in ("backups-writer", "backups-pruner"):
            account = {"apiVersion": "v1", "kind": "ServiceAccount"}
            cluster.apply({**account, "metadata": {"name": name, "namespace": namespace}})
        policy = portal.policy(store={"credentials": {**accounts, "reader": KEYS}}, retention={"daily": "30d"})
        cluster.apply(policy)

        # Then the check runs as the writer, and retention as the pruner
        cluster.wait_for(
            "bp", "portal", namespace, has_condition("Accepted", "False", "CredentialsMissing"), until="condition shows"
        )
        cluster.wait_for("cronjob", "portal-retention", namespace, bool, until="object made")
        cluster.kubectl("create", "job", "--from=cronjob/portal-retention", "by-hand", "-n", namespace)
        cluster.wait_for("job", "by-hand", namespace, lambda job: job["status"].get("failed"), until="condition shows")
        for task, account_name in (("check", "backups-writer"), ("retention", "backups-pruner")):
            (pod,) = cluster.list("pods", namespace, f"resguardo.dev/task={task}")
            assert pod["spec"]["serviceAccountName"] == account_name
            assert pod["spec"]["automountServiceAccountToken"] is False
            assert {volume["name"] for volume in pod["spec"]["volumes"]} <= {"documents", "credentials", "tmp"}
            (container,) = pod["status"]["containerStatuses"]
            assert account_name in container["state"]["terminated"]["message"]


def test_the_policies_expressions_compile_without_a_warning(operator: Cluster) -> None:
    for name in (PODS, IMAGES, OBJECTS):
        policy = json.loads(operator.kubectl("get", "validatingadmissionpolicy", name, "-o", "json"))
        assert policy["status"]["observedGeneration"] == policy["metadata"]["generation"]
        assert "expressionWarnings" not in policy["status"].get("typeChecking", {})


def test_every_namespace_that_the_tests_use_enforces_restricted(operator: Cluster, namespace: str) -> None:
    """Kubernetes' own namespaces hold no pod here; the rig's S3 server and control plane are processes, not pods."""
    spaces = json.loads(operator.kubectl("get", "namespaces", "-o", "json"))["items"]
    mode = {
        item["metadata"]["name"]: item["metadata"]["labels"].get("pod-security.kubernetes.io/enforce")
        for item in spaces
    }
    assert {name: mode[name] for name in ("resguardo-system", "rig", namespace)} == dict.fromkeys(
        ("resguardo-system", "rig", namespace), "restricted"
    )
    loose = _pod("resguardo-system", "loose", "x")
    loose["spec"]["securityContext"]["seccompProfile"] = {"type": "Unconfined"}
    for name in ("resguardo-system", "rig", namespace):
        loose["metadata"]["namespace"] = name
        assert 'violates PodSecurity "restricted' in _refusal(lambda: _create(operator, loose))
