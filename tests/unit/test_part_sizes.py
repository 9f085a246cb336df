"""Parts: every stream up to 5 TiB fits, no part is refused, memory stays bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resguardo.rules.part_sizes import (
    BLOCK_BYTES,
    BUFFER_BYTES,
    OBJECT_MAX_BYTES,
    PART_MAX_BYTES,
    PARTS_MAX,
    blocks_of,
    check_object_size,
    part_bytes,
    parts_in_memory,
)

MIB = 1024 * 1024
numbers = st.integers(1, PARTS_MAX)


@pytest.mark.parametrize(
    ("number", "mib"),
    [(1, 8), (1000, 8), (1001, 16), (2000, 16), (2001, 32), (9000, 2048), (9001, 4096), (10_000, 4096)],
)
def test_a_part_doubles_after_every_thousand(number: int, mib: int) -> None:
    assert part_bytes(number) == mib * MIB


@pytest.mark.parametrize("number", [-1, 0, 10_001])
def test_a_number_that_s3_does_not_know_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="is not between 1 and 10000"):
        part_bytes(number)


def test_five_tebibytes_fit_in_ten_thousand_parts_with_room_to_spare() -> None:
    total = sum(part_bytes(number) for number in range(1, PARTS_MAX + 1))
    assert total == 1000 * 8 * MIB * 1023
    assert total > OBJECT_MAX_BYTES


@given(numbers)
def test_every_part_is_within_the_stores_limits_and_of_whole_blocks(number: int) -> None:
    assert 5 * MIB <= part_bytes(number) <= PART_MAX_BYTES
    assert part_bytes(number) % BLOCK_BYTES == 0


@given(numbers, numbers)
def test_parts_never_shrink(one: int, other: int) -> None:
    assert part_bytes(min(one, other)) <= part_bytes(max(one, other))


@given(numbers)
def test_memory_is_64_mib_while_parts_are_small_and_two_parts_when_they_are_large(number: int) -> None:
    size = part_bytes(number)
    held = parts_in_memory(size) * size
    assert held == (BUFFER_BYTES if size <= BUFFER_BYTES // 2 else 2 * size)


@given(st.integers(0, OBJECT_MAX_BYTES), st.integers(1, 1 << 30))
def test_blocks_cover_an_object_exactly(size: int, block: int) -> None:
    count = blocks_of(size, block)
    assert (count - 1) * block < size <= count * block or (size == 0 and count == 0)


def test_an_object_of_five_tebibytes_is_taken_and_one_byte_more_is_not() -> None:
    check_object_size(OBJECT_MAX_BYTES)
    with pytest.raises(ValueError, match=r"more than the 5\.0TiB"):
        check_object_size(OBJECT_MAX_BYTES + 1)
