"""SizeNormal: what is odd about the newest backup's size, in status and as Events."""

from __future__ import annotations

from resguardo.api.manifest import Oddity
from resguardo.api.policy import BackupPolicyStatus
from resguardo.controller.policy_status import transitions
from tests.unit.small_cluster import World

SHRANK = Oddity(oddness="Shrank", message="from 100MiB to 10MiB since the last good backup: by more than 50%")
GREW = Oddity(oddness="Grew", message="from 10MiB to 100MiB since the last good backup: by more than 100%")
EMPTIED = Oddity(
    oddness="TablesEmptied", message="a table with 5,000 rows at the last backup: gone, or without a row now"
)


def test_it_is_open_before_the_first_backup(world: World) -> None:
    world.accepted_policy()
    assert world.condition("SizeNormal") == ("Unknown", "NeverRun")
    assert world.condition("Ready") == ("True", "PromiseKept")


def test_a_normal_backup(world: World) -> None:
    world.accepted_policy()
    world.back_up()
    assert world.condition("SizeNormal") == ("True", "AsUsual")
    assert "1.0KiB" in world.message("SizeNormal")


def test_an_odd_backup_is_told_with_its_numbers_and_what_to_do(world: World) -> None:
    world.accepted_policy()
    world.back_up(oddities=[SHRANK, EMPTIED])
    backup = world.status()["lastBackup"]["id"]
    assert world.condition("SizeNormal") == ("False", "Shrank")
    assert world.message("SizeNormal") == (
        f"backup {backup}: {SHRANK.message}; {EMPTIED.message}. Look at it; if it is well, `resguardo accept {backup}`"
    )
    assert world.condition("BackedUp") == ("True", "BackupSucceeded")
    assert world.condition("Ready") == ("False", "Shrank")


def test_a_loss_is_the_word_for_a_backup_that_grew_as_well(world: World) -> None:
    """Whoever is told that it grew would not look for what is gone."""
    world.accepted_policy()
    world.back_up(oddities=[GREW, EMPTIED])
    assert world.condition("SizeNormal") == ("False", "TablesEmptied")
    world.pass_time(days=1)
    world.back_up(oddities=[GREW])
    assert world.condition("SizeNormal") == ("False", "Grew")


def test_each_odd_backup_is_told_once(world: World) -> None:
    world.accepted_policy()
    for _ in range(2):
        world.back_up(oddities=[SHRANK])
        world.pass_time(minutes=10)
        world.pass_time(days=1)
    assert world.told().count("Shrank") == 2


def test_a_normal_backup_after_an_odd_one(world: World) -> None:
    world.accepted_policy()
    world.back_up(oddities=[SHRANK])
    world.pass_time(days=1)
    world.back_up()
    assert world.condition("SizeNormal") == ("True", "AsUsual")
    assert world.condition("Ready") == ("True", "PromiseKept")


def test_what_was_told_is_not_told_to_the_api_server_again(world: World) -> None:
    world.accepted_policy()
    world.back_up(oddities=[SHRANK])
    status = BackupPolicyStatus.model_validate(world.status())
    assert transitions(status, status) == ()
