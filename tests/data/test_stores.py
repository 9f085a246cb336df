"""The whole way of a backup on each kind of store, by the commands that pods run: nothing there knows which store it is."""

from __future__ import annotations

import shutil

import pytest
import yaml

from tests.fixtures.place import Place
from tests.fixtures.stores import Ground


@pytest.fixture(params=["s3", "azure", "volume"])
def ground(request: pytest.FixtureRequest) -> Ground:
    """One of each kind, where the contract's tests have two servers of S3's."""
    found: Ground = request.getfixturevalue(f"{request.param}_ground")
    return found


@pytest.fixture
def there(place: Place, ground: Ground) -> Place:
    """A database, and the kind of store whose turn it is."""
    files, variables = ground.prove()
    shutil.rmtree(place.folder / "credentials" / "store")
    place.credentials(**files)
    place.environment |= variables
    return place


def test_a_backup_is_made_listed_verified_restored_and_retained(there: Place, ground: Ground) -> None:
    policy = there.policy(store=ground.spec(), retention={"daily": "7d"})
    noise = "SELECT n, (SELECT string_agg(md5((n * 100 + i)::text), '') FROM generate_series(1, 20) i) FROM generate_series(1, 30000) n"
    there.postgres.execute(f"CREATE TABLE noise AS {noise}", database=there.database)
    report, _, _ = there.run("check", "-f", policy)
    assert report.inventory
    assert report.inventory.backups == 0
    made, _, _ = there.run("backup", "-f", policy)
    assert made.backup
    listed = there.start("catalog", "-f", policy, "-o", "yaml")
    output, errors = listed.communicate(timeout=60)
    assert [entry["id"] for entry in yaml.safe_load(output)["backups"]] == [made.backup.id], errors.decode()
    verified = there.start("verify", "latest", "-f", policy)
    output, errors = verified.communicate(timeout=60)
    assert verified.returncode == 0, (output, errors)
    restored, _, _ = there.run("restore", "-f", there.request("again", database=f"again_{ground.kind}"), "-f", policy)
    assert restored.reason == "Restored"
    retained, _, _ = there.run("retention", "-f", policy)
    assert retained.inventory
    assert retained.inventory.backups == 1
    assert ground.uploads() == 0
    store = ground.store()
    data = [found for found in store.list(f"backups/{made.backup.id}/data/") if not found.key.endswith(".blocks")]
    assert max(found.bytes for found in data) > 8 * 1024 * 1024, "parts enough to be sent side by side"
